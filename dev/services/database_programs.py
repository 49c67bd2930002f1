"""The programs of MySQL or MariaDB: which there are on this machine, and which to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dev.services import mysql_packages, programs
from dev.services.stack import Kind

SERVER_PACKAGES = ("mariadb-server",)
CLIENT_PACKAGES = ("mariadb-client", "default-mysql-client")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePrograms:
    server: Path
    client: Path
    dump: Path


def kind_at_hand() -> Kind:
    """MariaDB, unless the machine has MySQL alone."""
    if programs.find(["mariadbd"]) is None and _of_mysql("mysqld") is not None:
        return Kind.MYSQL
    return Kind.MARIADB


def provide(kind: Kind, *, directory: Path) -> DatabasePrograms:
    """The machine's own programs; else installed (MariaDB), or unpacked in ``directory`` (MySQL)."""
    if kind is Kind.MARIADB:
        return DatabasePrograms(
            server=programs.require(["mariadbd", "mysqld"], packages=SERVER_PACKAGES),
            client=programs.require(["mariadb", "mysql"], packages=CLIENT_PACKAGES),
            dump=programs.require(["mariadb-dump", "mysqldump"], packages=CLIENT_PACKAGES),
        )
    if server := _of_mysql("mysqld"):
        # MariaDB's clients of those names do as well.
        client, dump = (
            _of_mysql(name) or programs.require([name], packages=CLIENT_PACKAGES)
            for name in ("mysql", "mysqldump")
        )
        return DatabasePrograms(server=server, client=client, dump=dump)
    unpacked = mysql_packages.provide(directory=directory)
    return DatabasePrograms(
        server=unpacked / "mysqld", client=unpacked / "mysql", dump=unpacked / "mysqldump"
    )


def _of_mysql(name: str) -> Path | None:
    """By its own word: mysqld and mysql are often links to MariaDB's."""
    found = programs.find_all([name])
    return next((each for each in found if "mariadb" not in programs.version_text(each).lower()), None)
