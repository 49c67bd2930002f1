"""Apache Kafka as one node in KRaft mode: broker and controller in one process, no ZooKeeper."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import shutil
from pathlib import Path

from dev.processes import LOOPBACK, Process
from dev.servers import kafka_serves
from dev.services import programs
from dev.services.service import Service
from dev.services.stack import replace_text, variable

FORMAT_TIMEOUT_S = 120.0
FETCH_TIMEOUT_S = 900.0
LIBS = "kafka-libs"
POM = Path(__file__).with_name("pom.xml")

#: Relative paths only: the process's working folder is the stack's, whose name may hold anything.
PROPERTIES = """\
# Written at each start by dev.services; changes here are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
num.partitions=3
auto.create.topics.enable=false
# A consumer that joins an empty group gets its partitions at once.
group.initial.rebalance.delay.ms=0
# Tests that kill consumers may have them missed sooner than after 6 s.
group.min.session.timeout.ms=1000
# The same of members that speak KIP-848, whose session is the broker's: 45 s as shipped, and 5 s a heartbeat.
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=300
# After kill -9 the restarted broker must wait until its old self has timed out.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# One node: one replica of everything, and few partitions of the internal topics.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=6
"""

#: As Kafka's own start script has them from this variable. Unless it is set, the quick compiler alone: the
#: thorough one works for a minute, on the cores that tests want.
JAVA_PERFORMANCE_VARIABLE = "KAFKA_JVM_PERFORMANCE_OPTS"
_JAVA_PERFORMANCE_OPTIONS = "-XX:TieredStopAtLevel=1"
_JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
)


def java_options() -> list[str]:
    performance = os.environ.get(JAVA_PERFORMANCE_VARIABLE) or _JAVA_PERFORMANCE_OPTIONS
    return [*shlex.split(performance), *_JAVA_OPTIONS]


class Kafka(Service):
    name = "kafka"
    stop_wait_s = 30.0

    @property
    def folder(self) -> Path:
        return self.stack.directory / "kafka"

    @property
    def libs(self) -> Path:
        return self.stack.directory / LIBS

    @property
    def ports(self) -> dict[str, int]:
        return {**super().ports, f"{variable(self.name)} plus 1": self.port + 1}

    def prepare(self) -> Process:
        java = programs.require_java()
        self.fetch_once()
        self.folder.mkdir(exist_ok=True)
        text = PROPERTIES.format(host=LOOPBACK, port=self.port, controller_port=self.port + 1)
        replace_text(self.folder / "server.properties", text)
        self._format_once(java)
        return self._java(java, "kafka.Kafka", "server.properties")

    def _java(self, java: Path, *arguments: str) -> Process:
        classes = f"../{LIBS}/*"
        return self.process([str(java), *java_options(), "-cp", classes, *arguments], folder=self.folder)

    def _format_once(self, java: Path) -> None:
        """Make the data folder; a format that was interrupted is begun again."""
        done = self.folder / "formatted"
        if done.exists():
            return
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        cluster_id = secrets.token_urlsafe(16)  # Kafka's form: URL-safe base64 without padding
        words = ("format", f"--cluster-id={cluster_id}", "--config=server.properties")
        self._java(java, "kafka.tools.StorageTool", *words).run(
            within_s=FORMAT_TIMEOUT_S, failing="Kafka's data folder could not be made"
        )
        replace_text(done, f"{cluster_id}\n")

    def fetch_once(self) -> None:
        """Have the jars, along ``pom.xml``. An interrupted or outdated download is done again."""
        digest = hashlib.sha256(POM.read_bytes()).hexdigest()
        marker = self.libs / ".complete"  # written last
        if marker.exists() and marker.read_text().strip() == digest:
            return
        maven = programs.require(["mvn"], packages=["maven"])
        shutil.rmtree(self.libs, ignore_errors=True)
        self.libs.mkdir(parents=True)
        command = [
            str(maven), "--batch-mode", "--no-transfer-progress", "--file", str(POM),
            "dependency:copy-dependencies", f"-DoutputDirectory={self.libs}",
        ]  # fmt: skip
        log = self.stack.log_dir / f"{LIBS}.log"
        self.process(command, folder=self.stack.directory, log=log).run(
            within_s=FETCH_TIMEOUT_S,
            failing="Kafka's jars could not be fetched: see whether Maven reaches its repository",
        )
        replace_text(marker, f"{digest}\n")

    def answers(self) -> bool:
        return kafka_serves(self.port)

    def version(self) -> str:
        for jar in self.libs.glob("kafka_*.jar"):
            if found := re.fullmatch(r"kafka_[\d.]+-([\d.]+)\.jar", jar.name):
                return f"Apache Kafka {found.group(1)}"
        return ""
