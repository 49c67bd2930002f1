"""MariaDB, Redis and Apache Kafka in the suite's own folder, driven by deploy.services."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from tests.stack import PROJECT, free_port

FOLDER: Final = PROJECT / ".test-stacks" / "faults"
_NAMES: Final = {"db": "mariadb", "redis": "redis", "kafka": "kafka"}
_VARIABLES: Final = {
    "db": "DATABASE_URL",
    "redis": "REDIS_URL",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
}


class ServicesFailed(RuntimeError):
    """A server did not do as it was told; the message is deploy.services' own."""


class Services:
    """The three servers. ``db``, ``redis`` and ``kafka`` name them."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        # Kafka takes the next port too.
        ports = [(f"--{name}-port", str(free_port(in_a_row=2))) for name in _NAMES.values()]
        self._run("stop")
        self._run("start", *(word for pair in ports for word in pair))
        report = json.loads(self._run("status", "--json"))
        self.urls = {server: report["environment"][name] for server, name in _VARIABLES.items()}

    def stop(self) -> None:
        with suppress(ServicesFailed):  # a server that is paused or gone is no obstacle
            self._run("resume")
        self._run("stop")

    def start_again(self) -> None:
        """Those that do not run, where they ran."""
        self._run("start")

    def versions(self) -> str:
        report = json.loads(self._run("status", "--json"))
        return ", ".join(row["version"] for row in report["services"])

    def do(self, action: str, server: str) -> None:
        """start, kill, pause or resume one server; returns when it is so."""
        self._run(action, _NAMES[server])

    def sql(self, statement: str) -> str:
        """Run SQL with every right."""
        return self._run("sql", statement)

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

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.services", *words, "--dir", str(FOLDER)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=400,
        )
        if done.returncode != 0:
            raise ServicesFailed(
                f"`deploy.services {words[0]}`: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout
