"""The servers of the clusters' fault rows: some as clusters, the others alone, as in all other rows."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from dev.clusters import brokers, certificates
from dev.clusters.brokers import Brokers
from dev.clusters.parts import Part
from dev.services.kafka import Kafka
from dev.services.own import Services
from dev.services.stack import Stack

#: The single servers that a part replaces.
_REPLACES: Final[Mapping[Part, str]] = {Part.BROKERS: "kafka"}


class ClusterServers(Services):
    """``parts`` as clusters over TLS, each new and empty; what they do not replace as single servers."""

    brokers: Brokers  #: with Part.BROKERS

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

    def stop(self) -> None:
        self._running.close()
        super().stop()

    def versions(self) -> dict[str, str]:
        told = super().versions()
        if Part.BROKERS in self.parts:
            told["kafka"] = f"three of {Kafka(stack=Stack(directory=self.folder, asked_ports={})).version()}"
        return told

    def environment(self, through: Mapping[str, int] | None = None) -> dict[str, str]:
        return super().environment(through) | self._settings
