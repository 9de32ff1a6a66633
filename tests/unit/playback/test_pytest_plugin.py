"""The pytest plugin: the first run of a test records a cassette, and later runs need no API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.support.places import DATA
from tests.support.processes.recorder import clean_environment

from tapeline.pipeline.demo import BuiltInProvider

EXAMPLE = DATA / "example" / "haiku.py"
NOWHERE = "http://127.0.0.1:9/v1"
KEY = "sk-" + "0123456789abcdef" * 2


def run(folder: Path, *options: str, upstream: str = NOWHERE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder in an environment with nothing but pytest and Tapeline."""
    variables = clean_environment(OPENAI_BASE_URL=upstream, OPENAI_API_KEY=KEY) | environment
    variables = {name: value for name, value in variables.items() if value and not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:anyio", "-q", "-W", "error"]
    return subprocess.run(
        [*command, *options, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=variables,
        timeout=100,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the documented example in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (folder / "test_haiku.py").write_text(EXAMPLE.read_text())
    return folder


def write_test(folder: Path, body: str, marker: str = '"greeting"') -> None:
    head = f"import openai, pytest\n\n@pytest.mark.tapeline({marker})\ndef test_it(tapeline):\n"
    ask = "    client = openai.OpenAI(base_url=tapeline.base_url, max_retries=0)\n"
    (folder / "test_haiku.py").write_text(head + ask + body)


def sending(text: str) -> str:
    ask = f"client.chat.completions.create(model='gpt-4o-mini', messages=[dict(role='user', content={text!r})])"
    return f"    print({ask})\n    client.close()\n"


@pytest.mark.slow
def test_the_example_records_once_and_then_needs_no_api(folder: Path, provider: BuiltInProvider) -> None:
    missing = run(folder, CI="true", upstream=f"{provider.url}/v1")
    assert missing.returncode == 1, missing.stdout
    assert "2 errors" in missing.stdout
    assert "run `pytest --tapeline=once`" in missing.stdout
    assert provider.sent == []
    recorded = run(folder, CI="", upstream=f"{provider.url}/v1")
    assert recorded.returncode == 0, recorded.stdout
    assert len(provider.sent) == 2
    served = run(folder, CI="true", OPENAI_API_KEY="")
    assert (served.returncode, "2 passed" in served.stdout) == (0, True), served.stdout
    assert len(provider.sent) == 2
    cassettes = folder / "tapes"
    assert sorted(path.name for path in cassettes.iterdir()) == ["haiku", "haiku-meanwhile"]
    files = [path for path in cassettes.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet"}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    (streamed,) = (cassettes / "haiku" / "exchanges").rglob("*.parquet")
    assert pl.read_parquet(streamed)["streamed"].to_list() == [True]
    again = run(
        folder,
        "--tapeline=record",
        "--deselect=test_haiku.py::test_a_haiku_has_three_lines_meanwhile",
        upstream=f"{provider.url}/v1",
    )
    assert (again.returncode, len(provider.sent)) == (0, 3), again.stdout
    assert not streamed.exists()


@pytest.mark.slow
def test_a_request_that_was_not_recorded_fails_its_test(folder: Path, provider: BuiltInProvider) -> None:
    write_test(folder, sending("Hello!"))
    (folder / "pytest.ini").write_text(f"[pytest]\ntapeline_upstream = {provider.url}/v1\n")
    first = run(folder, "--tapeline=once")
    assert first.returncode == 0, first.stdout
    caught = sending("Good bye!").replace("    print", "    try: print")
    caught = caught.replace("    client.close", "    except openai.APIError: pass\n    client.close")
    write_test(folder, sending("Good bye!"))
    (folder / "test_haiku.py").rename(folder / "test_plain.py")
    write_test(folder, caught)
    served = run(folder, "--tapeline=once")
    assert (served.returncode, "2 failed" in served.stdout) == (1, True), served.stdout
    assert "openai.NotFoundError" in served.stdout
    assert served.stdout.count('recorded user: "Hello!", requested user: "Good bye!"') >= 2
    assert "To record again: pytest --tapeline=record" in served.stdout
    assert len(provider.sent) == 1


@pytest.mark.slow
def test_a_test_that_fails_or_sends_nothing_leaves_no_recording(folder: Path, provider: BuiltInProvider) -> None:
    write_test(folder, sending("Hello!") + "    assert False\n")
    assert "1 failed" in run(folder, "--tapeline=once", upstream=f"{provider.url}/v1").stdout
    write_test(folder, "    client.close()\n")
    silent = run(folder, "--tapeline=once", upstream=f"{provider.url}/v1")
    assert (silent.returncode, "No chat completion was seen" in silent.stdout) == (1, True), silent.stdout
    assert len(provider.sent) == 1
    assert not (folder / "tapes").exists()


@pytest.mark.slow
def test_a_marker_can_name_the_upstream_and_the_test_itself_the_recording(
    folder: Path, provider: BuiltInProvider
) -> None:
    write_test(folder, sending("Hello!"), marker=f"upstream={provider.url + '/v1'!r}, speed=100")
    for _ in range(2):
        passed = run(folder, "--tapeline=once")
        assert passed.returncode == 0, passed.stdout
    assert len(provider.sent) == 1
    assert [path.name for path in (folder / "tapes").iterdir()] == ["test_haiku.test_it"]


@pytest.mark.slow
def test_each_case_of_a_parametrized_test_has_its_own_recording(folder: Path, provider: BuiltInProvider) -> None:
    write_test(folder, sending("Hello!").replace("'Hello!'", "greeting"))
    text = (folder / "test_haiku.py").read_text().replace("(tapeline)", "(tapeline, greeting)")
    cases = '@pytest.mark.parametrize("greeting", ["Hello!", "Good morning!"])\ndef test_it'
    (folder / "test_haiku.py").write_text(text.replace("def test_it", cases))
    for options in (("--tapeline=once",), ("--tapeline=serve",)):
        passed = run(folder, *options, upstream=f"{provider.url}/v1")
        assert passed.returncode == 0, passed.stdout
    assert len(provider.sent) == 2
    assert {path.name for path in (folder / "tapes").iterdir()} == {"greeting-Hello", "greeting-Good-morning"}


def test_tests_without_recordings_import_nothing_heavy(folder: Path) -> None:
    (folder / "test_haiku.py").write_text(
        "import sys\n\ndef test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('tapeline')\n"
        "    assert not {'duckdb', 'polars', 'mitmproxy', 'rich', 'simplejson', 'click'} & set(sys.modules)\n"
    )
    result = run(folder)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_a_recording_without_a_name_is_named_after_its_test_and_class(folder: Path) -> None:
    test = "    @pytest.mark.tapeline\n    def test_it(self): pass\n"
    nameless = "@pytest.mark.tapeline('../.')\ndef test_nameless(): pass\n"
    (folder / "test_haiku.py").write_text(f"import pytest\n\nclass TestA:\n{test}\nclass TestB:\n{test}\n{nameless}")
    output = run(folder, "--tapeline=serve").stdout
    for name in ("test_haiku.TestA.test_it", "test_haiku.TestB.test_it"):
        assert f"tapes/{name} is not there" in output
    assert "'../.' is no name for a recording" in output
