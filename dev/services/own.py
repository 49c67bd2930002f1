"""A stack of a suite's own: the three servers in its folder and on free ports, apart from everybody else's.

The tests, the fault suite and the benchmark each have one, so that they can run side by side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis

from dev.processes import PROJECT, free_port
from dev.servers import ServiceError
from dev.services import database_programs
from dev.services.stack import DATABASE_VARIABLE

_NAMES: Final = {"db": "mariadb", "redis": "redis", "kafka": "kafka"}
_VARIABLES: Final = {"db": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}


class Services:
    """The three servers, or some of them. ``db``, ``redis`` and ``kafka`` name them."""

    def __init__(self, *, folder: Path, servers: Collection[str] = tuple(_NAMES)) -> None:
        self.folder = folder
        self._names = [name for server, name in _NAMES.items() if server in servers]
        self.urls: dict[str, str] = {}
        self.replica_port = 0

    def start(self) -> None:
        # Kafka takes the next port too.
        ports = [f"--{name}-port={free_port(in_a_row=2)}" for name in _NAMES.values()]
        # A suite runs on what was asked for today, not on what the last run took.
        database = self.database_kind
        self.run("stop")
        if not self._names:
            return
        self.run("start", "--database", database, "--no-binlog", *ports, *self._names)
        told = self._status()["environment"]
        self.urls = {
            server: told[_VARIABLES[server]] for server, name in _NAMES.items() if name in self._names
        }

    @property
    def database_kind(self) -> str:
        return os.environ.get(DATABASE_VARIABLE) or database_programs.kind_at_hand()

    def empty_redis(self) -> None:
        """With every right, which the application's user may not have."""
        Redis(port=self.port("redis")).flushall()

    def start_again(self) -> None:
        """Those that do not run, where they ran."""
        if self._names:
            self.run("start", *self._names)

    def stop(self) -> None:
        """A server that is paused or gone is no obstacle."""
        self.run("stop")

    def make_database(self, name: str) -> None:
        """Make a database that the urls lead to from now on; its name begins with coupon_ or test_."""
        self.sql(f"CREATE DATABASE {name}")
        self.urls["db"] = self.urls["db"].rpartition("/")[0] + f"/{name}"

    def versions(self) -> dict[str, str]:
        """By the servers' own names."""
        if not self._names:
            return {}
        return {row["name"]: row["version"] for row in self._status()["services"]}

    def pids(self) -> dict[str, int]:
        pids = {row["name"]: int(row["pid"]) for row in self._status()["services"]}
        return {server: pids[name] for server, name in _NAMES.items() if name in pids}

    def do(self, action: str, server: str) -> None:
        """start, kill, pause or resume one server; returns when it is so."""
        self.run(action, _NAMES[server])

    def sql(self, statement: str, *, on: str = "mariadb") -> str:
        """Run SQL with every right; ``on`` the replica, if that is named."""
        return self.run("sql", "--on", on, statement)

    def dump(self, file: Path) -> None:
        """Write the database that the urls lead to into a file, as it is at one moment."""
        self.run("dump", str(file), "--name", self.urls["db"].rpartition("/")[2])

    def restore(self, file: Path) -> None:
        """Replace that database by what the file holds. Whoever is connected sees its tables go and come."""
        self.run("restore", str(file), "--name", self.urls["db"].rpartition("/")[2])

    def start_replica(self) -> int:
        """Start a second database that follows ``db``; returns its port. ``db`` is restarted for it.

        It begins as a copy, has the same users and databases, and refuses writes until it is promoted.
        """
        self.run("restart", "mariadb", "--binlog")
        self.replica_port = free_port()
        self.run("start", "replica", "--replica-port", str(self.replica_port))
        return self.replica_port

    def stop_replica(self) -> None:
        """End it, and restart ``db`` without the binary log that it needed."""
        self.run("stop", "replica")
        self.run("restart", "mariadb", "--no-binlog")

    def port(self, server: str) -> int:
        return urlsplit(f"//{self.urls[server].rpartition('//')[2]}").port or 0

    def environment(self, through: Mapping[str, int] | None = None) -> dict[str, str]:
        """The variables that lead to the servers; ``through`` other ports, by server."""
        ports = {server: self.port(server) for server in self.urls}
        return {
            _VARIABLES[server]: url.replace(f":{ports[server]}", f":{(ports | dict(through or {}))[server]}")
            for server, url in self.urls.items()
        }

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", *self._names, "--json"))
        return status

    def run(self, *words: str) -> str:
        """A command of dev.services on this stack (`lag`, `follow`, `promote`, ...); what it printed.

        Raises ServiceError.
        """
        done = subprocess.run(
            [sys.executable, "-m", "dev.services", *words, "--dir", str(self.folder)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=400,
        )
        if done.returncode != 0:
            raise ServiceError(f"`dev.services {words[0]}`: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
