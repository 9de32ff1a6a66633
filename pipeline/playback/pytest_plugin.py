"""A pytest plugin: tests of code that calls a chat API run from a recording, which the first run makes.

    @pytest.mark.tapeline("haiku")
    def test_a_haiku_has_three_lines(): ...

It is loaded by every pytest that Tapeline is installed beside, so nothing heavy is imported before a test needs it.
Recordings are made and served by `tapes`.
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
    """What a test is told of its recording."""

    folder: Path
    #: Where chat completions are answered, as OPENAI_BASE_URL has it, too.
    base_url: str = ""
    is_recording: bool = False
    server: RecordingServer | None = field(default=None, repr=False)
    has_passed: bool = field(default=False, repr=False)

    @property
    def unknown(self) -> list[str]:
        """Of each request that was not recorded, what was nearest and how it differs."""
        return self.server.unknown if self.server else []


_TAPE = pytest.StashKey[Cassette]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tapeline").addoption(
        "--tapeline",
        choices=(ONCE, SERVE, RECORD),
        default=SERVE if os.environ.get("CI") else ONCE,
        help="once: make recordings that are missing; serve: make none, and fail without; record: make all anew. "
        "Default: serve where the variable CI is set, else once.",
    )
    parser.addini("tapeline_upstream", f"Who is recorded; else OPENAI_BASE_URL, else {DEFAULT_UPSTREAM}.", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(autouse=True)
def _tapeline_where_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("tapeline"):
        request.getfixturevalue("tapeline")


@pytest.fixture
def tapeline(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """The test's recording; its `base_url` is in OPENAI_BASE_URL while the test runs."""
    tape = Cassette(_folder(request))
    request.node.stash[_TAPE] = tape
    try:
        with _recording_or_serving(request, tape), _environment(tape):
            yield tape
    except TapelineError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that asked for what was not recorded, whatever it made of the answer."""
    tape = item.stash.get(_TAPE, None)
    try:
        result = yield
    except Exception as error:
        for text in tape.unknown if tape else ():
            error.add_note(text)
        raise
    if tape is not None and tape.unknown:
        pytest.fail("\n".join([*tape.unknown, "To record anew: pytest --tapeline=record"]), pytrace=False)
    if tape is not None:
        tape.has_passed = True
    return result


@contextmanager
def _recording_or_serving(request: pytest.FixtureRequest, tape: Cassette) -> Iterator[None]:
    from .cassettes import recorded_to, served_from

    mode = request.config.getoption("tapeline")
    tape.is_recording = mode == RECORD or (mode == ONCE and not tape.folder.exists())
    if tape.is_recording:
        with recorded_to(tape.folder, _upstream(request), lambda: tape.has_passed) as tape.base_url:
            yield
        return
    if not tape.folder.exists():
        pytest.fail(
            f"{tape.folder} is not there: run `pytest --tapeline=once` where the API can be asked.", pytrace=False
        )
    with served_from(tape.folder, _argument(request, "speed", 0.0)) as tape.server:
        tape.base_url = f"{tape.server.url}/v1"
        yield


@contextmanager
def _environment(tape: Cassette) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", tape.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1", prepend=",")
        if not tape.is_recording and "OPENAI_API_KEY" not in os.environ:
            # Clients ask for one, and nobody looks at it.
            patch.setenv("OPENAI_API_KEY", "none")
        yield


def _folder(request: pytest.FixtureRequest) -> Path:
    """Where the test's recording lies: beside its file, under the name that the marker gives, else under the test's."""
    marker = request.node.get_closest_marker("tapeline")
    # Of the test's own name the class is a part: another class may have a test that is called the same.
    own = ".".join([request.path.stem, *request.node.nodeid.split("::")[1:]])
    given = f"{marker.args[0]}{_case(request)}" if marker and marker.args else own
    name = re.sub(r"[^\w.-]+", "-", str(given)).strip(".-")
    if not name:
        pytest.fail(f"{given!r} is no name for a recording: it has no letter.", pytrace=False)
    return request.path.parent / FOLDER / name


def _case(request: pytest.FixtureRequest) -> str:
    """What tells the case of a parametrized test from its others, which ask other things."""
    call = getattr(request.node, "callspec", None)
    return f"[{call.id}]" if call is not None else ""


def _upstream(request: pytest.FixtureRequest) -> str:
    configured = request.config.getini("tapeline_upstream") or os.environ.get("OPENAI_BASE_URL") or DEFAULT_UPSTREAM
    return str(_argument(request, "upstream", configured))


def _argument(request: pytest.FixtureRequest, name: str, default: Any) -> Any:
    marker = request.node.get_closest_marker("tapeline")
    return marker.kwargs.get(name, default) if marker else default
