"""The changes of an adoption, one statement at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from coupons.operations.adopting import rows
from coupons.operations.adopting.findings import Step
from coupons.operations.adopting.rows import Movable
from coupons.operations.surroundings import judging, reading, wanted
from coupons.operations.surroundings.comparing import Difference, Kind, differences
from coupons.operations.surroundings.facts import Table
from runtime.operator_language import say

Columns = Collection[tuple[str, str]]  #: table, column


def moved(those: Movable, table: Table, number: int) -> list[Step]:
    """The steps that copy rows whole to the side table and then delete them, in one transaction."""
    side, key = rows.aside(those.table), those.key
    kept = reading.tables([side]).get(side)  # made by an earlier run, before the table got columns of ours
    names = [column for column in table.columns if kept is None or column in kept.columns]
    columns, values = (", ".join(f"{of}`{name}`" for name in names) for of in ("", "moved."))
    made = Step(
        title=say("table {side} is made", side=side),
        statements=(
            f"CREATE TABLE IF NOT EXISTS `{side}` (PRIMARY KEY (`{key}`), "
            "`set_aside_why` VARCHAR(20) NOT NULL DEFAULT '', "
            "`set_aside_at` DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) "
            f"AS SELECT * FROM `{those.table}` WHERE FALSE",
        ),
    )
    statements = (
        f"INSERT INTO `{side}` ({columns}, `set_aside_why`) "
        f"SELECT {values}, '{those.why}' FROM {those.those}",
        f"DELETE moved FROM `{those.table}` moved JOIN `{side}` side ON side.`{key}` = moved.`{key}`",
    )
    title = say(
        "{number} rows of {table} MOVED to {side}: {what}",
        number=number,
        table=those.table,
        side=side,
        what=those.what,
    )
    move = Step(title=title, statements=statements, in_one=True)
    return [made, move] if kept is None else [move]


def keys_dropped(found: Mapping[str, Table], rewritten: Columns) -> Iterator[Step]:
    """Drop foreign keys to or from rewritten columns: a key fixes the types at both of its ends."""
    for table in found.values():
        for name, key in table.foreign_keys.items():
            if {(table.name, key.column), (key.table, key.target)} & set(rewritten):
                yield Step(
                    title=say(
                        "table {table}: foreign key {key} is dropped, and made again below",
                        table=table.name,
                        key=name,
                    ),
                    statements=(f"ALTER TABLE `{table.name}` DROP FOREIGN KEY `{name}`",),
                )


def keys_to_make_again(found: Mapping[str, Table], rewritten: Columns) -> Iterator[Difference]:
    for table in found.values():
        for key in table.foreign_keys.values():
            if {(table.name, key.column), (key.table, key.target)} & set(rewritten):
                yield Difference(table=table.name, kind=Kind.FOREIGN_KEY, name=key.column)


def alien_keys(found: Mapping[str, Table]) -> list[tuple[str, str]]:
    """Foreign keys in other tables to columns whose type must change: table and name."""
    rewritten = {
        (each.table, each.name)
        for each in differences(wanted.tables(), found)
        if each.kind is Kind.COLUMN_TYPE
    }
    return [
        (table, name)
        for table, name, to, target in rows.ask(
            "SELECT table_name, constraint_name, referenced_table_name, referenced_column_name "
            "FROM information_schema.key_column_usage "
            "WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL"
        )
        if table not in wanted.models() and (to, target) in rewritten
    ]


def counted() -> Step:
    """Count the other application's winners in ``adopted_count``, because they have no outcomes (verify)."""
    return Step(
        title=say("issued_count and adopted_count of each coupon are counted from user_coupon"),
        statements=(
            "UPDATE coupon LEFT JOIN "
            "(SELECT coupon_id, COUNT(*) AS held FROM user_coupon GROUP BY coupon_id) theirs "
            "ON theirs.coupon_id = coupon.coupon_id "
            "SET issued_count = COALESCE(held, 0), adopted_count = COALESCE(held, 0), reset_at = NOW(6)",
        ),
        in_one=True,
    )


def carry_out(step: Step) -> None:
    """Carry out one step. Raises django.db.Error; earlier steps stay done, and the next survey sees them."""
    if step.in_one:
        with transaction.atomic(durable=True):
            _execute(step)
    else:
        _execute(step)


def _execute(step: Step) -> None:
    with connection.cursor() as cursor:
        for statement in step.statements:
            cursor.execute(statement)


def record_migrations() -> None:
    """Record our migrations as applied: the tables are as they would have left them."""
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    names = [name for app, name in MigrationLoader(None).graph.nodes if app == judging.APP]
    with transaction.atomic(durable=True):
        for name in sorted(names):
            recorder.record_applied(judging.APP, name)


def migrate_the_rest() -> None:
    call_command("migrate", verbosity=0)


def lock() -> bool:
    """Let one adoption run at a time, as long as this connection lives. False if another one is running."""
    [(got,)] = rows.ask("SELECT GET_LOCK(CONCAT('adopt ', LEFT(DATABASE(), 50)), 0)")
    return bool(got)


def wait_no_longer_than(seconds: int) -> None:
    """Bound the wait for a table that another application holds open."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION lock_wait_timeout = {seconds:d}")
