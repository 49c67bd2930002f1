"""A stack of a suite's own: the three servers in its folder and on free ports, apart from everybody else's.

The tests, the fault suite and the benchmark each have one, so that they can run side by side.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dev.services import database_programs
from dev.services.stack import DATABASE_VARIABLE

PROJECT: Final = Path(__file__).resolve().parent.parent.parent
_NAMES: Final = {"db": "mariadb", "redis": "redis", "kafka": "kafka"}
_VARIABLES: Final = {
    "db": "DATABASE_URL",
    "redis": "REDIS_URL",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
}


class ServicesFailed(RuntimeError):
    """A server did not do as it was told; the message is dev.services' own."""


class Services:
    """The three servers. ``db``, ``redis`` and ``kafka`` name them."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self.urls: dict[str, str] = {}
        self.replica_port = 0

    def start(self) -> None:
        # Kafka takes the next port too.
        ports = [(f"--{name}-port", str(free_port(in_a_row=2))) for name in _NAMES.values()]
        # A suite runs on what was asked for today, not on what the last run took.
        database = os.environ.get(DATABASE_VARIABLE) or database_programs.kind_at_hand()
        self.run("stop")
        self.run("start", "--database", database, "--no-binlog", *(word for pair in ports for word in pair))
        report = json.loads(self.run("status", "--json"))
        self.urls = {server: report["environment"][name] for server, name in _VARIABLES.items()}

    def stop(self) -> None:
        with suppress(ServicesFailed):  # a server that is paused or gone is no obstacle
            self.run("resume")
        self.run("stop")

    def start_again(self) -> None:
        """Those that do not run, where they ran."""
        self.run("start")

    def make_database(self, name: str) -> None:
        """Make a database that the urls lead to from now on; its name begins with coupon_ or test_."""
        self.sql(f"CREATE DATABASE {name}")
        self.urls["db"] = self.urls["db"].rpartition("/")[0] + f"/{name}"

    def versions(self) -> dict[str, str]:
        """By the servers' own names."""
        report = json.loads(self.run("status", "--json"))
        return {row["name"]: row["version"] for row in report["services"]}

    def pids(self) -> dict[str, int]:
        report = json.loads(self.run("status", "--json"))
        names = {name: server for server, name in _NAMES.items()}
        return {names.get(row["name"], row["name"]): int(row["pid"]) for row in report["services"]}

    def do(self, action: str, server: str) -> None:
        """start, kill, pause or resume one server; returns when it is so."""
        self.run(action, _NAMES[server])

    def sql(self, statement: str, *, on: str = "mariadb") -> str:
        """Run SQL with every right; ``on`` the replica, if that is named."""
        return self.run("sql", "--on", on, statement)

    def dump(self, file: Path) -> None:
        """Write the database that the urls lead to into a file, as it is at one moment."""
        self.run("dump", str(file), "--name", self._database)

    def restore(self, file: Path) -> None:
        """Replace that database by what the file holds. Whoever is connected sees its tables go and come."""
        self.run("restore", str(file), "--name", self._database)

    def start_replica(self) -> int:
        """Start a second database that follows ``db``; returns its port. ``db`` is restarted for it.

        It begins as a copy, has the same users and databases, and refuses writes until it is promoted.
        """
        self.run("restart", "mariadb", "--binlog")
        self.replica_port = free_port()
        self.run("start", "replica", "--replica-port", str(self.replica_port))
        return self.replica_port

    def lag(self) -> None:
        """Let the replica fetch nothing more: what ``db`` commits from now on, it does not have."""
        self.run("lag")

    def follow(self) -> None:
        """Let it go on; returns when it has all that ``db`` has."""
        self.run("follow")

    def promote(self) -> None:
        """Let it take writes as it stands, and follow nobody. The urls still lead to ``db``."""
        self.run("promote")

    def stop_replica(self) -> None:
        """End it, and restart ``db`` without the binary log that it needed."""
        self.run("stop", "replica")
        self.run("restart", "mariadb", "--no-binlog")

    @property
    def _database(self) -> str:
        return self.urls["db"].rpartition("/")[2]

    def port(self, server: str) -> int:
        url = self.urls[server]
        port = urlsplit(url if "://" in url else f"kafka://{url}").port
        if port is None:
            raise RuntimeError(f"{url} names no port")
        return port

    def environment(self, through: Mapping[str, int] | None = None) -> dict[str, str]:
        """The variables that lead to the servers; ``through`` other ports, by server."""
        return {
            _VARIABLES[server]: url.replace(
                f":{self.port(server)}", f":{(through or {}).get(server, self.port(server))}"
            )
            for server, url in self.urls.items()
        }

    def run(self, *words: str) -> str:
        """A command of dev.services on this stack; returns what it printed. Raises ServicesFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "dev.services", *words, "--dir", str(self.folder)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=400,
        )
        if done.returncode != 0:
            raise ServicesFailed(f"`dev.services {words[0]}`: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def free_port(*, in_a_row: int = 1) -> int:
    """The first of so many free ports, none of which an outgoing connection may take.

    A server that is killed and started again must find its port free.
    """
    for _ in range(1000):
        first = random.randint(15_000, 32_000)
        if all(_is_free(port) for port in range(first, first + in_a_row)):
            return first
    raise RuntimeError("no free port from 15000 to 32000 was found in 1000 tries: see `ss -ltn`")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
