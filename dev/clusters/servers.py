"""The servers of the clusters' fault rows: some as clusters, the others alone, as in all other rows."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from dev.clusters import brokers, certificates, databases, redis_nodes, urls, watched_redis
from dev.clusters.brokers import Brokers
from dev.clusters.databases import Databases
from dev.clusters.parts import Part
from dev.clusters.redis_nodes import RedisNodes
from dev.clusters.watched_redis import WatchedRedis
from dev.servers import ServiceError
from dev.services.kafka import Kafka
from dev.services.own import Services
from dev.services.stack import Kind, Stack

#: The single servers that a part replaces.
_REPLACES: Final[Mapping[Part, str]] = {
    Part.BROKERS: "kafka",
    Part.SENTINEL: "redis",
    Part.REDIS_CLUSTER: "redis",
    Part.DATABASES: "db",
}


class ClusterServers(Services):
    """``parts`` as clusters over TLS, each new and empty; what they do not replace as single servers."""

    brokers: Brokers  #: with Part.BROKERS
    redis: WatchedRedis | RedisNodes  #: with Part.SENTINEL or Part.REDIS_CLUSTER
    databases: Databases  #: with Part.DATABASES

    def __init__(self, *, folder: Path, parts: Collection[Part]) -> None:
        alone = {"db", "redis", "kafka"} - {_REPLACES[part] for part in parts}
        super().__init__(folder=folder, servers=alone)
        self.parts = frozenset(parts)
        self._settings: dict[str, str] = {}  #: that lead to the clusters
        self._running = ExitStack()

    def start(self) -> None:
        super().start()
        folder = self.folder / "clusters"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.certificates = certificates.make(folder / "certificates")
        if Part.BROKERS in self.parts:
            self._start_brokers(folder / "kafka")
        if Part.SENTINEL in self.parts:
            self._start_redis(watched_redis.running(folder / "redis", self.certificates))
        if Part.REDIS_CLUSTER in self.parts:
            self._start_redis(redis_nodes.running(folder / "redis", self.certificates))
        if Part.DATABASES in self.parts:
            like = Stack(directory=self.folder, asked_ports={}, asked_kind=Kind(self.database_kind))
            made = databases.running(folder / "databases", like=like, certificates=self.certificates)
            self.databases = self._running.enter_context(made)

    def _start_redis(self, made: AbstractContextManager[WatchedRedis | RedisNodes]) -> None:
        self.redis = self._running.enter_context(made)
        self._settings |= self.redis.environment()

    def _start_brokers(self, folder: Path) -> None:
        kafka = Kafka(stack=Stack(directory=self.folder, asked_ports={}))
        kafka.fetch_once()
        made = brokers.running(folder, libs=kafka.libs, certificates=self.certificates)
        self.brokers = self._running.enter_context(made)
        self._settings |= self.brokers.environment()

    def start_again(self) -> None:
        super().start_again()
        if Part.BROKERS in self.parts:
            self.brokers.start()
        if self._has_redis:
            self.redis.mend()
        if Part.DATABASES in self.parts:
            self.databases.start_again()

    @property
    def _has_redis(self) -> bool:
        return bool(self.parts & {Part.SENTINEL, Part.REDIS_CLUSTER})

    def empty_redis(self) -> None:
        if self._has_redis:
            self.redis.flush()
        else:
            super().empty_redis()

    def make_database(self, name: str) -> None:
        if Part.DATABASES not in self.parts:
            super().make_database(name)
            return
        self.sql(f"CREATE DATABASE {name}")
        self._settings |= urls.of_database(self.databases.url(name), self.certificates)

    def sql(self, statement: str, *, on: str = "mariadb") -> str:
        if Part.DATABASES not in self.parts:
            return super().sql(statement, on=on)
        if not hasattr(self, "databases"):
            raise ServiceError("the databases were not started")
        return self.databases.first.client.run_as_root(statement)

    def stop(self) -> None:
        self._running.close()
        super().stop()

    def versions(self) -> dict[str, str]:
        told = super().versions()
        if Part.BROKERS in self.parts:
            told["kafka"] = f"three of {Kafka(stack=Stack(directory=self.folder, asked_ports={})).version()}"
        if Part.SENTINEL in self.parts:
            told["redis"] = f"{self.redis.version()} behind a Sentinel"
        if Part.REDIS_CLUSTER in self.parts:
            told["redis"] = f"{self.redis.version()} as a cluster of six"
        if Part.DATABASES in self.parts:
            told["mariadb"] = f"two of {self.databases.first.version()} behind haproxy"
        return told

    def environment(self, through: Mapping[str, int] | None = None) -> dict[str, str]:
        return super().environment(through) | self._settings
