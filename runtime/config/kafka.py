"""How the brokers are reached: the settings as librdkafka's properties, the same for every client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from environs import Env
from marshmallow.validate import Length, OneOf, Range, Regexp

from runtime.config.kafka_properties import by_property, others
from runtime.config.reading import ConfigError, readable_file, secret, together
from runtime.wording import Wording


class Protocol(StrEnum):
    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        return self in (Protocol.SSL, Protocol.SASL_SSL)

    @property
    def has_login(self) -> bool:
        return self in (Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL)


class Mechanism(StrEnum):
    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class GroupProtocol(StrEnum):
    """How the consumers of the group agree on who has which partition (docs/decisions/groups.md)."""

    AUTO = "auto"  #: what the broker has and the group speaks (consumer/group.py)
    CONSUMER = "consumer"  #: KIP-848: the broker decides, changes alone are told
    COOPERATIVE = "cooperative"  #: cooperative-sticky: the consumers decide, changes alone are told
    EAGER = "eager"  #: range: all stop at each change, as before this release


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Shared by the API, the consumer and the commands.

    ``properties``: librdkafka's, of security and of KAFKA_CLIENT_CONFIG. They hold passwords.
    ``group_instance_id``: the consumer's name for static membership; "": it has none.
    """

    bootstrap_servers: str
    topic: str
    dead_letter_topic: str
    group_id: str
    partitions: int
    replication_factor: int
    protocol: Protocol = Protocol.PLAINTEXT
    mechanism: Mechanism | None = None
    group_protocol: GroupProtocol = GroupProtocol.AUTO
    group_instance_id: str = ""
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


_INSTANCE_ID: Final = Regexp(
    r"^[A-Za-z0-9._-]{0,249}$", error="an instance id has letters, digits, '.', '_' and '-', 249 at the most"
)


def load(env: Env) -> KafkaSettings:
    name = Regexp(r"^[A-Za-z0-9._-]{1,200}$", error="a topic's name has letters, digits, '.', '_' and '-'")
    topic = env.str("COUPON_TOPIC", "coupon-issue-events", validate=name)
    protocol = _protocol(env)
    mechanism = _mechanism(env, protocol)
    return KafkaSettings(
        bootstrap_servers=env.str("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092", validate=Length(min=3)),
        topic=topic,
        dead_letter_topic=env.str(
            "COUPON_DEAD_LETTER_TOPIC", f"{topic}.DLT", validate=Length(min=1, max=249)
        ),
        group_id=env.str("COUPON_CONSUMER_GROUP_ID", "coupon-issue-consumer-group", validate=Length(min=1)),
        partitions=env.int("COUPON_TOPIC_PARTITIONS", 3, validate=Range(min=1, max=10_000)),
        replication_factor=env.int("COUPON_TOPIC_REPLICATION_FACTOR", 1, validate=Range(min=1, max=32)),
        protocol=protocol,
        mechanism=mechanism,
        group_protocol=GroupProtocol(
            env.str("KAFKA_GROUP_PROTOCOL", "auto", validate=OneOf(list(GroupProtocol)))
        ),
        group_instance_id=env.str("KAFKA_GROUP_INSTANCE_ID", "", validate=_INSTANCE_ID),
        properties={
            "security.protocol": protocol.value,
            **_login(env, mechanism),
            **_certificates(env, protocol),
            **others(secret(env, "KAFKA_CLIENT_CONFIG")),
        },
    )


def _protocol(env: Env) -> Protocol:
    chosen = env.str("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", validate=OneOf(list(Protocol)))
    return Protocol(chosen)


def _mechanism(env: Env, protocol: Protocol) -> Mechanism | None:
    chosen = env.str("KAFKA_SASL_MECHANISM", "", validate=OneOf(["", *Mechanism]))
    if protocol.has_login and not chosen:
        raise ConfigError(
            "KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_MECHANISM: {mechanisms}",
            protocol=protocol,
            mechanisms=", ".join(Mechanism),
        )
    if chosen and not protocol.has_login:
        raise ConfigError(
            "KAFKA_SASL_MECHANISM is not used with KAFKA_SECURITY_PROTOCOL={protocol}: "
            "set that to SASL_SSL or SASL_PLAINTEXT, or leave the mechanism out",
            protocol=protocol,
        )
    return Mechanism(chosen) if chosen else None


def _login(env: Env, mechanism: Mechanism | None) -> dict[str, str]:
    user = {
        "KAFKA_SASL_USERNAME": env.str("KAFKA_SASL_USERNAME", ""),
        "KAFKA_SASL_PASSWORD": secret(env, "KAFKA_SASL_PASSWORD"),
    }
    oauth = {
        "KAFKA_SASL_OAUTH_TOKEN_URL": env.str("KAFKA_SASL_OAUTH_TOKEN_URL", ""),
        "KAFKA_SASL_OAUTH_CLIENT_ID": env.str("KAFKA_SASL_OAUTH_CLIENT_ID", ""),
        "KAFKA_SASL_OAUTH_CLIENT_SECRET": secret(env, "KAFKA_SASL_OAUTH_CLIENT_SECRET"),
    }
    scope = {"KAFKA_SASL_OAUTH_SCOPE": env.str("KAFKA_SASL_OAUTH_SCOPE", "")}
    if mechanism is None:
        _refuse_unused(user | oauth | scope, Wording("an empty KAFKA_SASL_MECHANISM"))
        return {}
    if mechanism is Mechanism.OAUTHBEARER:
        _refuse_unused(user, f"KAFKA_SASL_MECHANISM={mechanism}")
        _require(oauth, mechanism)
        if not oauth["KAFKA_SASL_OAUTH_TOKEN_URL"].startswith(("https://", "http://")):
            raise ConfigError("KAFKA_SASL_OAUTH_TOKEN_URL is no URL: it begins with https:// or http://")
        return {
            "sasl.mechanism": mechanism.value,
            "sasl.oauthbearer.method": "oidc",
            # librdkafka's wheel looks for another system's bundle, and trusts no token endpoint without it.
            "https.ca.location": ssl.get_default_verify_paths().cafile or "",
            **by_property(oauth | scope),
        }
    _refuse_unused(oauth | scope, f"KAFKA_SASL_MECHANISM={mechanism}")
    _require(user, mechanism)
    return {"sasl.mechanism": mechanism.value} | by_property(user)


def _require(values: Mapping[str, str], mechanism: Mechanism) -> None:
    if missing := [name for name, value in values.items() if not value]:
        raise ConfigError(
            "KAFKA_SASL_MECHANISM={mechanism} needs {missing}",
            mechanism=mechanism,
            missing=", ".join(missing),
        )


def _certificates(env: Env, protocol: Protocol) -> dict[str, str]:
    own = {name: readable_file(env, name) for name in ("KAFKA_SSL_CERTIFICATE", "KAFKA_SSL_KEY")}
    together(own)
    given = {
        "KAFKA_SSL_CA": readable_file(env, "KAFKA_SSL_CA"),
        **own,
        "KAFKA_SSL_KEY_PASSWORD": secret(env, "KAFKA_SSL_KEY_PASSWORD"),
    }
    if not protocol.is_encrypted:
        _refuse_unused(given, f"KAFKA_SECURITY_PROTOCOL={protocol}")
    return by_property(given)


def _refuse_unused(values: Mapping[str, str], setting: str | Wording) -> None:
    for name in (name for name, value in values.items() if value):
        raise ConfigError(
            "{name} is set, and is not used with {setting}: change one of them", name=name, setting=setting
        )
