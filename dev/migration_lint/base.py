"""Django's MySQL backend as it writes SQL, without a server: what it asks one is answered here.

The linter judges the SQL of each migration. SQLite's would not do: it copies the table for most changes, and
what MySQL does with a default of its own is then a new NOT NULL column to the linter.
"""

from __future__ import annotations

from typing import Any, Self

from django.db.backends.mysql.base import DatabaseWrapper as MySQL
from django.db.backends.mysql.schema import DatabaseSchemaEditor
from django.utils.functional import cached_property


class _NothingThere:
    """A cursor of an empty database."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str, parameters: object = None) -> None:
        pass

    def fetchall(self) -> list[Any]:
        return []

    def fetchone(self) -> None:
        return None


class _Quoting(DatabaseSchemaEditor):
    def quote_value(self, value: object) -> str:
        """As the linter reads it; the SQL is never run."""
        return repr(value)


class DatabaseWrapper(MySQL):
    SchemaEditorClass = _Quoting

    @cached_property
    def mysql_server_data(self) -> dict[str, Any]:
        """Of the oldest version that is promised (docs/api.md)."""
        return {
            "version": "8.0.16",
            "sql_mode": "STRICT_TRANS_TABLES",
            "default_storage_engine": "InnoDB",
            "lower_case_table_names": False,
            "has_zoneinfo_database": True,
        }

    def cursor(self) -> _NothingThere:  # type: ignore[override]
        return _NothingThere()
