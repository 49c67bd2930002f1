"""Redis, or Valkey where that is installed: a cache here, so it keeps nothing on disk."""

from __future__ import annotations

import re

from dev.processes import Process
from dev.servers import redis_options, redis_serves, redis_told
from dev.services import programs
from dev.services.service import Service

PROGRAMS = ["redis-server", "valkey-server"]


class Redis(Service):
    name = "redis"
    stop_wait_s = 10.0

    def prepare(self) -> Process:
        program = programs.require(PROGRAMS, packages=PROGRAMS)
        folder = self.stack.directory / "redis"
        folder.mkdir(exist_ok=True)
        return self.process([str(program), *redis_options(self.port), "--dir", "./"], folder=folder)

    def answers(self) -> bool:
        return redis_serves(self.port)

    def version(self) -> str:
        told = redis_told(self.port, "INFO", "server")
        versions = dict(re.findall(r"^(valkey|redis)_version:(\S+)", told, flags=re.MULTILINE))
        name = "valkey" if "valkey" in versions else "redis"  # Valkey tells both
        return f"{name.capitalize()} {versions[name]}" if versions else ""
