"""Apache Kafka with a listener for each way to log in. Nobody gets in without a password or a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from dev.processes import LOOPBACK, Process, free_port
from dev.servers import SILENT
from dev.services import programs
from dev.services.kafka import JAVA_OPTIONS
from tests.connections.certificates import Certificates

USER, PASSWORD = "shop", "of-the-shop"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_LOGINS = "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
_PROPERTIES = f"""\
process.roles=broker,controller
node.id=7
controller.quorum.voters=7@{LOOPBACK}:{{controller}}
listeners=LOGIN://{LOOPBACK}:{{login}},CERTIFICATE://{LOOPBACK}:{{certificate}},INTERNAL://{LOOPBACK}:{{internal}},\
CONTROLLER://{LOOPBACK}:{{controller}}
listener.security.protocol.map=LOGIN:SASL_SSL,CERTIFICATE:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
log.dirs=data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
ssl.keystore.type=PEM
ssl.keystore.location=server-with-key.pem
ssl.truststore.type=PEM
ssl.truststore.location={{ca}}
listener.name.certificate.ssl.client.auth=required
listener.name.login.{_LOGINS}
listener.name.login.plain.sasl.jaas.config={_PLAIN} required user_{USER}="{PASSWORD}";
listener.name.login.scram-sha-256.sasl.jaas.config={_SCRAM} required;
listener.name.login.scram-sha-512.sasl.jaas.config={_SCRAM} required;
listener.name.login.oauthbearer.sasl.jaas.config={_OAUTH} required unsecuredLoginStringClaim_sub="broker";
"""


@contextmanager
def kafka(folder: Path, *, libs: Path, certificates: Certificates) -> Iterator[Mapping[str, str]]:
    """The addresses by listener: ``login`` (SASL_SSL), ``certificate`` (SSL, with a client's certificate)."""
    folder.mkdir()
    first = free_port(in_a_row=4)
    ports = {"login": first, "certificate": first + 1, "internal": first + 2, "controller": first + 3}
    (folder / "server.properties").write_text(_PROPERTIES.format(ca=certificates.ca, **ports))
    (folder / "server-with-key.pem").write_text(certificates.server_with_key)
    java = [str(programs.require_java()), *JAVA_OPTIONS, "-cp", f"{libs}/*"]
    scram = [
        word
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for word in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
    ]
    words = ["kafka.tools.StorageTool", "format", "--cluster-id=AAAAAAAAAAAAAAAAAAAAAQ"]
    made = _process(folder, [*java, *words, "--config=server.properties", *scram])
    made.run(within_s=60, failing="Kafka's data folder could not be made")
    server = _process(folder, [*java, "kafka.Kafka", "server.properties"]).start()
    try:
        server.wait_ready(lambda: _answers(ports["internal"]), within_s=60)
        _grant(ports["internal"])
        yield {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}
    finally:
        server.kill()


def _grant(port: int) -> None:
    """The rights that docs/connections.md names, on the tests' topics and groups."""
    right = AclOperation
    on_topics = (right.DESCRIBE, right.READ, right.WRITE, right.CREATE, right.DESCRIBE_CONFIGS)
    granted = [(ResourceType.TOPIC, "events-", each) for each in on_topics]
    granted += [(ResourceType.GROUP, "group-", each) for each in (right.READ, right.DESCRIBE)]
    allow, prefix = AclPermissionType.ALLOW, ResourcePatternType.PREFIXED
    bindings = [
        AclBinding(kind, name, prefix, f"User:{USER}", "*", each, allow) for kind, name, each in granted
    ]
    admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"}, logger=SILENT)
    for made in admin.create_acls(bindings, request_timeout=10).values():
        made.result(10)


def _process(folder: Path, command: list[str]) -> Process:
    environment = programs.inherited_environment()
    return Process(name="kafka", command=command, log=folder / "log", env=environment, folder=folder)


def _answers(port: int) -> bool:
    try:
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"}, logger=SILENT)
        return bool(client.list_topics(timeout=3).brokers)
    except KafkaException:
        return False
