"""What an adoption can find and do. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Option(StrEnum):
    """A step that the operator may allow; each keeps the moved rows whole in a side table."""

    MOVE_DUPLICATES = "--move-duplicates"
    MOVE_ORPHANS = "--move-orphans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A thing to be mended first: with ``option``, or by hand as ``mend`` says. ``examples``: at most ten."""

    what: str
    mend: str
    count: int = 0
    examples: tuple[str, ...] = ()
    option: Option | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Statements that belong together. ``in_one``: in one transaction (no DDL, which commits by itself)."""

    title: str
    statements: tuple[str, ...]
    in_one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """``tables``: the other application's. ``unapplied``: migrations that an interrupted adoption lacks."""

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
