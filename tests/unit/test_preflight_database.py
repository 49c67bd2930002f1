"""The preflight's checks of the database, on facts that are wrong in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coupons.operations.preflight.database import server, use
from coupons.operations.preflight.findings import Expected, Level
from coupons.operations.surroundings.facts import Problem
from runtime.actuator import Component
from tests.unit.preflight_facts import ahead, database, levels, only

RED, YELLOW, NOTE = Level.RED, Level.YELLOW, Level.NOTE


def test_a_right_database() -> None:
    for check in use.SUBJECT.checks:
        assert not list(check.look(database())), check.name
        assert not check.blind(database())


@pytest.mark.parametrize(
    ("variables", "look", "level", "word"),
    [
        ({"read_only": "ON"}, server.read_only, RED, "read-only (read_only)"),
        ({"read_only": "NO_LOCK_NO_ADMIN"}, server.read_only, RED, "read-only"),
        ({"super_read_only": "ON"}, server.read_only, RED, "SET GLOBAL super_read_only = OFF"),
        ({"innodb_read_only": "ON"}, server.read_only, RED, "innodb_read_only"),
        ({"transaction_read_only": "ON"}, server.read_only, RED, "transaction_read_only"),
        ({"innodb_force_recovery": "3"}, server.read_only, RED, "innodb_force_recovery is 3"),
        (
            {"innodb_flush_log_at_trx_commit": "2"},
            server.durability,
            YELLOW,
            "innodb_flush_log_at_trx_commit",
        ),
        (
            {"innodb_flush_log_at_trx_commit": "0"},
            server.durability,
            YELLOW,
            "innodb_flush_log_at_trx_commit",
        ),
        ({"sync_binlog": "0"}, server.durability, YELLOW, "SET GLOBAL sync_binlog = 1"),
        ({"innodb_doublewrite": "OFF"}, server.durability, YELLOW, "innodb_doublewrite"),
        ({"innodb_flush_method": "nosync"}, server.durability, RED, "innodb_flush_method"),
        ({"max_connections": "20"}, server.connections, YELLOW, "max_connections is 20"),
        ({"max_user_connections": "5"}, server.connections, YELLOW, "max_user_connections is 5"),
        ({"wait_timeout": "30"}, server.sessions, YELLOW, "wait_timeout is 30"),
        ({"sql_mode": ""}, server.sessions, YELLOW, "sql_mode is empty"),
        ({"max_statement_time": "2.500000"}, server.sessions, YELLOW, "after 2.5 s"),
        ({"max_execution_time": "1000"}, server.sessions, YELLOW, "after 1 s"),
        ({"general_log": "ON"}, server.sessions, YELLOW, "general_log"),
        ({"autocommit": "OFF"}, server.sessions, YELLOW, "autocommit"),
        ({"innodb_buffer_pool_size": "8388608"}, server.buffers, YELLOW, "is 8 MiB"),
        ({"innodb_page_size": "8192"}, server.rows, RED, "innodb_page_size is 8192"),
        ({"innodb_default_row_format": "compact"}, server.rows, YELLOW, "innodb_default_row_format"),
    ],
)
def test_a_variable(variables: dict[str, str], look: Callable[[Any], Any], level: Level, word: str) -> None:
    only(look(database(variables=variables)), level, word)


@pytest.mark.parametrize(
    ("changes", "look", "level", "word"),
    [
        ({"is_mysql": False}, server.kind, RED, "SQLite"),
        ({"problems": [Problem(what="latin1", mend="ALTER")]}, use.schema, RED, "latin1"),
        ({"problems": [Problem(what="i", mend="m", stops=False)]}, use.schema, YELLOW, "i"),
        (
            {"refused": {"INSERT on user": "denied", "DELETE on user": "denied"}},
            use.rights,
            RED,
            "and 1 more",
        ),
        (
            {"refused": {"INSERT on user": "is running with --read-only"}},
            server.read_only,
            RED,
            "the primary",
        ),
        ({"utc_offset_s": 32_400}, server.time_zone, YELLOW, "+9 h from UTC"),
        ({"utc_offset_s": None}, server.time_zone, NOTE, "no time zone tables"),
        ({"korean": ("?? ?", "3F")}, use.korean, RED, "init_connect"),
        ({"row_formats": {"user": "Compact"}}, server.rows, YELLOW, "ROW_FORMAT=DYNAMIC"),
        (
            {"collations": {"user": "utf8mb4_bin", "coupon": "utf8mb4_general_ci"}},
            server.collations,
            NOTE,
            "several",
        ),
        ({"clock": ahead(180)}, use.clock, RED, "180 s ahead of"),
        ({"clock": ahead(-5)}, use.clock, YELLOW, "5 s behind"),
        ({"free": 600 << 20}, server.disk, YELLOW, "600 MiB"),
        ({"free": 100 << 20}, server.disk, RED, "100 MiB"),
        ({"free": None}, server.disk, NOTE, "does not tell"),
        (
            {"replica": Component(is_up=False, details={"error": "OperationalError"})},
            use.replica,
            YELLOW,
            "answer",
        ),
        ({"replica": Component(is_up=True), "replica_lacks": "no table"}, use.replica, YELLOW, "no table"),
        ({"replica": Component(is_up=True, details={"readOnly": False})}, use.replica, NOTE, "not read-only"),
        ({"expected": Expected(apis=50)}, server.connections, YELLOW, "50 APIs"),
    ],
)
def test_a_use(changes: dict[str, Any], look: Callable[[Any], Any], level: Level, word: str) -> None:
    only(look(database(**changes)), level, word)


def test_a_read_only_server_is_told_once() -> None:
    refused = {"INSERT on user": "The MariaDB server is running with the --read-only option"}

    assert not list(use.rights(database(refused=refused)))
    assert levels(server.read_only(database(refused=refused, variables={"read_only": "ON"}))) == [RED]


def test_a_clock_within_the_time_of_its_answer_is_right() -> None:
    assert not list(use.clock(database(clock=ahead(1.5))))
    assert not list(use.clock(database(clock=ahead(-1.5))))


def test_sqlite_is_asked_nothing_that_it_does_not_know() -> None:
    blind = [check.name for check in use.SUBJECT.checks if check.blind(database(is_mysql=False))]

    assert "durability" in blind
    assert "schema" not in blind
