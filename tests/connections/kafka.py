"""Apache Kafka with a listener for each way to log in. Nobody gets in without a password or a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from dev.clusters.certificates import Certificates
from dev.clusters.kafka import PASSWORD, SCRAM, USER, Node
from dev.processes import LOOPBACK, free_port
from dev.servers import SILENT, kafka_serves

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
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
listener.name.login.scram-sha-256.sasl.jaas.config={SCRAM} required;
listener.name.login.scram-sha-512.sasl.jaas.config={SCRAM} required;
listener.name.login.oauthbearer.sasl.jaas.config={_OAUTH} required unsecuredLoginStringClaim_sub="broker";
"""


@contextmanager
def kafka(folder: Path, *, libs: Path, certificates: Certificates) -> Iterator[Mapping[str, str]]:
    """The addresses by listener: ``login`` (SASL_SSL), ``certificate`` (SSL, with a client's certificate)."""
    first = free_port(in_a_row=4)
    ports = {"login": first, "certificate": first + 1, "internal": first + 2, "controller": first + 3}
    node = Node(
        folder=folder,
        libs=libs,
        properties=_PROPERTIES.format(ca=certificates.ca, **ports),
        files={"server-with-key.pem": certificates.server_with_key},
    )
    node.format()
    node.start()
    try:
        node.server.wait_ready(lambda: kafka_serves(ports["internal"]), within_s=60)
        _grant(ports["internal"])
        yield {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}
    finally:
        node.kill()


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
