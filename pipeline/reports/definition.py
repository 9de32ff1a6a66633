"""Reads reports: SQL files, built in or the user's own, with the comment at their head.

The first line of the comment is the title, the rest is the help. Some lines are instructions:

    by: day, model                     what the view `grouped` groups by, unless --by says otherwise
    param: stall_ms = 1000 -- ...      a value that the SQL names `$stall_ms`, its default, and what it is
    chart: bar x=day y=calls           what is drawn of it on a page (`page.charts`)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path

from ..dataset.schema import COSTS
from ..errors import UsageError

#: Groups that a report on the view `grouped` can have.
GROUPS = (
    "day", "hour", "model", "provider", "host", "run", "user", "key", "conversation", "tools", "tier", "outcome",
)  # fmt: skip
#: The most groups at once.
MOST_GROUPS = 2
_DIRECTIVE = re.compile(r"(by|param|chart):\s*(.*)")
_PARAM = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?:=\s*(?P<default>.*?)\s*)?(?:--\s*(?P<help>.*))?")
_NAME = re.compile(r"[\w-]+")

Value = int | float | str


@dataclass(frozen=True)
class Param:
    """A value that a report takes; one without a default is required."""

    name: str
    default: Value | None
    help: str

    def read(self, text: str) -> Value:
        """Read a value as people type it. Raises UsageError for a text where the default is a number."""
        if not isinstance(self.default, int | float):
            return text
        value = _literal(text)
        if isinstance(value, str) or (isinstance(value, float) and not isfinite(value)):
            raise UsageError(f"--param {self.name}={text}: this is no number.")
        return value


@dataclass(frozen=True)
class Report:
    """One report: its name, title, help, SQL, and the instructions in its head."""

    name: str
    title: str
    help: str
    sql: str
    #: The groups without --by, if the report can be grouped.
    by: tuple[str, ...] = ()
    params: tuple[Param, ...] = ()
    charts: tuple[str, ...] = ()
    #: The file of a report of the user's own.
    file: Path | None = None

    @property
    def shows_money(self) -> bool:
        """Whether it reads what calls cost."""
        return any(self._reads(column.name) for column in COSTS)

    @property
    def compares_prices(self) -> bool:
        """Whether it reads what calls would have cost on another model."""
        return self._reads("what_if_cost_usd")

    def _reads(self, column: str) -> bool:
        return re.search(rf"\b{column}\b", self.sql) is not None


def all_reports(own: Path | None = None) -> list[Report]:
    """Return all reports by name: the built-in ones, and those in a folder, which may replace them.

    Raises UsageError for a file of the folder that cannot be read.
    """
    found = {report.name: report for report in (*_built_in(), *_of_folder(own))}
    return [found[name] for name in sorted(found)]


def find_report(name: str, own: Path | None = None) -> Report:
    """Return the report of that name. Raises UsageError that lists the names."""
    reports = {report.name: report for report in all_reports(own)}
    if name not in reports:
        raise UsageError(f"There is no report {name!r}. There are: {', '.join(reports)}.")
    return reports[name]


def read_report(name: str, text: str, file: Path | None = None) -> Report:
    """Return a report from its text. Raises UsageError for a line of its head that cannot be read."""
    lines = text.splitlines()
    head: list[str] = []
    for line in lines:
        if not line.startswith("--"):
            break
        head.append(line.removeprefix("--").removeprefix(" "))
    asked: dict[str, list[str]] = {"by": [], "param": [], "chart": []}
    said = []
    for line in head:
        if directive := _DIRECTIVE.fullmatch(line):
            asked[directive.group(1)].append(directive.group(2).strip())
        else:
            said.append(line)
    return Report(
        name,
        said[0].strip() if said else name,
        "\n".join(said[1:]).strip(),
        "\n".join(lines[len(head) :]).strip().removesuffix(";"),
        _groups(asked["by"], name),
        tuple(_param(line, name) for line in asked["param"]),
        tuple(asked["chart"]),
        file,
    )


def _built_in() -> Iterator[Report]:
    for entry in files("tapeline.queries").iterdir():
        if entry.name.endswith(".sql"):
            yield read_report(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))


def _of_folder(folder: Path | None) -> Iterator[Report]:
    for path in sorted(folder.glob("*.sql")) if folder is not None else ():
        if path.name.startswith("."):
            continue  # an editor's lock, or a file system's companion file
        if not _NAME.fullmatch(path.stem):
            raise UsageError(f"{path}: a report's name has letters, digits, - and _ alone. Rename the file.")
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise UsageError(f"{path} is no UTF-8.") from None
        report = read_report(path.stem, text, path)
        if not report.sql:
            raise UsageError(f"{path} holds no SQL.")
        yield report


def _groups(lines: list[str], report: str) -> tuple[str, ...]:
    groups = tuple(part.strip() for line in lines for part in line.split(","))
    if unknown := [group for group in groups if group not in GROUPS]:
        raise UsageError(f"Report {report}: {unknown[0]!r} is no group. There are: {', '.join(GROUPS)}.")
    if len(groups) > MOST_GROUPS or len(set(groups)) < len(groups):
        raise UsageError(f"Report {report}: by takes one name, or two that differ, not {', '.join(groups)}.")
    return groups


def _param(line: str, report: str) -> Param:
    found = _PARAM.fullmatch(line)
    if found is None:
        raise UsageError(f"Report {report}: {line!r} is no parameter. Write: param: NAME = DEFAULT -- what it is.")
    default = found["default"]
    return Param(found["name"], None if default is None else _literal(default), found["help"] or "")


def _literal(text: str) -> Value:
    """Return the text as a number if it is one, else without its quotes."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
