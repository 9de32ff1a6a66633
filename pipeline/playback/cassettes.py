"""Cassettes: recordings that tests keep beside them, made by a recorder of their own and played without a network.

A cassette is a folder with the datasets of one recording and nothing else: no key, no salt, nothing private.
`pytest_plugin` decides which test has which cassette, and when one is recorded.
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
    """Run a recorder in front of an upstream, and yield its base URL.

    At the end the recording becomes the cassette `folder` if `is_wanted` returns true. Raises DataError where nothing
    was recorded.
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
    """Run a server that answers from a cassette. Raises DataError for a folder that is not a cassette."""
    with TemporaryDirectory(prefix="tapeline-") as place:
        directory = DataDirectory(Path(place) / "data")
        for name in _DATASETS:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, directory.dataset(name))
        if not directory.dataset(EXCHANGES.name).is_dir():
            raise DataError(f"{folder} holds no recording: remove it to record again.")
        if problems := database.load(directory).problems:
            raise DataError(problems[0])
        with database.querying(directory) as connection:
            recording = read_recording(connection, RUN)
    with RecordingServer(recording, speed=speed) as server:
        yield server


def _replace(folder: Path, directory: DataDirectory) -> None:
    """Replace the folder by one with the directory's datasets, so that it is complete at every moment it exists."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        new, old = Path(place) / "new", Path(place) / "old"
        for name in _DATASETS:
            if directory.dataset(name).is_dir():
                shutil.copytree(directory.dataset(name), new / name, copy_function=shutil.copyfile)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
