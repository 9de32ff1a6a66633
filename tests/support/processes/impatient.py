"""Runs a Tapeline command with a mitmproxy that by itself gives a silent connection up after a second, not ten minutes.

    python -P impatient.py python -m tapeline.pipeline record ...

What the command does about it can so be seen in seconds.
"""

from __future__ import annotations

import sys
from typing import Any

from mitmproxy.options import Options

from tapeline.pipeline.cli.main import main

SECONDS = 1
_add_option = Options.add_option


def add_option(self: Options, name: str, typespec: Any, default: Any, *rest: Any) -> None:
    _add_option(self, name, typespec, SECONDS if name == "tcp_timeout" else default, *rest)


if __name__ == "__main__":
    Options.add_option = add_option  # type: ignore[method-assign,assignment]
    sys.exit(main(sys.argv[4:]))
