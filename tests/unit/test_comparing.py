"""What counts as a difference between two tables, and what a server must be. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db.migrations import RunPython
from django.db.migrations.loader import MigrationLoader

from coupons.operations.surroundings import judging
from coupons.operations.surroundings.comparing import Difference, Kind, differences, fits
from coupons.operations.surroundings.facts import Column, DatabaseServer, ForeignKey, Table
from runtime.config.language import Language
from runtime.operator_language import say, spoken

NUMBER = Column(type="bigint")
TABLE = Table(
    name="t",
    columns={
        "id": Column(type="bigint", is_counted=True),
        "name": Column(type="varchar(10)", charset="utf8mb4", has_default=True),
        "other": replace(NUMBER, is_nullable=True),
    },
    primary_key=("id",),
    uniques={"once": ("name", "other")},
    checks={"positive": True},
    foreign_keys={"other": ForeignKey(column="other", table="o", target="id")},
    indexes={"fast": ("other", "id")},
    engine="InnoDB",
    charset="utf8mb4",
)


@pytest.mark.parametrize(
    ("wanted", "found", "does"),
    [
        ("bigint", "bigint(20)", True),
        ("integer", "int(11)", True),
        ("integer", "bigint", True),
        ("bigint", "int", False),
        ("bigint", "bigint unsigned", False),
        ("varchar(10)", "varchar(10)", True),
        ("varchar(10)", "varchar(255)", True),
        ("varchar(10)", "longtext", True),
        ("varchar(10)", "varchar(9)", False),
        ("varchar(10)", "tinytext", False),
        ("varchar(20)", "enum('OPENED','CLOSED')", False),
        ("varchar(20)", "tinyint(4)", False),
        ("uuid", "uuid", True),
        ("uuid", "char(32)", False),
        ("char(32)", "char(32)", True),
        ("char(32)", "uuid", False),
        ("char(32)", "binary(16)", False),
        ("datetime(6)", "datetime(6)", True),
        ("datetime(6)", "datetime", False),
        ("datetime(6)", "timestamp(6)", False),
        ("longblob", "blob", False),
        ("longblob", "longblob", True),
    ],
)
def test_a_column_may_be_wider_and_never_narrower(wanted: str, found: str, does: bool) -> None:
    assert fits(wanted, found) is does


def _kinds(**changed: Any) -> list[Kind]:
    return [each.kind for each in differences({"t": TABLE}, {"t": replace(TABLE, **changed)})]


def _columns(**changed: Column | None) -> dict[str, Column]:
    columns: dict[str, Column | None] = {**TABLE.columns, **changed}
    return {name: column for name, column in columns.items() if column}


def test_equal_tables_do_not_differ() -> None:
    assert _kinds() == []
    assert [each.kind for each in differences({"t": TABLE}, {})] == [Kind.TABLE_MISSING]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"is_transactional": False, "engine": "MyISAM"}, Kind.ENGINE),
        ({"charset": "latin1"}, Kind.TABLE_CHARSET),
        ({"columns": _columns(name=None)}, Kind.COLUMN_MISSING),
        ({"columns": _columns(other=Column(type="int", is_nullable=True))}, Kind.COLUMN_TYPE),
        (
            {"columns": _columns(name=replace(TABLE.columns["name"], charset="utf8mb3"))},
            Kind.COLUMN_CHARSET,
        ),
        ({"columns": _columns(id=NUMBER)}, Kind.COLUMN_COUNTED),
        ({"columns": _columns(name=replace(TABLE.columns["name"], has_default=False))}, Kind.COLUMN_DEFAULT),
        ({"columns": _columns(name=replace(TABLE.columns["name"], is_nullable=True))}, Kind.COLUMN_NULLS),
        ({"columns": _columns(other=NUMBER)}, Kind.COLUMN_NULLS),
        ({"columns": _columns(more=NUMBER)}, Kind.COLUMN_UNKNOWN),
        ({"primary_key": ()}, Kind.PRIMARY_KEY),
        ({"uniques": {}}, Kind.UNIQUE),
        ({"uniques": {"once": ("name",)}}, Kind.UNIQUE),
        ({"uniques": {"UK_x": ("name", "other")}}, Kind.UNIQUE_NAME),
        ({"uniques": {"once": ("other", "name")}}, Kind.UNIQUE_NAME),
        ({"checks": {}}, Kind.CHECK),
        ({"checks": {"positive": False}}, Kind.CHECK),
        ({"foreign_keys": {}}, Kind.FOREIGN_KEY),
        ({"foreign_keys": {"x": ForeignKey(column="other", table="o2", target="id")}}, Kind.FOREIGN_KEY),
        (
            {"foreign_keys": {"x": replace(TABLE.foreign_keys["other"], is_firm=False)}},
            Kind.FOREIGN_KEY,
        ),
        ({"indexes": {}}, Kind.INDEX),
    ],
)
def test_each_difference_is_told(changed: dict[str, Any], kind: Kind) -> None:
    assert _kinds(**changed) == [kind]


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": _columns(more=replace(NUMBER, is_nullable=True))},
        {"columns": _columns(more=replace(NUMBER, has_default=True))},
        {"foreign_keys": {"FK_other_name": ForeignKey(column="other", table="o", target="id")}},
        {"indexes": {"another_name": ("other", "id")}},
        {"checks": {"positive": True, "one_more": True}},
        {"engine": "RocksDB"},
    ],
)
def test_what_does_no_harm_is_no_difference(changed: dict[str, Any]) -> None:
    assert _kinds(**changed) == []


def test_names_and_types_of_the_database_are_never_translated() -> None:
    """A column called ``id`` is none called 번호, though a text of that letters has Korean."""
    key = Difference(table="t", kind=Kind.PRIMARY_KEY, found="id", wanted="id")
    name = Difference(table="t", kind=Kind.UNIQUE_NAME, name="id", found="another", wanted="id")
    with spoken(Language.KOREAN):
        assert say("id") != "id"
        told = str(key), str(replace(key, found="")), str(name)

    assert not any(say_id in each for each in told for say_id in ("번호", "another", "missing"))
    assert [each.count("id") for each in told] == [2, 1, 2]


GOOD = DatabaseServer(product="MySQL", version=(8, 0, 16), sql_mode=frozenset({"STRICT_TRANS_TABLES"}))


def test_the_oldest_servers_will_do() -> None:
    assert list(judging.of_server(GOOD)) == []
    assert list(judging.of_server(replace(GOOD, product="MariaDB", version=(10, 6, 0)))) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": (8, 0, 15)}, "MySQL 8.0.15 is too old. Mend it with: MySQL 8.0.16 or newer"),
        ({"product": "MariaDB", "version": (10, 5, 20)}, "MariaDB 10.5.20 is too old"),
        ({"sql_mode": frozenset({"ANSI"})}, "sql_mode is ANSI although this connection has set STRICT"),
        ({"time_zone": "SYSTEM"}, "time_zone is SYSTEM although"),
        ({"isolation": "REPEATABLE-READ"}, "isolation level is REPEATABLE-READ although"),
        ({"max_packet": 1 << 20}, "SET GLOBAL max_allowed_packet = 16777216"),
        ({"binlog_format": "STATEMENT"}, "SET GLOBAL binlog_format = 'ROW'"),
        ({"switched_off": ("check_constraint_checks",)}, "SET GLOBAL check_constraint_checks = 1"),
    ],
)
def test_a_server_that_cannot_do_is_named_with_the_mend(changed: dict[str, Any], told: str) -> None:
    [problem] = judging.of_server(replace(GOOD, **changed))

    assert told in str(problem)
    assert problem.stops


def test_every_migration_is_one_that_adopt_brings_about_by_comparison() -> None:
    """`adopt` records all migrations as applied: one that moves data must be part of its steps as well."""
    schema_only = {"CreateModel", "AddField", "AlterField", "AddConstraint", "AddIndex"}
    migrations = [
        migration for (app, _), migration in MigrationLoader(None).disk_migrations.items() if app == "coupons"
    ]

    used = {
        type(operation).__name__
        for migration in migrations
        for operation in migration.operations
        # One that does nothing forwards only guards the way back.
        if not (isinstance(operation, RunPython) and operation.code is RunPython.noop)
    }

    assert used <= schema_only
