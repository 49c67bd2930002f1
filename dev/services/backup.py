"""A database into a file and back, as an operator does it."""

from __future__ import annotations

from pathlib import Path

from dev.services.errors import ServiceError
from dev.services.mariadb import MariaDB
from dev.services.stack import Kind

#: MySQL's own tool would name transactions that a restored server has had already.
DUMP_OPTIONS = {Kind.MARIADB: (), Kind.MYSQL: ("--set-gtid-purged=OFF",)}


def dump(server: MariaDB, *, database: str, file: Path) -> None:
    """Write the database as it is at one moment; the file appears whole or not at all."""
    unfinished = file.with_name(f"{file.name}.new")
    try:
        with unfinished.open("w") as output:
            server.client.dump(*DUMP_OPTIONS[server.choice.kind], database, to=output)
    except OSError as error:
        raise ServiceError(f"{unfinished} cannot be written: {error.strerror}") from error
    unfinished.replace(file)


def restore(server: MariaDB, *, database: str, file: Path) -> None:
    """Replace the database by what the file holds: what came after the dump is gone."""
    try:
        with file.open() as source:
            server.client.do_as_root(
                f"DROP DATABASE IF EXISTS `{database}`;\nCREATE DATABASE `{database}` CHARACTER SET utf8mb4;"
            )
            server.client.feed(source, database)
    except OSError as error:
        raise ServiceError(f"{file} cannot be read: {error.strerror}") from error
