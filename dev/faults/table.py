"""What the suite found, row by row: plain text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dev import tables

_NUMBERS: Final = ("requests", "accepted", "refused", "issued", "lost", "doubled", "leaked")
_TIMES: Final = ("refused_s", "longest_s", "recovered_s")
_HEAD: Final = ("fault", *_NUMBERS, "refused s", "longest s", "recovered s", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case. ``requests`` counts HTTP claims, those that were tried again too."""

    name: str
    what: str
    requests: int = 0
    accepted: int = 0
    refused: int = 0
    issued: int = 0
    lost: int = 0
    doubled: int = 0
    leaked: int = 0
    refused_s: float | None = None  #: the longest time in which claims were refused and none was accepted
    longest_s: float | None = None  #: the longest that a claim waited for its answer
    recovered_s: float | None = None  #: from the fault's end until all that was accepted before is decided
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
        numbers = (str(getattr(self, name)) for name in _NUMBERS)
        times = ("-" if (s := getattr(self, name)) is None else f"{s:.1f}" for name in _TIMES)
        return (self.name, *numbers, *times, self.verdict)


def as_text(rows: Sequence[Row]) -> str:
    return tables.as_text([_HEAD, *(row.cells() for row in rows)], left=(0, len(_HEAD) - 1))


def as_markdown(rows: Sequence[Row]) -> str:
    """With a column more: what breaks."""
    cells = [(row.name, row.what, *row.cells()[1:]) for row in rows]
    return tables.as_markdown([(_HEAD[0], "what breaks", *_HEAD[1:]), *cells], left=(0, 1, len(_HEAD)))
