"""What an adoption can find and do. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Option(StrEnum):
    """What the operator may allow; each keeps every row whole in a side table."""

    MOVE_DUPLICATES = "--move-duplicates"
    MOVE_ORPHANS = "--move-orphans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """What must be mended first: by ``option``, or by hand as ``mend`` says. ``examples``: at most ten."""

    what: str
    mend: str
    count: int = 0
    examples: tuple[str, ...] = ()
    option: Option | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Statements that belong together. ``in_one``: all or nothing (no DDL, which commits by itself)."""

    title: str
    statements: tuple[str, ...]
    in_one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """``tables``: another application's, as found. ``unapplied``: migrations of an adoption's second half."""

    tables: dict[str, int] = field(default_factory=dict)  #: rows, by name
    differences: list[str] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unapplied: list[str] = field(default_factory=list)

    @property
    def has_nothing_to_do(self) -> bool:
        return not (self.tables or self.unapplied)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
