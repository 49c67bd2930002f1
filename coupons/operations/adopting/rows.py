"""Rows that our constraints would refuse. Reads only; each question is one statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from coupons.operations.adopting import columns
from coupons.operations.adopting.findings import Obstacle, Option, Step
from coupons.operations.surroundings.facts import Table
from runtime.operator_language import marked, say

_SHOWN: Final = 10  #: examples of one obstacle: enough to see what is wrong
#: table -> columns that no two rows may share
_ONCE: Final = {"user_coupon": ("coupon_id", "user_id"), "point": ("user_id",)}
#: Rules on values: table, the condition that breaks the rule, and a statement that a person may choose to
#: mend it.
_RULES: Final = (
    ("coupon", "stock < 0", "UPDATE coupon SET stock = 0 WHERE stock < 0"),
    ("coupon", "discount_amount <= 0", "UPDATE coupon SET discount_amount = … WHERE discount_amount <= 0"),
    ("point", "balance < 0", "UPDATE point SET balance = 0 WHERE balance < 0"),
)
_STATUSES: Final = {
    ("coupon", "coupon_status"): (("OPENED", "CLOSED"), marked("is treated as CLOSED")),
    ("user_coupon", "status"): (("ISSUED", "USED"), marked("is kept and shown as it is")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Movable:
    """Rows that move to the side table: ``those`` is SQL that follows FROM and names the rows ``moved``."""

    table: str
    key: str
    why: str
    those: str
    option: Option
    what: str
    columns: tuple[str, ...]  #: shown


def movable(wanted: Mapping[str, Table], found: Mapping[str, Table]) -> Iterator[Movable]:
    """The rows to move. Orphans come first, because they may include duplicates."""
    for name in _ONCE:
        if name in found:
            yield from _orphans(wanted[name], found)
    for name, once in _ONCE.items():
        if name in found and set(once) <= found[name].columns.keys():
            yield _duplicates(name, wanted[name].primary_key[0], once)


def count(rows: Movable) -> int:
    return int(ask(f"SELECT COUNT(*) FROM {rows.those}")[0][0])


def obstacle(rows: Movable, number: int) -> Obstacle:
    shown = ", ".join(f"moved.`{column}`" for column in rows.columns)
    return Obstacle(
        what=say("table {table}: {what}", table=rows.table, what=rows.what),
        mend=say(
            "{option}: they are kept whole in the table {side}", option=rows.option, side=aside(rows.table)
        ),
        count=number,
        examples=_described(
            rows.columns,
            ask(f"SELECT {shown} FROM {rows.those} ORDER BY moved.`{rows.key}` LIMIT {_SHOWN}"),
        ),
        option=rows.option,
    )


def aside(table: str) -> str:
    """The side table's name."""
    return f"{table}_set_aside"


def gaps(wanted: Table, found: Table) -> tuple[list[Step], list[Obstacle]]:
    """Missing values and values that would be cut: steps for those that may be filled, else obstacles."""
    steps, obstacles = [], []
    key = wanted.primary_key[0]
    for question in columns.questions(wanted, found):
        number = _count(wanted.name, question.condition)
        if not number:
            continue
        what = say(
            "table {table}, {name}: {what}", table=wanted.name, name=question.column, what=question.what
        )
        if question.fill is None:
            mend = f"UPDATE `{wanted.name}` SET `{question.column}` = … WHERE {question.condition}"
            obstacles.append(_obstacle(wanted.name, key, question.condition, what, mend, number))
        else:
            update = f"UPDATE `{wanted.name}` SET `{question.column}` = {question.fill}"
            title = say(
                "{what} in {number} rows, becomes {fill}", what=what, number=number, fill=question.fill
            )
            statements = (f"{update} WHERE {question.condition}",)
            steps.append(Step(title=title, statements=statements, in_one=True))
    return steps, obstacles


def against_the_rules(found: Mapping[str, Table]) -> Iterator[Obstacle]:
    for table, condition, mend in _RULES:
        column = condition.split()[0]
        if table in found and column in found[table].columns and (number := _count(table, condition)):
            key = found[table].primary_key[0] if found[table].primary_key else column
            yield _obstacle(
                table,
                key,
                condition,
                say("table {table}: {condition}", table=table, condition=condition),
                mend,
                number,
            )


def unknown_statuses(found: Mapping[str, Table]) -> Iterator[str]:
    for (table, column), (known, then) in _STATUSES.items():
        if table not in found or column not in found[table].columns:
            continue
        words = ", ".join(f"'{word}'" for word in known)
        rows = ask(
            f"SELECT `{column}`, COUNT(*) FROM `{table}` "
            f"WHERE `{column}` NOT IN ({words}) GROUP BY `{column}`"
        )
        for status, number in rows:
            yield say(
                "table {table}: {column} {status} of {number} rows {then}",
                table=table,
                column=column,
                status=status,
                number=number,
                then=say(then),
            )


def _orphans(wanted: Table, found: Mapping[str, Table]) -> Iterator[Movable]:
    for key in wanted.foreign_keys.values():
        if key.table not in found or not {key.column} <= found[wanted.name].columns.keys():
            continue
        pk = wanted.primary_key[0]
        yield Movable(
            table=wanted.name,
            key=pk,
            why=f"no {key.table}",
            those=f"`{wanted.name}` moved WHERE moved.`{key.column}` IS NOT NULL AND NOT EXISTS "
            f"(SELECT 1 FROM `{key.table}` t WHERE t.`{key.target}` = moved.`{key.column}`)",
            option=Option.MOVE_ORPHANS,
            what=say("its {table} does not exist", table=key.table),
            columns=(pk, key.column),
        )


def _duplicates(table: str, key: str, once: tuple[str, ...]) -> Movable:
    """All rows but the earliest one, which has the lowest id, because ids were counted up."""
    names = ", ".join(f"`{column}`" for column in once)
    same = " AND ".join(f"moved.`{column}` = kept.`{column}`" for column in once)
    return Movable(
        table=table,
        key=key,
        why="duplicate",
        those=f"`{table}` moved JOIN (SELECT {names}, MIN(`{key}`) AS first FROM `{table}` "
        f"GROUP BY {names} HAVING COUNT(*) > 1) kept ON {same} AND moved.`{key}` <> kept.first",
        option=Option.MOVE_DUPLICATES,
        what=say(
            "more than one row for the same {names}; the earliest of each stays",
            names=say(" and ").join(once),
        ),
        columns=(key, *once),
    )


def _obstacle(table: str, key: str, condition: str, what: str, mend: str, number: int) -> Obstacle:
    rows = ask(f"SELECT `{key}` FROM `{table}` WHERE {condition} ORDER BY `{key}` LIMIT {_SHOWN}")
    return Obstacle(what=what, mend=mend, count=number, examples=_described((key,), rows))


def _described(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in rows)


def _count(table: str, condition: str) -> int:
    return int(ask(f"SELECT COUNT(*) FROM `{table}` WHERE {condition}")[0][0])


def ask(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
