"""Names the files of a data directory and makes them private.

The recorder makes the directory, and the pipeline reads it; both take the names from here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA = ".tapeline"


@dataclass(frozen=True)
class DataDirectory:
    """A data directory: folders are 0700, files 0600, and nothing in it can be committed by accident."""

    root: Path

    @property
    def journals(self) -> Path:
        return self.root / "journal"

    @property
    def salt(self) -> Path:
        return self.root / "salt"

    @property
    def certificates(self) -> Path:
        return self.root / "ca"

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def queries(self) -> Path:
        """Reports that the user wrote."""
        return self.root / "queries"

    @property
    def seal_log(self) -> Path:
        return self.root / "seal.log"

    def dataset(self, name: str) -> Path:
        return self.root / name

    def lock(self, name: str) -> Path:
        return self.root / f"{name}.lock"

    def journal(self, recorder_id: str) -> Path:
        return self.journals / f"{recorder_id}.sqlite"

    def recorder_lock(self, recorder_id: str) -> Path:
        """The lock that a recorder holds while it runs."""
        return self.journals / f"{recorder_id}.lock"

    def ledger(self, recorder_id: str) -> Path:
        """The file in which a recorder counts losses while its journal cannot be written."""
        return self.journals / f"{recorder_id}.losses"

    def damage_note(self, recorder_id: str) -> Path:
        """The note on what is wrong with a journal, until the journal is put aside."""
        return self.journals / f"{recorder_id}.damage"

    def recorder_ids(self) -> list[str]:
        """Return the recorders that have a journal here, oldest first."""
        return sorted(path.stem for path in self.journals.glob("*.sqlite"))

    def bare_ledgers(self) -> list[str]:
        """Return the recorders that have only a ledger left here."""
        return sorted({path.stem for path in self.journals.glob("*.losses")} - set(self.recorder_ids()))

    def create(self) -> None:
        """Make the folders that are missing. Raises OSError if the directory cannot be written."""
        private_directory(self.root)
        private_directory(self.journals)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            descriptor = os.open(ignore, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write("*\n")


def private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter; an existing one keeps its mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
