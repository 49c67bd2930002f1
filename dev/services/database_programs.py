"""The programs of MySQL or MariaDB: which there are on this machine, and which to use."""

from __future__ import annotations

from collections.abc import Sequence
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
    if programs.find(["mariadbd"]) is None and _own_mysqld() is not None:
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
    if server := _own_mysqld():
        return DatabasePrograms(server=server, client=_mysqls_own("mysql"), dump=_mysqls_own("mysqldump"))
    unpacked = mysql_packages.provide(directory=directory)
    return DatabasePrograms(
        server=unpacked / "mysqld", client=unpacked / "mysql", dump=unpacked / "mysqldump"
    )


def find_client(kind: Kind) -> str:
    """The name to show a person who wants to type SQL: one that this machine has."""
    names = ["mariadb", "mysql"] if kind is Kind.MARIADB else ["mysql", "mariadb"]
    found = programs.find(names)
    return found.name if found else names[0]


def _own_mysqld() -> Path | None:
    return _first_of_mysql(["mysqld"])


def _mysqls_own(name: str) -> Path:
    """MySQL's own program where it is there; MariaDB's of that name does as well."""
    return _first_of_mysql([name]) or programs.require([name], packages=CLIENT_PACKAGES)


def _first_of_mysql(names: Sequence[str]) -> Path | None:
    """By its own word: mysqld and mysql are often links to MariaDB's."""
    for program in programs.find_all(names):
        if "mariadb" not in programs.version_text(program).lower():
            return program
    return None
