"""A Redis Cluster of three masters with a replica each: slots move, masters die."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from dev.clusters import urls
from dev.clusters.certificates import Certificates
from dev.clusters.redis import ADMIN, Server, cluster, follows
from dev.processes import LOOPBACK
from tests.system import eventually

_WITHIN_S = 60.0
_MOVE_WITHIN_MS = 5000


class RedisNodes:
    def __init__(self, nodes: Sequence[Server]) -> None:
        self._nodes = nodes

    def environment(self) -> dict[str, str]:
        return urls.of_cluster(self._nodes)

    def masters(self) -> list[Server]:
        return [node for node in self._nodes if _role(node) == "master"]

    def version(self) -> str:
        told: Any = self._nodes[0].client().info("server")
        return f"Redis {told['redis_version']}"

    def flush(self) -> None:
        for node in self.masters():
            node.client().flushall()

    def owner(self, key: str) -> Server:
        """The master that has this key's slot, as that master itself says."""
        slot = key_slot(key.encode())
        for node in self.masters():
            for first, last, (_, port, *_), *_ in node.client().execute_command("CLUSTER SLOTS", raw=True):
                if first <= slot <= last and int(port) == node.port:
                    return node
        raise LookupError(f"nobody has the slot of {key}")

    def move(self, key: str, *, at_each_step: Callable[[], None]) -> None:
        """Move the slot of this key to another master, as redis-cli does it.

        Three steps are shown: with the slot's keys here, with some of them there, and with all of them there.
        """
        slot, source = key_slot(key.encode()), self.owner(key)
        target = next(node for node in self.masters() if node is not source)
        ids = {node.port: node.client().execute_command("CLUSTER MYID").decode() for node in self.masters()}
        target.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.port])
        source.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target.port])
        keys = source.client().execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
        for part in (keys[::2], keys[1::2]):
            at_each_step()
            _migrate(source, target, part)
        at_each_step()
        while keys := source.client().execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
            _migrate(source, target, keys)
        for node in (target, source, *self.masters()):
            node.client().execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target.port])

    def kill(self, node: Server) -> None:
        node.process.signal(signal.SIGKILL)
        node.process.wait(within_s=10)

    def wait_promoted(self, key: str, *, besides: Server) -> None:
        """A replica has the place of the one that died, and all know it."""
        others = [node for node in self._nodes if node is not besides]

        def is_promoted() -> bool:
            try:
                return self.owner(key) is not besides and all(map(_is_ok, others))
            except LookupError:
                return False

        eventually(is_promoted, within_s=_WITHIN_S)

    def mend(self) -> None:
        """All six run, three of them following."""
        for node in self._nodes:
            if not node.process.running:
                node.process.start()
        eventually(self._is_whole, within_s=_WITHIN_S)

    def _is_whole(self) -> bool:
        try:
            masters = self.masters()
            return (
                len(masters) == 3
                and all(map(_is_ok, self._nodes))
                and all(follows(node) for node in self._nodes if node not in masters)
            )
        except redis.RedisError:
            return False


def _role(node: Server) -> str:
    if not node.process.running:
        return "gone"
    told: Any = node.client().info("replication")
    return str(told["role"])


def _is_ok(node: Server) -> bool:
    try:
        told: Any = node.client().execute_command("CLUSTER INFO")
    except redis.RedisError:
        return False
    return bool(told["cluster_state"] == "ok")


def _migrate(source: Server, target: Server, keys: Sequence[bytes]) -> None:
    if keys:
        words = ["MIGRATE", LOOPBACK, target.port, "", 0, _MOVE_WITHIN_MS, "AUTH", ADMIN, "KEYS", *keys]
        source.client().execute_command(*words)


@contextmanager
def running(folder: Path, certificates: Certificates) -> Iterator[RedisNodes]:
    with cluster(folder, certificates, with_replicas=True) as nodes:
        yield RedisNodes(nodes)
