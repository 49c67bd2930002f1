"""Values of a column that cannot become what the model wants, and gaps that may be filled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from coupons.operations.surroundings.comparing import fits
from coupons.operations.surroundings.facts import Column, Table
from runtime.operator_language import say

_WHOLE: Final = re.compile(r"^(tiny|small|medium|big)?int(\(\d+\))?( unsigned)?$")
_FRACTIONS: Final = re.compile(r"^(decimal|double|float)")
_TEXT: Final = re.compile(r"^((var)?char|(tiny|medium|long)?text|enum|set)\b")
_MOMENT: Final = re.compile(r"^(datetime|timestamp|date)\b")
_LENGTH: Final = re.compile(r"^varchar\((\d+)\)$")
_LARGEST: Final = 2**63 - 1
#: SQL that stands for a missing value of a column. A missing moment gets the nearest one in its row.
_GAPS: Final = {
    ("user", "name"): "''",
    ("coupon", "description"): "''",
    ("coupon", "coupon_status"): "'CLOSED'",
    ("user_coupon", "status"): "'ISSUED'",
}
_MOMENTS: Final = ("issued_at", "created_at", "updated_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Rows for which ``condition`` is true. ``fill``: the value that they get; None: a person decides."""

    column: str
    condition: str
    what: str
    fill: str | None = None


def questions(wanted: Table, found: Table) -> Iterator[Question]:
    """The questions about one table's rows, before its columns become what is wanted."""
    for name, column in wanted.columns.items():
        if name in found.columns:
            yield from _gaps(wanted.name, name, column, found.columns)
            yield from _values(name, column, found.columns[name])


def cannot_become(wanted: Column, found: Column) -> bool:
    """Whether the column is of another kind, as an enum's number, which is no status."""
    if wanted.type is None or found.type is None or fits(wanted.type, found.type):
        return False
    for kind, sources in (
        (_WHOLE, (_WHOLE, _FRACTIONS)),
        (_TEXT, (_TEXT,)),
        (_MOMENT, (_MOMENT,)),
    ):
        if kind.match(wanted.type):
            return not any(source.match(found.type) for source in sources)
    return True


def _gaps(table: str, name: str, wanted: Column, found: Mapping[str, Column]) -> Iterator[Question]:
    is_moment = _MOMENT.match(found[name].type or "")
    # A zero date reads as NULL, even in a column that is NOT NULL.
    zero = f" OR `{name}` = 0" if is_moment else ""
    if wanted.is_nullable:
        if is_moment:
            yield Question(column=name, condition=f"`{name}` = 0", what=say("no moment at all"), fill="NULL")
        return
    if found[name].is_nullable or is_moment:
        yield Question(
            column=name,
            condition=f"`{name}` IS NULL{zero}",
            what=say("no value"),
            fill=_nearest(name, found) if is_moment else _GAPS.get((table, name)),
        )


def _nearest(name: str, found: Mapping[str, Column]) -> str:
    others = [f"NULLIF(`{other}`, 0)" for other in _MOMENTS if other != name and other in found]
    return f"COALESCE({', '.join([*others, 'NOW(6)'])})"


def _values(name: str, wanted: Column, found: Column) -> Iterator[Question]:
    if wanted.type is None or found.type is None or fits(wanted.type, found.type):
        return
    if cannot_become(wanted, found):
        yield Question(
            column=name,
            condition=f"`{name}` IS NOT NULL",
            what=say(
                "{found}, from which nothing tells how to make {wanted}", found=found.type, wanted=wanted.type
            ),
        )
    elif _FRACTIONS.match(found.type):
        yield Question(column=name, condition=f"`{name}` <> FLOOR(`{name}`)", what=say("a fraction"))
    elif found.type.endswith("unsigned"):
        yield Question(
            column=name, condition=f"`{name}` > {_LARGEST}", what=say("a number beyond all bounds")
        )
    elif limit := _LENGTH.match(wanted.type):
        yield Question(
            column=name,
            condition=f"CHAR_LENGTH(`{name}`) > {limit[1]}",
            what=say("more than {most} characters", most=limit[1]),
        )
