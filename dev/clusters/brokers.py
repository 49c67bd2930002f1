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
from confluent_kafka.admin import AdminClient, PartitionMetadata  # type: ignore[attr-defined]

from dev.clusters import urls
from dev.clusters.certificates import Certificates
from dev.clusters.kafka import SCRAM, Node
from dev.processes import LOOPBACK, ProcessFailed, free_port, wait_until
from dev.servers import SILENT

NUMBERS: Final = (1, 2, 3)
READY_S: Final = 120.0
#: Three of them run beside everything else.
_HEAP: Final = "-Xmx320m"
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
# As docs/operations.md recommends.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
ssl.keystore.type=PEM
ssl.keystore.location=server-with-key.pem
ssl.truststore.type=PEM
ssl.truststore.location={{ca}}
listener.name.clients.ssl.keystore.type=PEM
listener.name.clients.ssl.keystore.location=for-clients.pem
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={SCRAM} required;
"""


class Brokers:
    """The cluster, by node number."""

    def __init__(self, folder: Path, *, libs: Path, certificates: Certificates) -> None:
        first = free_port(in_a_row=3 * len(NUMBERS))
        self.certificates = certificates
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

    def start(self, *numbers: int) -> None:
        """Start these, or those that do not run, and wait for all that were started to answer."""
        for number in numbers or NUMBERS:
            if not self.is_running(number):
                self.nodes[number].start()
        for number in numbers or NUMBERS:
            self.nodes[number].server.wait_ready(partial(self._answers, number), within_s=READY_S)

    def kill(self, *numbers: int) -> None:
        """SIGKILL: these, or all."""
        for number in numbers or NUMBERS:
            self.nodes[number].kill()

    def is_running(self, number: int) -> bool:
        node = self.nodes[number]
        return hasattr(node, "server") and node.server.running

    def leader_of(self, topic: str, partition: int) -> int:
        return int(self._partitions(topic)[partition].leader)

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
                return all(len(each.isrs) == len(NUMBERS) for each in self._partitions(topic).values())
            except KafkaException:
                return False

        if not wait_until(is_whole, within_s=within_s, every_s=0.2):
            raise ProcessFailed(f"the replicas of {topic} were not in sync again after {within_s:.0f} s")

    def _partitions(self, topic: str) -> Mapping[int, PartitionMetadata]:
        admin = AdminClient(self._client(*self.ports), logger=SILENT)
        return admin.list_topics(topic, timeout=10).topics[topic].partitions

    def _answers(self, number: int) -> bool:
        """Whether this one does, and sees the others that run."""
        try:
            told = AdminClient(self._client(number), logger=SILENT).list_topics(timeout=3)
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
