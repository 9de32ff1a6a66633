"""`tapeline export`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...atomic_write import whole_file
from ...errors import UsageError, needs_extra
from ...export import FORMATS, SPANS, WITH_COSTS, text_parts
from ..options import data_option, filter_options, filters_from, format_option, output_option
from ..output import note
from ..prepare import ready_with_prices, ready_without_prices


@click.command()
@filter_options
@format_option(FORMATS)
@output_option
@click.option("--endpoint", metavar="URL", help="The collector that gets the spans.  [default: http://localhost:4318]")
@click.option("--with-content", is_flag=True, help="Include the text of requests and responses in spans.")
@data_option
def export(
    directory: DataDirectory,
    format_name: str,
    output: Path | None,
    endpoint: str | None,
    with_content: bool,
    **filters: Any,
) -> None:
    """Write exchanges in a format that other programs read.

    \b
    pairs      JSON Lines: request, response and measurements, as `tapeline show --json`
    finetune   JSON Lines for fine-tuning: the messages and the response, where it is complete
    batch      JSON Lines for the Batch API: the requests, to be sent again
    har        HTTP Archive, for the developer tools of a browser
    otlp       OpenTelemetry spans by the conventions for generative AI, sent to a collector over
               OTLP/HTTP; OTEL_EXPORTER_OTLP_* (endpoint, headers, certificate) work as usual

    An exchange that a format cannot hold unchanged is left out and counted on stderr: one without its texts and, in the
    formats that programs learn from or send, one in which names replace credentials.

    \b
    tapeline export --run evals -o pairs.jsonl
    tapeline export --model 'gpt-*' --format finetune -o examples.jsonl
    tapeline export --since 2026-11-21 --format otlp --endpoint http://localhost:4318
    """
    from ...export.selection import Count, exchanges

    if format_name != SPANS and (endpoint is not None or with_content):
        raise UsageError("--endpoint and --with-content are for --format otlp.")
    if format_name == SPANS and output is not None:
        raise UsageError("--format otlp is sent to --endpoint: leave -o out.")
    selection, count, has_costs = filters_from(**filters), Count(), format_name in WITH_COSTS
    with (ready_with_prices if has_costs else ready_without_prices)(directory) as (connection, prices):
        selected = exchanges(connection, selection, prices)
        if format_name == SPANS:
            with needs_extra("otlp", "--format otlp"):
                from ...export.otlp import send
            send(selected, count, endpoint, with_content=with_content)
        else:
            _write(text_parts(format_name, selected, count), output)
    note(f"Exported {count.summary()}.")


def _write(parts: Iterator[str], output: Path | None) -> None:
    with _opened(output) as write:
        for part in parts:
            write(part)


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes to standard output, or to a private file that gets its name when it is complete."""
    if output is None:
        yield lambda text: click.echo(text, nl=False, color=True)
        return
    try:
        with _file_at(output) as file:
            yield lambda text: file.write(text.encode())
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error
    note(f"Wrote {output}")


def _file_at(output: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file that gets its name when it is complete; a device or a pipe is written to directly."""
    return output.open("wb") if output.exists() and not output.is_file() else whole_file(output)
