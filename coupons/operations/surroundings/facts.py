"""The shapes of a database as it is and as it must be, the same for both, to be compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.operator_language import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. ``type`` and ``charset`` are None on SQLite, which has neither."""

    type: str | None
    charset: str | None = None
    is_nullable: bool = False
    has_default: bool = False
    is_counted: bool = False  #: AUTO_INCREMENT

    @property
    def must_be_given(self) -> bool:
        """Whether the server refuses an INSERT that does not name this column."""
        return not (self.is_nullable or self.has_default or self.is_counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """``is_firm``: a row that is referred to cannot be deleted. CASCADE or SET NULL would delete coupons."""

    column: str
    table: str
    target: str
    is_firm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``checks``: name -> whether it is enforced. ``uniques`` and ``indexes``: name -> columns."""

    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    uniques: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    foreign_keys: Mapping[str, ForeignKey] = field(default_factory=dict)
    engine: str | None = None
    is_transactional: bool = True
    charset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseServer:
    """The server as a connection of ours finds it, after its own SET statements."""

    product: str  #: MariaDB, MySQL or SQLite
    version: tuple[int, ...]
    sql_mode: frozenset[str] = frozenset()
    time_zone: str = "+00:00"
    isolation: str = "READ-COMMITTED"
    charset: str = "utf8mb4"  #: of tables that are made from now on
    max_packet: int = 1 << 30  #: bytes
    binlog_format: str = ""  #: empty where there is no binary log
    switched_off: tuple[str, ...] = ()  #: variables that stand for a protection


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and what mends it. ``stops``: the system cannot work with it."""

    what: str
    mend: str
    stops: bool = True

    def __str__(self) -> str:
        return say("{what}. Mend it with: {mend}", what=self.what, mend=self.mend)
