"""TLS to MySQL and MariaDB, and what a database server says of itself."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from runtime import database_roles
from runtime.config.database import DatabaseSettings, SslMode

#: The client library's number for TLS that failed.
SSL_CONNECTION_ERROR: Final = 2026
#: Major versions of MariaDB's client library (3 of Connector/C, the others of its servers). MySQL has others.
_OF_MARIADB: Final = ("3", "10", "11", "12")


def tls_options(settings: DatabaseSettings) -> dict[str, Any]:
    """The driver's options. Raises ImportError if mysqlclient is not installed."""
    if not settings.must_be_encrypted:
        return {}
    import MySQLdb

    mode = settings.ssl_mode
    if mode is SslMode.VERIFY_CA and MySQLdb.get_client_info().partition(".")[0] in _OF_MARIADB:
        # This library has no such mode: it would check the host's name too. With a CA it always checks the
        # certificate, unless the server has no TLS, and that is refused once connected.
        mode = SslMode.REQUIRED
    files = {"ca": settings.ssl_ca, "cert": settings.ssl_certificate, "key": settings.ssl_key}
    given = {name: path for name, path in files.items() if path}
    return {"ssl_mode": mode.value} | ({"ssl": given} if given else {})


def refuse_clear_text(connection: BaseDatabaseWrapper, settings: DatabaseSettings) -> None:
    """Close a new connection that is in clear text although TLS is required. Raises OperationalError.

    MariaDB's client library ignores ssl_mode=REQUIRED when the server has no TLS, and connects.
    """
    if settings.must_be_encrypted and connection.vendor == "mysql" and not _cipher(connection):
        connection.close()
        raise OperationalError(
            SSL_CONNECTION_ERROR, f"DATABASE_SSL_MODE={settings.ssl_mode}, and the server has no TLS"
        )


def details(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Version, and whether the connection is encrypted and takes writes. Raises django.db.Error."""
    if connection.vendor != "mysql":
        return {"database": connection.display_name, "version": sqlite3.sqlite_version}
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@GLOBAL.read_only")
        version, read_only = cursor.fetchone()
    return {
        "database": connection.display_name,
        "version": str(version).partition("-")[0],
        "encrypted": bool(_cipher(connection)),
        "readOnly": not database_roles.takes_writes(read_only),
    }


def _cipher(connection: BaseDatabaseWrapper) -> str:
    """The connection's cipher; empty if it is in clear text."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        row = cursor.fetchone()
    return str(row[1]) if row else ""
