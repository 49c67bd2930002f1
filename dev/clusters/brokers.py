"""Three brokers that are controllers as well: each event has three replicas, and two must acknowledge it.

Everything goes over TLS, and clients log in with SCRAM-SHA-512.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    PartitionMetadata,
    ResourceType,
)

from dev.clusters import urls
from dev.clusters.certificates import Certificates
from dev.clusters.kafka import SCRAM, Node
from dev.processes import LOOPBACK, ProcessFailed, free_port, wait_until
from dev.servers import SILENT

NUMBERS: Final = (1, 2, 3)
READY_S: Final = 120.0
#: Three of them run beside everything else.
_HEAP: Final = "-Xmx384m"
_SHOWN: Final = "listener.name.clients.ssl.keystore.location"
_PROPERTIES: Final = f"""\
process.roles=broker,controller
node.id={{number}}
controller.quorum.voters={{voters}}
listeners=CLIENTS://{LOOPBACK}:{{clients}},INTERNAL://{LOOPBACK}:{{internal}},CONTROLLER://{LOOPBACK}:{{controller}}
listener.security.protocol.map=CLIENTS:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
log.dirs=data
num.partitions=3
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
# A third of the heap else.
log.cleaner.dedupe.buffer.size=4194304
# As docs/operations.md recommends.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.election.backoff.max.ms=500
ssl.keystore.type=PEM
ssl.keystore.location=server-with-key.pem
ssl.truststore.type=PEM
ssl.truststore.location={{ca}}
listener.name.clients.ssl.keystore.type=PEM
{_SHOWN}=for-clients.pem
listener.name.clients.ssl.allow.dn.changes=true
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={SCRAM} required;
"""


class Brokers:
    """The cluster, by node number."""

    def __init__(self, folder: Path, *, libs: Path, certificates: Certificates) -> None:
        first = free_port(in_a_row=3 * len(NUMBERS))
        self.certificates = certificates
        self._shown = 0  #: how many certificates were shown in place of the first
        self.ports = {number: first + 3 * index for index, number in enumerate(NUMBERS)}
        voters = ",".join(f"{number}@{LOOPBACK}:{port + 2}" for number, port in self.ports.items())
        keys = certificates.server_with_key
        self.nodes = {
            number: Node(
                folder=folder / str(number),
                libs=libs,
                properties=_PROPERTIES.format(
                    number=number,
                    voters=voters,
                    clients=port,
                    internal=port + 1,
                    controller=port + 2,
                    ca=certificates.ca,
                ),
                files={"server-with-key.pem": keys, "for-clients.pem": keys},
                options=(_HEAP,),
            )
            for number, port in self.ports.items()
        }

    def environment(self) -> dict[str, str]:
        addresses = ",".join(f"{LOOPBACK}:{port}" for port in self.ports.values())
        settings = urls.of_kafka(addresses, self.certificates, "SCRAM-SHA-512")
        return settings | {"COUPON_TOPIC_REPLICATION_FACTOR": str(len(NUMBERS))}

    def start(self, *numbers: int, trusting: bool = False) -> None:
        """Start these, or those that do not run, and wait until they answer: us, who may trust anybody.

        Two that start beside one that runs would take both cores from whoever is being tested.
        """
        is_any_up = any(map(self.is_running, NUMBERS))
        for number in numbers or NUMBERS:
            if not self.is_running(number):
                self.nodes[number].start(gently=is_any_up)
        for number in numbers or NUMBERS:
            is_ready = partial(self._answers, number, trusting=trusting)
            self.nodes[number].server.wait_ready(is_ready, within_s=READY_S, every_s=0.5)
            self.nodes[number].hurry()

    def restart(self, number: int) -> None:
        """As an operator does: it hands over what it leads, stops and comes back."""
        self.nodes[number].server.stop(grace_s=60)
        self.start(number)

    def present(self, certificate: str) -> None:
        """The nodes show clients this certificate, with its key, from now on: new connections see it."""
        self._shown += 1
        name = f"for-clients-{self._shown}.pem"
        for node in self.nodes.values():
            (node.folder / name).write_text(certificate)
        changed = ConfigEntry(_SHOWN, name, incremental_operation=AlterConfigOpType.SET)
        admin = self.admin(**{"enable.ssl.certificate.verification": False})
        for number in self.ports:
            resource = ConfigResource(ResourceType.BROKER, str(number), incremental_configs=[changed])
            [done] = admin.incremental_alter_configs([resource], request_timeout=10).values()
            done.result(15)

    def kill(self, *numbers: int) -> None:
        """SIGKILL: these, or all."""
        for number in numbers or NUMBERS:
            self.nodes[number].kill()

    def is_running(self, number: int) -> bool:
        node = self.nodes[number]
        return hasattr(node, "server") and node.server.running

    def admin(self, **changes: bool) -> AdminClient:
        """An operator's client, of all of them. ``changes`` to its configuration."""
        return AdminClient(self._client(*self.ports) | changes, logger=SILENT)

    def leader_of(self, topic: str, partition: int) -> int:
        return int(self._partitions(topic)[partition].leader)

    def replicas(self, topic: str) -> dict[int, set[int]]:
        """The nodes that have a replica, by partition."""
        return {number: set(each.replicas) for number, each in self._partitions(topic).items()}

    def controller(self) -> int:
        """The node that is the active controller, as the nodes' own files say."""
        states = [
            json.loads((node.folder / "data/__cluster_metadata-0/quorum-state").read_text())
            for number, node in self.nodes.items()
            if self.is_running(number)
        ]
        return int(max(states, key=lambda state: state["leaderEpoch"])["leaderId"])

    def wait_in_sync(self, topic: str, *, within_s: float = 60) -> None:
        """Until each partition has all its replicas in sync again. Raises ProcessFailed."""

        def is_whole() -> bool:
            try:
                return all(set(each.isrs) == set(each.replicas) for each in self._partitions(topic).values())
            except KafkaException:
                return False

        if not wait_until(is_whole, within_s=within_s, every_s=0.2):
            raise ProcessFailed(f"the replicas of {topic} were not in sync again after {within_s:.0f} s")

    def in_sync(self, topic: str) -> set[int]:
        """The nodes that have each partition in sync."""
        return set.intersection(*(set(each.isrs) for each in self._partitions(topic).values()))

    def _partitions(self, topic: str) -> Mapping[int, PartitionMetadata]:
        return self.admin().list_topics(topic, timeout=10).topics[topic].partitions

    def _answers(self, number: int, *, trusting: bool) -> bool:
        """Whether this one does, and is part of the cluster."""
        changes = {"enable.ssl.certificate.verification": not trusting}
        try:
            told = AdminClient(self._client(number) | changes, logger=SILENT).list_topics(timeout=3)
        except KafkaException:
            return False
        return number in told.brokers

    def _client(self, *numbers: int) -> dict[str, str | int | float | bool]:
        settings = urls.of_kafka("", self.certificates, "SCRAM-SHA-512")
        return {
            "bootstrap.servers": ",".join(f"{LOOPBACK}:{self.ports[number]}" for number in numbers),
            "security.protocol": settings["KAFKA_SECURITY_PROTOCOL"],
            "sasl.mechanism": settings["KAFKA_SASL_MECHANISM"],
            "sasl.username": settings["KAFKA_SASL_USERNAME"],
            "sasl.password": settings["KAFKA_SASL_PASSWORD"],
            "ssl.ca.location": settings["KAFKA_SSL_CA"],
        }


@contextmanager
def running(folder: Path, *, libs: Path, certificates: Certificates) -> Iterator[Brokers]:
    """Three brokers that answer; killed at the end."""
    brokers = Brokers(folder, libs=libs, certificates=certificates)
    try:
        for node in brokers.nodes.values():
            node.format()
        brokers.start()
        yield brokers
    finally:
        brokers.kill()
