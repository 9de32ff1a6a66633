"""The figures that the bench measures, with their goals; as a table for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured figure: ours, theirs (or a limit), and their ratio.

    `ratio` is the median of the ratios of all pairs, `least` and `most` are the extremes. The goal is one for the
    ratio, or for `ours` if it is compared with nothing.
    """

    part: str
    what: str
    ours: float
    unit: str
    theirs: float | None = None
    against: str = ""
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    pairs: int = 0
    goal: str = ""
    is_met: bool | None = None
    notes: dict[str, float | str] = field(default_factory=dict)

    def cells(self) -> list[str]:
        spread = "" if self.least is None else f" ({_short(self.least)} to {_short(self.most)})"
        return [
            self.what,
            f"{_short(self.ours)} {self.unit}".strip(),
            "" if self.theirs is None else f"{_short(self.theirs)} {self.unit}".strip(),
            self.against,
            "" if self.ratio is None else f"{_short(self.ratio)}{spread}",
            self.goal,
            "" if self.is_met is None else "yes" if self.is_met else "no",
        ]


HEADINGS = ["what", "ours", "theirs", "against", "ratio: median (min to max)", "goal", "met"]


def of_pairs(part: str, what: str, pairs: list[tuple[float, float]], unit: str, against: str, goal: str = "") -> Figure:
    """Make a figure from alternating measurements (ours, theirs)."""
    ratios = sorted(ours / theirs for ours, theirs in pairs if theirs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(ratios) if ratios else None
    least, most = (ratios[0], ratios[-1]) if ratios else (None, None)
    is_met = None if ratio is None else meets(ratio, goal)
    return Figure(part, what, ours, unit, theirs, against, ratio, least, most, len(pairs), goal, is_met)


def of_one(part: str, what: str, ours: float, unit: str, goal: str = "") -> Figure:
    """Make a figure that is compared only with its goal."""
    return Figure(part, what, ours, unit, goal=goal, is_met=meets(ours, goal))


def of_sizes(part: str, what: str, ours: float, theirs: float, unit: str, against: str, goal: str = "") -> Figure:
    """Make a figure that does not vary between measurements, such as a size."""
    ratio = ours / theirs
    return Figure(part, what, ours, unit, theirs, against, ratio, goal=goal, is_met=meets(ratio, goal))


def meets(value: float, goal: str) -> bool | None:
    """Check a value against a goal such as `<= 1.2`; None without a goal."""
    if not goal:
        return None
    sign, _, bound = goal.partition(" ")
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def as_table(figures: list[Figure]) -> str:
    """Return the figures as a table for a terminal."""
    lines = []
    for part in dict.fromkeys(figure.part for figure in figures):
        rows = [HEADINGS, *(figure.cells() for figure in figures if figure.part == part)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines += [
            "",
            part,
            *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows),
        ]
    return "\n".join(lines)


def as_markdown(figures: list[Figure], machine: str) -> str:
    """Return the figures as Markdown: the text under "The latest full table" in docs/benchmarks.md."""
    lines = [machine]
    for part in dict.fromkeys(figure.part for figure in figures):
        lines += ["", f"### {part}", "", f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
        lines += [f"| {' | '.join(figure.cells())} |" for figure in figures if figure.part == part]
    return "\n".join(lines) + "\n"


def as_json(figures: list[Figure], machine: str) -> dict[str, object]:
    return {"machine": machine, "figures": [asdict(figure) for figure in figures]}


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
