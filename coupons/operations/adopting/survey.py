"""Look at the database and list what an adoption would do. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from coupons.operations.adopting import rows, steps
from coupons.operations.adopting.findings import Obstacle, Option, Step, Survey
from coupons.operations.surroundings import judging, mending, reading, wanted
from coupons.operations.surroundings.comparing import OF_A_COLUMN, Difference, Kind, differences
from coupons.operations.surroundings.facts import Table
from runtime.operator_language import say

_ORDER: Final = list(Kind)
#: Differences that a person must mend: no statement does.
_FOR_A_PERSON: Final = (Kind.COLUMN_UNKNOWN, Kind.PRIMARY_KEY)


def survey(*, options: Iterable[Option] = ()) -> Survey:
    """Survey the tables. ``options``: the steps that the operator allows. Raises django.db.Error."""
    theirs = judging.others_tables()
    if not theirs:
        missing = judging.unapplied()
        is_begun = not any(each.startswith(f"{judging.APP}.") for each in missing)
        return Survey(unapplied=missing if is_begun else [])
    wants, found = wanted.tables(), reading.tables(wanted.models().keys())
    differ = sorted(differences(wants, found), key=lambda each: _ORDER.index(each.kind))
    allowed = set(options)
    obstacles = list(_of_tables(differ, wants, found))
    if obstacles:  # rows are not looked at while the tables themselves are wrong
        return Survey(tables=_sizes(theirs), differences=[str(each) for each in differ], obstacles=obstacles)
    moves, kept = _moves(wants, found, allowed)
    filled, unfilled = _gaps(wants, found)
    return Survey(
        tables=_sizes(theirs),
        differences=[str(each) for each in differ],
        obstacles=[*kept, *unfilled, *rows.against_the_rules(found)],
        steps=[*_engines(differ), *moves, *filled, *_structure(differ, found), steps.counted()],
        notes=[*rows.unknown_statuses(found), *_more_columns(wants, found)],
    )


def _sizes(tables: Iterable[str]) -> dict[str, int]:
    return {table: int(rows.ask(f"SELECT COUNT(*) FROM `{table}`")[0][0]) for table in tables}


def _of_tables(
    differ: Iterable[Difference], wants: Mapping[str, Table], found: Mapping[str, Table]
) -> Iterator[Obstacle]:
    """The differences that no statement can remove."""
    for each in differ:
        if each.kind in _FOR_A_PERSON:
            yield Obstacle(what=str(each), mend=judging.mend_of(each))
        elif each.kind is Kind.COLUMN_MISSING and wants[each.table].columns[each.name].must_be_given:
            yield Obstacle(
                what=say("{difference}, and nothing tells what to put there", difference=each),
                mend=say(
                    "is {table} a table of the coupon system? If so, add the column and its values",
                    table=each.table,
                ),
            )
    for table, key in steps.alien_keys(found):
        yield Obstacle(
            what=say(
                "table {table}: its foreign key {key} holds a column whose type must change",
                table=table,
                key=key,
            ),
            mend=say(
                "ALTER TABLE `{table}` DROP FOREIGN KEY `{key}`, and make it again afterwards",
                table=table,
                key=key,
            ),
        )


def _moves(
    wants: Mapping[str, Table], found: Mapping[str, Table], allowed: set[Option]
) -> tuple[list[Step], list[Obstacle]]:
    moves: list[Step] = []
    kept: list[Obstacle] = []
    for each in rows.movable(wants, found):
        number = rows.count(each)
        if number and each.option in allowed:
            moves += steps.moved(each, found[each.table], number)
        elif number:
            kept.append(rows.obstacle(each, number))
    return moves, kept


def _gaps(wants: Mapping[str, Table], found: Mapping[str, Table]) -> tuple[list[Step], list[Obstacle]]:
    filled: list[Step] = []
    unfilled: list[Obstacle] = []
    for name, table in found.items():
        steps_, obstacles = rows.gaps(wants[name], table)
        filled += steps_
        unfilled += obstacles
    return filled, unfilled


def _engines(differ: Iterable[Difference]) -> Iterator[Step]:
    """Make the tables transactional first, so that no moved row can be in two places."""
    for each in differ:
        if each.kind is Kind.ENGINE:
            yield Step(title=str(each), statements=tuple(mending.statements(each)))


def _structure(differ: list[Difference], found: Mapping[str, Table]) -> Iterator[Step]:
    rewritten = {(each.table, each.name) for each in differ if each.kind is Kind.COLUMN_TYPE}
    dropped = list(steps.keys_dropped(found, rewritten))
    yield from dropped
    # A column is rewritten once however much of it differs, and a key is dropped once.
    done = {statement for step in dropped for statement in step.statements}
    for each in [*differ, *steps.keys_to_make_again(found, rewritten)]:
        if each.kind is Kind.ENGINE:
            continue
        statements = tuple(statement for statement in mending.statements(each) if statement not in done)
        done.update(statements)
        if statements:
            yield Step(title=_title(each, differ), statements=statements)


def _title(difference: Difference, differ: Iterable[Difference]) -> str:
    if difference.kind not in OF_A_COLUMN:
        return str(difference)
    what = ", ".join(
        say(each.kind)
        for each in differ
        if each.kind in OF_A_COLUMN and (each.table, each.name) == (difference.table, difference.name)
    )
    return say("table {table}, {name}: {what}", table=difference.table, name=difference.name, what=what)


def _more_columns(wants: Mapping[str, Table], found: Mapping[str, Table]) -> Iterator[str]:
    for name, table in found.items():
        if more := [column for column in table.columns if column not in wants[name].columns]:
            yield say(
                "table {table}: {names} are unknown here and stay as they are",
                table=name,
                names=", ".join(more),
            )
    yield (
        say(
            "DATETIME columns are read as UTC: if the other application wrote local times, "
            "shift them afterwards (docs/moving.md)"
        )
    )
