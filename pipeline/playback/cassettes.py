"""Recordings that tests keep beside them: made by a recorder of their own, and answered from without network.

A tape is a folder with the datasets of one recording and nothing else: no key, no salt, nothing that has to stay
private. Which test has which, and when it is made, is `pytest_plugin`'s.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..dataset.schema import CONTENT, EXCHANGES
from ..errors import DataError
from ..proxy.modes import reverse_mode
from ..proxy.recorder_process import recorder
from ..sealing.seal import seal
from ..warehouse import database
from .recording import read_recording
from .server import RecordingServer

RUN = "tape"
_DATASETS = (CONTENT.name, EXCHANGES.name)


@contextmanager
def recorded_to(folder: Path, upstream: str, is_wanted: Callable[[], bool]) -> Iterator[str]:
    """A recorder before an upstream; gives the base URL. What it heard becomes the folder if it is wanted at the end.

    Raises DataError where nothing was heard.
    """
    _, base_path = reverse_mode(upstream)
    with TemporaryDirectory(prefix="tapeline-") as place:
        directory = DataDirectory(Path(place) / "data")
        with recorder(directory.root, RUN, "--upstream", upstream) as address:
            yield address + base_path
        if not is_wanted():
            return
        seal(directory)
        if not directory.dataset(EXCHANGES.name).is_dir():
            raise DataError("No chat completion was seen: the test makes none, or does not use OPENAI_BASE_URL.")
        _replace(folder, directory)


@contextmanager
def served_from(folder: Path, speed: float) -> Iterator[RecordingServer]:
    """A server that answers from a tape. Raises DataError for a folder that holds none."""
    with TemporaryDirectory(prefix="tapeline-") as place:
        directory = DataDirectory(Path(place) / "data")
        for name in _DATASETS:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, directory.dataset(name))
        if not directory.dataset(EXCHANGES.name).is_dir():
            raise DataError(f"{folder} holds no recording: remove it, to record anew.")
        if problems := database.load(directory).problems:
            raise DataError(problems[0])
        with database.querying(directory) as connection:
            archive = read_recording(connection, RUN)
    with RecordingServer(archive, speed=speed) as server:
        yield server


def _replace(folder: Path, directory: DataDirectory) -> None:
    """Put the datasets into the folder, whole, in the place of what was there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        made, before = Path(place) / "made", Path(place) / "before"
        for name in _DATASETS:
            if directory.dataset(name).is_dir():
                shutil.copytree(directory.dataset(name), made / name, copy_function=shutil.copyfile)
        if folder.exists():
            folder.rename(before)
        made.rename(folder)
