"""Redis, or Valkey where that is installed: a cache here, so it keeps nothing on disk."""

from __future__ import annotations

import re
import socket

from dev.services import programs
from dev.services.ports import LOOPBACK
from dev.services.process import Launch
from dev.services.service import Service

ANSWER_WAIT_S = 2.0


class Redis(Service):
    name = "redis"
    stop_wait_s = 10.0

    def prepare(self) -> Launch:
        program = programs.require(
            ["redis-server", "valkey-server"], packages=["redis-server", "valkey-server"]
        )
        folder = self.stack.directory / "redis"
        folder.mkdir(exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "maxmemory-policy": "noeviction",
            "appendonly": "no",
            "save": "",
            "daemonize": "no",
            "dir": "./",
        }
        command = [str(program)]
        for option, value in options.items():
            command += [f"--{option}", value]
        return Launch(command=command, directory=folder, environment=programs.inherited_environment())

    def answers(self) -> bool:
        return self._ask("PING").startswith("+PONG")

    def version(self) -> str:
        told = self._ask("INFO server")
        found = re.search(r"^(valkey|redis)_version:(\S+)", told, flags=re.MULTILINE)
        valkey = re.search(r"^valkey_version:(\S+)", told, flags=re.MULTILINE)
        if valkey:
            return f"Valkey {valkey.group(1)}"
        return f"Redis {found.group(2)}" if found else ""

    def _ask(self, command: str) -> str:
        """The beginning of the answer; empty when there is none."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=ANSWER_WAIT_S) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(4096).decode(errors="replace")
        except OSError:
            return ""
