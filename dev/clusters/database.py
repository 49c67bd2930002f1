"""MariaDB or MySQL, whichever the other tests run on, with TLS by a certificate of ours or without TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.clusters.certificates import Certificates
from dev.processes import LOOPBACK, free_port
from dev.services import database_programs
from dev.services.daemon import Choice
from dev.services.mariadb import SETUP, MariaDB
from dev.services.mysql_packages import FOLDER as MYSQL
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE, Kind, Stack

_WITHOUT_TLS = {Kind.MARIADB: "--skip-ssl", Kind.MYSQL: "--tls-version="}


class DatabaseWithTls(MariaDB):
    """``tls``: the options that turn it on or off."""

    tls: tuple[str, ...] = ()

    def log_options(self, choice: Choice) -> tuple[str, ...]:
        return (*super().log_options(choice), *self.tls)

    def finish(self) -> None:
        """No login is tried: MySQL's own client refuses to log in without TLS."""
        self.client.run_as_root(SETUP)


@contextmanager
def database(folder: Path, *, like: Stack, certificates: Certificates | None) -> Iterator[str]:
    """Its URL, without TLS' options. ``like``: the stack whose kind of server and programs are used."""
    stack = own_stack(folder, like=like, ports={"mariadb": free_port()})
    server = DatabaseWithTls(stack=stack)
    server.tls = tls_options(certificates, server.choice.kind)
    process = server.prepare().start()
    try:
        process.wait_ready(server.answers, within_s=60)
        server.finish()
        login = f"{APPLICATION_USER}:{APPLICATION_PASSWORD}"
        yield f"mysql://{login}@{LOOPBACK}:{process.port}/{DATABASE}"
    finally:
        process.kill()


def own_stack(folder: Path, *, like: Stack, ports: Mapping[str, int], with_binlog: bool = False) -> Stack:
    """A new stack in this folder, of the same kind of database; both use the same programs."""
    kind = MariaDB(stack=like).choice.kind
    folder.mkdir()
    if kind is Kind.MYSQL:
        database_programs.provide(kind, directory=like.directory)  # once, and not for each new folder
    if (like.directory / MYSQL).exists():
        (folder / MYSQL).symlink_to(like.directory / MYSQL)
    stack = Stack(directory=folder, asked_ports=ports, asked_kind=kind, asked_binlog=with_binlog)
    stack.run_dir.mkdir()
    stack.log_dir.mkdir()
    return stack


def tls_options(certificates: Certificates | None, kind: Kind) -> tuple[str, ...]:
    if certificates is None:
        return (_WITHOUT_TLS[kind],)
    return (
        f"--ssl-ca={certificates.ca}",
        f"--ssl-cert={certificates.server}",
        f"--ssl-key={certificates.server_key}",
    )
