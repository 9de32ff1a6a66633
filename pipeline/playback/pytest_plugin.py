"""A pytest plugin: tests of code that calls a chat API run from a cassette, which their first run records.

    @pytest.mark.tapeline("haiku")
    def test_a_haiku_has_three_lines(): ...

Every pytest in an environment with Tapeline loads this module, so it imports nothing heavy before a test needs it.
`cassettes` records and serves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import TapelineError

if TYPE_CHECKING:
    from .server import RecordingServer

ONCE, SERVE, RECORD = "once", "serve", "record"
FOLDER = "tapes"
DEFAULT_UPSTREAM = "https://api.openai.com/v1"
_MARKER = (
    "tapeline(name, upstream=URL, speed=0): answer the test's chat completions from the recording of that name, which "
    "is made by the first run. `speed` 1 answers with the recorded timing."
)


@dataclass
class Cassette:
    """A test's recording, as its fixture `tapeline` shows it."""

    folder: Path
    #: The base URL for clients; the same as in OPENAI_BASE_URL.
    base_url: str = ""
    is_recording: bool = False
    server: RecordingServer | None = field(default=None, repr=False)
    has_passed: bool = field(default=False, repr=False)

    @property
    def unknown(self) -> list[str]:
        """One message for each request that was not recorded: the nearest recorded one, and how it differs."""
        return self.server.unknown if self.server else []


_CASSETTE = pytest.StashKey[Cassette]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tapeline").addoption(
        "--tapeline",
        choices=(ONCE, SERVE, RECORD),
        default=SERVE if os.environ.get("CI") else ONCE,
        help="once: make recordings that are missing; serve: make none, and fail without; record: make all again. "
        "Default: serve where the variable CI is set, else once.",
    )
    parser.addini(
        "tapeline_upstream", f"URL of the API to record; else OPENAI_BASE_URL, else {DEFAULT_UPSTREAM}.", default=""
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(autouse=True)
def _tapeline_where_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("tapeline"):
        request.getfixturevalue("tapeline")


@pytest.fixture
def tapeline(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """The test's recording; its `base_url` is in OPENAI_BASE_URL while the test runs."""
    cassette = Cassette(_folder(request))
    request.node.stash[_CASSETTE] = cassette
    try:
        with _recording_or_serving(request, cassette), _environment(cassette):
            yield cassette
    except TapelineError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that made a request which was not recorded, even if the test handled the error."""
    cassette = item.stash.get(_CASSETTE, None)
    try:
        result = yield
    except Exception as error:
        for text in cassette.unknown if cassette else ():
            error.add_note(text)
        raise
    if cassette is not None and cassette.unknown:
        pytest.fail("\n".join([*cassette.unknown, "To record again: pytest --tapeline=record"]), pytrace=False)
    if cassette is not None:
        cassette.has_passed = True
    return result


@contextmanager
def _recording_or_serving(request: pytest.FixtureRequest, cassette: Cassette) -> Iterator[None]:
    from .cassettes import recorded_to, served_from

    mode = request.config.getoption("tapeline")
    cassette.is_recording = mode == RECORD or (mode == ONCE and not cassette.folder.exists())
    if cassette.is_recording:
        with recorded_to(cassette.folder, _upstream(request), lambda: cassette.has_passed) as cassette.base_url:
            yield
        return
    if not cassette.folder.exists():
        pytest.fail(
            f"{cassette.folder} is not there: run `pytest --tapeline=once` where the API can be reached.", pytrace=False
        )
    with served_from(cassette.folder, _argument(request, "speed", 0.0)) as cassette.server:
        cassette.base_url = f"{cassette.server.url}/v1"
        yield


@contextmanager
def _environment(cassette: Cassette) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", cassette.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1", prepend=",")
        if not cassette.is_recording and "OPENAI_API_KEY" not in os.environ:
            # Clients demand a key; the server of recordings ignores it.
            patch.setenv("OPENAI_API_KEY", "none")
        yield


def _folder(request: pytest.FixtureRequest) -> Path:
    """Return the cassette's folder, beside the test's file: named by the marker, else after the test."""
    marker = request.node.get_closest_marker("tapeline")
    # The class is part of a test's own name: another class may have a test of the same name.
    own = ".".join([request.path.stem, *request.node.nodeid.split("::")[1:]])
    wanted = f"{marker.args[0]}{_case(request)}" if marker and marker.args else own
    name = re.sub(r"[^\w.-]+", "-", str(wanted)).strip(".-")
    if not name:
        pytest.fail(f"{wanted!r} is no name for a recording: it has no letter.", pytrace=False)
    return request.path.parent / FOLDER / name


def _case(request: pytest.FixtureRequest) -> str:
    """Return the id of a parametrized test's case: each case makes other requests and has its own cassette."""
    call = getattr(request.node, "callspec", None)
    return f"[{call.id}]" if call is not None else ""


def _upstream(request: pytest.FixtureRequest) -> str:
    configured = request.config.getini("tapeline_upstream") or os.environ.get("OPENAI_BASE_URL") or DEFAULT_UPSTREAM
    return str(_argument(request, "upstream", configured))


def _argument(request: pytest.FixtureRequest, name: str, default: Any) -> Any:
    marker = request.node.get_closest_marker("tapeline")
    return marker.kwargs.get(name, default) if marker else default
