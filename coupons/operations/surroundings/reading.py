"""Reads the database as it is, in a few milliseconds. Reads only. Raises the driver's errors."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final, cast

from django.db import connection

from coupons.operations.surroundings.facts import Column, DatabaseServer, ForeignKey, Table

Rows = list[tuple[Any, ...]]

_PROTECTIONS: Final = ("foreign_key_checks", "unique_checks")
_TABLES: Final = """
    SELECT t.table_name, t.engine, e.transactions, t.table_collation
    FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
    WHERE t.table_type = 'BASE TABLE' AND t.table_schema = DATABASE() AND t.table_name IN ({names})"""
_COLUMNS: Final = """
    SELECT table_name, column_name, column_type, character_set_name, is_nullable, column_default, extra
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name IN ({names})"""
_INDEXES: Final = """
    SELECT table_name, index_name, non_unique, column_name FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name IN ({names})
    ORDER BY table_name, index_name, seq_in_index"""
_FOREIGN_KEYS: Final = """
    SELECT k.table_name, k.constraint_name, k.column_name, k.referenced_table_name,
        k.referenced_column_name, r.delete_rule
    FROM information_schema.key_column_usage k
    JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema
        AND r.table_name = k.table_name AND r.constraint_name = k.constraint_name
    WHERE k.table_schema = DATABASE() AND k.table_name IN ({names})"""
#: MySQL can keep a check without enforcing it; MariaDB cannot, and has no column for that.
_CHECKS: Final = """
    SELECT table_name, constraint_name, {enforced} FROM information_schema.table_constraints
    WHERE constraint_type = 'CHECK' AND table_schema = DATABASE() AND table_name IN ({names})"""


def is_mysql() -> bool:
    """Whether the database is MySQL or MariaDB."""
    return connection.vendor == "mysql"


def is_mariadb() -> bool:
    return is_mysql() and bool(cast(Any, connection).mysql_is_mariadb)


def server() -> DatabaseServer:
    if not is_mysql():
        return DatabaseServer(product="SQLite", version=sqlite3.sqlite_version_info)
    with connection.cursor():  # connects, so that the connection knows the server's version
        mariadb = is_mariadb()
    off = (*_PROTECTIONS, "check_constraint_checks") if mariadb else _PROTECTIONS
    isolation = "tx_isolation" if mariadb else "transaction_isolation"
    names = ("sql_mode", "time_zone", isolation, "character_set_database", "max_allowed_packet")
    [values] = _rows(
        f"SELECT {', '.join(f'@@{name}' for name in (*names, 'log_bin', 'binlog_format', *off))}"
    )
    return DatabaseServer(
        product="MariaDB" if mariadb else "MySQL",
        version=cast(Any, connection).mysql_version,
        sql_mode=frozenset(values[0].split(",")),
        time_zone=values[1],
        isolation=values[2],
        charset=values[3],
        max_packet=values[4],
        binlog_format=values[6] if values[5] else "",
        switched_off=tuple(name for name, value in zip(off, values[7:], strict=True) if not value),
    )


def tables(names: Collection[str]) -> dict[str, Table]:
    """The named tables that exist, by name."""
    return _tables_of_mysql(names) if is_mysql() else _tables_of_sqlite(names)


def _rows(statement: str, parameters: Sequence[str] = ()) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


def _tables_of_mysql(names: Collection[str]) -> dict[str, Table]:
    def ask(statement: str, **words: str) -> dict[str, Rows]:
        """The rows of each table, without the table's name."""
        marks = ", ".join(["%s"] * len(names))
        found: defaultdict[str, Rows] = defaultdict(list)
        for name, *rest in _rows(statement.format(names=marks, **words), list(names)):
            found[name].append(tuple(rest))
        return found

    columns, indexes, foreign_keys = ask(_COLUMNS), ask(_INDEXES), ask(_FOREIGN_KEYS)
    checks = ask(_CHECKS, enforced="'YES'" if is_mariadb() else "enforced")
    return {
        name: _table_of_mysql(
            name,
            table,
            columns[name],
            indexes.get(name, []),
            foreign_keys.get(name, []),
            checks.get(name, []),
        )
        for name, [table] in ask(_TABLES).items()
    }


def _table_of_mysql(
    name: str, table: tuple[Any, ...], columns: Rows, indexes: Rows, foreign_keys: Rows, checks: Rows
) -> Table:
    engine, transactions, collation = table
    by_index: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for index, is_not_unique, column in indexes:
        by_index[index, not int(is_not_unique)].append(str(column))
    return Table(
        name=name,
        columns={column: _column_of_mysql(*rest) for column, *rest in columns},
        primary_key=tuple(by_index.pop(("PRIMARY", True), ())),
        uniques={index: tuple(on) for (index, is_unique), on in by_index.items() if is_unique},
        indexes={index: tuple(on) for (index, is_unique), on in by_index.items() if not is_unique},
        checks={check: enforced == "YES" for check, enforced in checks},
        foreign_keys={
            key: ForeignKey(column=column, table=to, target=target, is_firm=rule in ("RESTRICT", "NO ACTION"))
            for key, column, to, target, rule in foreign_keys
        },
        engine=engine,
        is_transactional=transactions == "YES",
        charset=str(collation).partition("_")[0],
    )


def _column_of_mysql(
    type_: str, charset: str | None, is_nullable: str, default: str | None, extra: str
) -> Column:
    return Column(
        type=type_.decode() if isinstance(type_, bytes) else type_,  # MySQL returns a blob
        charset=charset,
        is_nullable=is_nullable == "YES",
        has_default=default not in (None, "NULL"),  # MariaDB returns the word NULL
        is_counted="auto_increment" in extra.lower(),
    )


def _tables_of_sqlite(names: Collection[str]) -> dict[str, Table]:
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        return {name: _table_of_sqlite(cursor, name) for name in names if name in existing}


def _table_of_sqlite(cursor: Any, name: str) -> Table:
    found = connection.introspection.get_constraints(cursor, name)
    counted = connection.introspection.get_primary_key_column(cursor, name)
    named = {key: (each, tuple(each["columns"] or ())) for key, each in found.items()}
    return Table(
        name=name,
        columns={
            column.name: Column(
                type=None,
                is_nullable=bool(column.null_ok),
                has_default=column.default is not None,
                is_counted=column.name == counted,
            )
            for column in connection.introspection.get_table_description(cursor, name)
        },
        primary_key=next((on for each, on in named.values() if each["primary_key"]), ()),
        uniques={key: on for key, (each, on) in named.items() if each["unique"] and not each["primary_key"]},
        indexes={key: on for key, (each, on) in named.items() if each["index"] and not each["unique"]},
        checks={key: True for key, (each, _) in named.items() if each["check"]},
        foreign_keys={
            key: ForeignKey(column=on[0], table=each["foreign_key"][0], target=each["foreign_key"][1])
            for key, (each, on) in named.items()
            if each["foreign_key"]
        },
    )
