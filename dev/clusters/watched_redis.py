"""A master and its replica that a Sentinel watches: either may die, and the other one takes its place."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from dev.clusters import urls
from dev.clusters.certificates import Certificates
from dev.clusters.redis import ADMIN, SERVICE, Server, follows, replicated
from dev.processes import LOOPBACK
from tests.system import eventually

_WITHIN_S = 30.0


class WatchedRedis:
    def __init__(self, servers: tuple[Server, Server], *, port: int, certificates: Certificates) -> None:
        self._servers = servers
        self._port = port
        self._certificates = certificates
        self._sentinel = redis.Redis(
            port=port, ssl=True, ssl_ca_certs=str(certificates.ca), socket_timeout=5, decode_responses=True
        )

    def environment(self) -> dict[str, str]:
        return urls.of_sentinel(self._port, self._certificates)

    @property
    def master(self) -> Server:
        """Whom the Sentinel names."""
        told: Any = self._sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return next(each for each in self._servers if each.port == int(told[1]))

    @property
    def replica(self) -> Server:
        return self.besides(self.master)

    def besides(self, server: Server) -> Server:
        return next(each for each in self._servers if each is not server)

    def version(self) -> str:
        told: Any = self.master.client().info("server")
        return f"Redis {told['redis_version']}"

    def flush(self) -> None:
        self.master.client().flushall()

    def leave_behind(self) -> None:
        """The replica hears no more of its master. Five seconds later the Sentinel would not promote it."""
        self.replica.client().config_set("masterauth", "of-nobody")
        self.master.client().execute_command("CLIENT KILL TYPE replica")

    def kill_master(self) -> Server:
        master = self.master
        master.process.signal(signal.SIGKILL)
        master.process.wait(within_s=10)
        return master

    def wait_promoted(self, *, besides: Server) -> None:
        other = self.besides(besides)

        def is_master() -> bool:
            told: Any = other.client().info("replication")
            return self.master is other and told["role"] == "master"

        eventually(is_master, within_s=_WITHIN_S)
        other.client().config_set("masterauth", ADMIN)

    def switch(self) -> None:
        """As an operator does it: the old master lives on as a replica, with the connections that it has."""
        old = self.master
        self._sentinel.execute_command("SENTINEL FAILOVER", SERVICE)
        self.wait_promoted(besides=old)

    def mend(self) -> None:
        """Both run, and one follows the other: the servers as they were, but for their roles."""
        master = self.master
        other = self.besides(master)
        if not other.process.running:
            with suppress(ValueError):
                place = other.process.command.index("--replicaof")
                del other.process.command[place : place + 2]
            other.process.command += ["--replicaof", f"{LOOPBACK} {master.port}"]
            other.process.start()
        eventually(lambda: follows(other), within_s=_WITHIN_S)
        eventually(self._is_whole, within_s=_WITHIN_S)

    def _is_whole(self) -> bool:
        told: Any = self._sentinel.sentinel_slaves(SERVICE)
        return len(told) == 1 and not told[0]["is_sdown"] and told[0]["master-link-status"] == "ok"


@contextmanager
def running(folder: Path, certificates: Certificates) -> Iterator[WatchedRedis]:
    with replicated(folder, certificates) as (master, replica, port):
        yield WatchedRedis((master, replica), port=port, certificates=certificates)
