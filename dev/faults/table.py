"""What the suite found, row by row: plain text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_NUMBERS: Final = ("requests", "accepted", "refused", "issued", "lost", "doubled", "leaked")
_HEAD: Final = ("fault", *_NUMBERS, "recovered s", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case. ``requests`` counts HTTP claims, those that were tried again too."""

    name: str
    what: str
    requests: int
    accepted: int
    refused: int
    issued: int
    lost: int
    doubled: int
    leaked: int
    recovered_s: float | None  #: from the end of the fault until all that was accepted before is decided
    bug_shows_in: str = ""  #: a bug was put in on purpose: this field must not be empty or 0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)  #: complaints that no bug put in on purpose explains

    @property
    def is_red(self) -> bool:
        return bool(self.complaints or self.lost or self.doubled or self.leaked)

    @property
    def passed(self) -> bool:
        return self.verdict in ("ok", "caught")

    @property
    def verdict(self) -> str:
        if self.bug_shows_in and not getattr(self, self.bug_shows_in):
            return "NOT CAUGHT"
        if self.unexpected or (self.is_red and not self.bug_shows_in):
            return "RED"
        return "caught" if self.bug_shows_in else "ok"

    def cells(self) -> tuple[str, ...]:
        recovered = "-" if self.recovered_s is None else f"{self.recovered_s:.1f}"
        numbers = (str(getattr(self, name)) for name in _NUMBERS)
        return (self.name, *numbers, recovered, self.verdict)


def as_text(rows: Sequence[Row]) -> str:
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, len(_HEAD) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    head = "| " + " | ".join((_HEAD[0], "what breaks", *_HEAD[1:])) + " |"
    rule = "| --- | --- |" + " ---: |" * (len(_HEAD) - 2) + " --- |"
    lines = [f"| {row.cells()[0]} | {row.what} | " + " | ".join(row.cells()[1:]) + " |" for row in rows]
    return "\n".join([head, rule, *lines])
