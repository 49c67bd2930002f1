"""The differences between the tables as they must be and as they are. Pure.

A table may hold more than it must: a longer text, one more index, a foreign column that needs no value. Only
what the statements and promises of this system rest on is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from coupons.operations.surroundings.facts import Column, Table
from runtime.operator_language import marked, say

_INTEGERS: Final = ("tinyint", "smallint", "mediumint", "int", "bigint")
_BLOBS: Final = ("tinyblob", "blob", "mediumblob", "longblob")
_TEXTS: Final = ("text", "mediumtext", "longtext")


class Kind(StrEnum):
    """The kinds of differences, in the order in which they are mended."""

    ENGINE = marked("engine")
    TABLE_CHARSET = marked("character set of the table")
    COLUMN_MISSING = marked("the column is missing")
    COLUMN_TYPE = marked("type")
    COLUMN_CHARSET = marked("character set")
    COLUMN_COUNTED = "AUTO_INCREMENT"
    COLUMN_DEFAULT = marked("default")
    COLUMN_NULLS = "NULL"
    COLUMN_UNKNOWN = marked("an unknown column that every INSERT must name")
    PRIMARY_KEY = marked("primary key")
    TABLE_MISSING = marked("the table is missing")
    UNIQUE = marked("unique constraint")
    UNIQUE_NAME = marked("name of the unique constraint")
    CHECK = marked("check constraint")
    FOREIGN_KEY = marked("foreign key")
    INDEX = marked("index")


#: With these differences the system is slower, or a later migration fails; no promise is broken.
HARMLESS: Final = frozenset({Kind.INDEX, Kind.UNIQUE_NAME})
#: Differences of a column: one statement writes its whole definition anew.
OF_A_COLUMN: Final = frozenset(
    {Kind.COLUMN_TYPE, Kind.COLUMN_CHARSET, Kind.COLUMN_COUNTED, Kind.COLUMN_DEFAULT, Kind.COLUMN_NULLS}
)

#: Differences of names and types, which have no Korean even where one is a word: a column called ``id``.
_OF_NAMES: Final = frozenset({Kind.PRIMARY_KEY, Kind.COLUMN_TYPE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. ``name``: the column's, constraint's or index's; empty for the table itself."""

    table: str
    kind: Kind
    name: str = ""
    found: str = ""
    wanted: str = ""

    def __str__(self) -> str:
        where = say("table {table}", table=self.table) + (f", {self.name}" if self.name else "")
        if not self.wanted:
            return f"{where}: {say(self.kind)}"
        return say(
            "{where}: {kind} is {found}, it must be {wanted}",
            where=where,
            kind=say(self.kind),
            found=self.found if self.found and self.kind in _OF_NAMES else say(self.found or "missing"),
            wanted=self.wanted if self.kind in _OF_NAMES | {Kind.UNIQUE_NAME} else say(self.wanted),
        )


def differences(wanted: Mapping[str, Table], found: Mapping[str, Table]) -> list[Difference]:
    return [each for name, table in wanted.items() for each in _of_table(table, found.get(name))]


def fits(wanted: str, found: str) -> bool:
    """Whether a column of the found type can hold every value of the wanted type."""
    wanted, found = _plain(wanted), _plain(found)
    if wanted == found:
        return True
    for ladder in (_INTEGERS, _BLOBS):
        if wanted in ladder:
            return found in ladder and ladder.index(found) >= ladder.index(wanted)
    length, room = _length(wanted), _length(found)
    if not length:
        return False
    return found in _TEXTS or room >= length


def _plain(type_: str) -> str:
    """The type without a whole number's display width, which means nothing and which MySQL omits."""
    return re.sub(r"(int)\(\d+\)", r"\1", type_.lower()).replace("integer", "int")


def _length(type_: str) -> int:
    """The length of a char or varchar; 0 for other types."""
    found = re.fullmatch(r"(?:var)?char\((\d+)\)", type_)
    return int(found[1]) if found else 0


def _of_table(wanted: Table, found: Table | None) -> Iterator[Difference]:
    if found is None:
        yield Difference(table=wanted.name, kind=Kind.TABLE_MISSING)
        return
    if not found.is_transactional:
        yield _difference(wanted, Kind.ENGINE, "", found.engine or marked("none"), wanted.engine or "")
    if wanted.charset and found.charset != wanted.charset:
        yield _difference(wanted, Kind.TABLE_CHARSET, "", found.charset or marked("none"), wanted.charset)
    for name, column in wanted.columns.items():
        if name not in found.columns:
            yield Difference(table=wanted.name, kind=Kind.COLUMN_MISSING, name=name)
        else:
            yield from _of_column(wanted, name, column, found.columns[name])
    for name, column in found.columns.items():
        if name not in wanted.columns and column.must_be_given:
            yield Difference(table=wanted.name, kind=Kind.COLUMN_UNKNOWN, name=name)
    yield from _of_keys(wanted, found)


def _of_column(table: Table, name: str, wanted: Column, found: Column) -> Iterator[Difference]:
    if wanted.type and found.type and not fits(wanted.type, found.type):
        yield _difference(table, Kind.COLUMN_TYPE, name, found.type, wanted.type)
    if wanted.charset and found.charset and found.charset != wanted.charset:
        yield _difference(table, Kind.COLUMN_CHARSET, name, found.charset, wanted.charset)
    if wanted.is_counted and not found.is_counted:
        yield _difference(table, Kind.COLUMN_COUNTED, name, marked("missing"), marked("there"))
    if wanted.has_default and not found.has_default:
        yield _difference(table, Kind.COLUMN_DEFAULT, name, marked("missing"), marked("there"))
    if wanted.is_nullable != found.is_nullable and name not in table.primary_key:
        words = {True: marked("allowed"), False: marked("refused")}
        yield _difference(table, Kind.COLUMN_NULLS, name, words[found.is_nullable], words[wanted.is_nullable])


def _of_keys(wanted: Table, found: Table) -> Iterator[Difference]:
    if wanted.primary_key != found.primary_key:
        there = ", ".join(found.primary_key)
        yield _difference(wanted, Kind.PRIMARY_KEY, "", there, ", ".join(wanted.primary_key))
    for name, columns in wanted.uniques.items():
        if not any(set(columns) == set(each) for each in found.uniques.values()):
            yield _difference(wanted, Kind.UNIQUE, name, "", say("on {names}", names=", ".join(columns)))
        elif name not in columns and found.uniques.get(name) != columns:
            yield _difference(wanted, Kind.UNIQUE_NAME, name, marked("another"), name)
    for name in wanted.checks:
        if not found.checks.get(name):
            there = marked("not enforced") if name in found.checks else marked("missing")
            yield _difference(wanted, Kind.CHECK, name, there, marked("enforced"))
    present = set(found.foreign_keys.values())
    for key in wanted.foreign_keys.values():
        if key not in present:
            there = (
                marked("one that deletes along")
                if replace(key, is_firm=False) in present
                else marked("missing")
            )
            firm = say("to {table}.{target}, ON DELETE RESTRICT", table=key.table, target=key.target)
            yield _difference(wanted, Kind.FOREIGN_KEY, key.column, there, firm)
    for name, columns in wanted.indexes.items():
        if columns not in {*found.indexes.values(), *found.uniques.values()}:
            yield _difference(wanted, Kind.INDEX, name, "", say("on {names}", names=", ".join(columns)))


def _difference(table: Table, kind: Kind, name: str, found: str, wanted: str) -> Difference:
    return Difference(table=table.name, kind=kind, name=name, found=found, wanted=wanted)
