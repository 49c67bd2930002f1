"""Apache Kafka as three brokers without TLS: what one broker cannot show of replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev.processes import LOOPBACK, Process, free_port
from dev.servers import SILENT
from dev.services import programs
from dev.services.kafka import JAVA_OPTIONS

BROKERS = 3
_SMALL = ("-Xmx192m", *(option for option in JAVA_OPTIONS if not option.startswith("-Xmx")))
_PROPERTIES = """\
process.roles={roles}
node.id={number}
controller.quorum.voters=1@{host}:{controller}
listeners={listeners}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
"""


@contextmanager
def three_brokers(folder: Path, *, libs: Path) -> Iterator[str]:
    """The brokers' addresses, separated by commas. The first one is the controller too."""
    folder.mkdir()
    first = free_port(in_a_row=BROKERS + 1)
    ports, controller = [first + number for number in range(BROKERS)], first + BROKERS
    with ExitStack() as running:
        for number, port in enumerate(ports, start=1):
            broker = _broker(folder / str(number), number, port=port, controller=controller, libs=libs)
            running.callback(broker.kill)
            broker.start()
        for port in ports:
            broker.wait_ready(lambda port=port: _are_all_there(port), within_s=90)  # type: ignore[misc]
        yield ",".join(f"{LOOPBACK}:{port}" for port in ports)


def _broker(folder: Path, number: int, *, port: int, controller: int, libs: Path) -> Process:
    """Its data folder is made, and it is not started."""
    folder.mkdir()
    is_controller = number == 1
    listeners = [f"PLAINTEXT://{LOOPBACK}:{port}"]
    listeners += [f"CONTROLLER://{LOOPBACK}:{controller}"] if is_controller else []
    text = _PROPERTIES.format(
        roles="broker,controller" if is_controller else "broker",
        number=number,
        host=LOOPBACK,
        controller=controller,
        port=port,
        listeners=",".join(listeners),
    )
    (folder / "server.properties").write_text(text)
    java = [str(programs.require_java()), *_SMALL, "-cp", f"{libs}/*"]
    words = ["kafka.tools.StorageTool", "format", "--cluster-id=AAAAAAAAAAAAAAAAAAAAAg"]
    made = _process(folder, [*java, *words, "--config=server.properties"])
    made.run(within_s=60, failing="Kafka's data folder could not be made")
    return _process(folder, [*java, "kafka.Kafka", "server.properties"])


def _process(folder: Path, command: list[str]) -> Process:
    environment = programs.inherited_environment()
    return Process(name="kafka", command=command, log=folder / "log", env=environment, folder=folder)


def _are_all_there(port: int) -> bool:
    try:
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"}, logger=SILENT)
        return len(client.list_topics(timeout=3).brokers) == BROKERS
    except KafkaException:
        return False
