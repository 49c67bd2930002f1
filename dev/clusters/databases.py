"""Two databases with TLS behind one address: haproxy leads there, and a failover leads it to the other one.

Connections that are there when it is led elsewhere stay where they are, unless they are cut off: as where a
name's address changes, or with a proxy that lets sessions drain.
"""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dev.clusters.certificates import Certificates
from dev.clusters.database import DatabaseWithTls, own_stack, tls_options
from dev.processes import LOOPBACK, Process, free_port
from dev.services import programs
from dev.services.daemon import Choice
from dev.services.mariadb import MariaDB
from dev.services.replica import Replica
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, Stack

_READY_S: Final = 60.0
_PROXY: Final = """\
global
    stats socket ipv4@{host}:{told_at} level admin
    stats timeout 1m
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen database
    bind {host}:{port}
    option redispatch
    server first {host}:{first}
    server second {host}:{second} disabled
"""


class _Second(Replica, DatabaseWithTls):
    """Follows the first one from the moment it starts, as a copy."""

    def prepare(self) -> Process:
        shutil.rmtree(self.folder, ignore_errors=True)
        return MariaDB.prepare(self)

    def log_options(self, choice: Choice) -> tuple[str, ...]:
        return (*super().log_options(choice), *self.tls)


class Databases:
    """``first`` and, from ``follow`` to ``forget``, ``second``; ``port``: where haproxy listens."""

    def __init__(self, folder: Path, *, like: Stack, certificates: Certificates) -> None:
        first, second = free_port(), free_port()
        stack = own_stack(folder, like=like, ports={"mariadb": first, "replica": second}, with_binlog=True)
        self.first, self.second = DatabaseWithTls(stack=stack), _Second(stack=stack)
        for server in (self.first, self.second):
            server.tls = tls_options(certificates, server.choice.kind)
        self._processes: dict[str, Process] = {}
        self.port = free_port()
        self._told_at = free_port()
        self._folder = folder

    def start(self) -> None:
        self._start(self.first)
        settings = self._folder / "haproxy.cfg"
        settings.write_text(
            _PROXY.format(
                host=LOOPBACK,
                port=self.port,
                told_at=self._told_at,
                first=self.first.port,
                second=self.second.port,
            )
        )
        self._processes["haproxy"] = Process(
            name="haproxy",
            command=[str(programs.require(["haproxy"], packages=["haproxy"])), "-db", "-f", str(settings)],
            log=self._folder / "haproxy.log",
            env=programs.inherited_environment(),
            folder=self._folder,
            dies_by=signal.SIGKILL,
        ).start()
        self._processes["haproxy"].wait_ready(self._proxy_answers)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()

    def url(self, database: str) -> str:
        return f"mysql://{APPLICATION_USER}:{APPLICATION_PASSWORD}@{LOOPBACK}:{self.port}/{database}"

    def _start(self, server: DatabaseWithTls) -> None:
        process = server.prepare()
        process.dies_by = signal.SIGKILL
        self._processes[server.name] = process.start()
        process.wait_ready(server.answers, within_s=_READY_S)
        server.finish()

    def start_again(self) -> None:
        if not self._processes[self.first.name].running:
            self._start(self.first)

    def follow(self) -> None:
        """The second one has all that the first has, and follows it."""
        self._start(self.second)

    def forget(self) -> None:
        """The second one is gone, and the first as it was, with what it had then."""
        self._processes[self.second.name].kill()
        self.start_again()
        self.first.client.run_as_root("SET GLOBAL read_only = 0;")
        self._lead(to="first")
        self._tell("shutdown sessions server database/second")

    def refuse_writes(self) -> None:
        """The first one, as before a planned failover: it commits nothing more."""
        self.first.client.run_as_root("SET GLOBAL read_only = 1;")

    def wait_for_second(self) -> None:
        """Until it has all that the first has now."""
        self.second.follow()

    def promote(self) -> None:
        """New connections lead to the second one, which takes writes; those to the first one stay."""
        self.second.promote()
        self._lead(to="second")

    def kill_first(self) -> None:
        self._processes[self.first.name].signal(signal.SIGKILL)
        self._processes[self.first.name].wait(within_s=20)

    def _proxy_answers(self) -> bool:
        try:
            self._lead(to="first")
        except OSError:
            return False
        return True

    def _lead(self, *, to: str) -> None:
        for name in ("first", "second"):
            self._tell(f"set server database/{name} state {'ready' if name == to else 'maint'}")

    def _tell(self, command: str) -> None:
        with socket.create_connection((LOOPBACK, self._told_at), timeout=5) as told:
            told.sendall(f"{command}\n".encode())
            answer = told.recv(4096).decode().strip()
        if answer:
            raise RuntimeError(f"haproxy, told {command!r}: {answer}")


@contextmanager
def running(folder: Path, *, like: Stack, certificates: Certificates) -> Iterator[Databases]:
    databases = Databases(folder, like=like, certificates=certificates)
    try:
        databases.start()
        yield databases
    finally:
        databases.stop()
