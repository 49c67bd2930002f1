"""librdkafka's properties: those with settings of ours, fixed ones, and KAFKA_CLIENT_CONFIG for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.config.reading import ConfigError

#: Properties with settings of their own, and these. Of several names for one, the first is used.
_SETTINGS: Final[Mapping[str, str]] = {
    "bootstrap.servers": "KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "KAFKA_BOOTSTRAP_SERVERS",
    "security.protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanism": "KAFKA_SASL_MECHANISM",
    "sasl.mechanisms": "KAFKA_SASL_MECHANISM",
    "sasl.username": "KAFKA_SASL_USERNAME",
    "sasl.password": "KAFKA_SASL_PASSWORD",
    "sasl.oauthbearer.token.endpoint.url": "KAFKA_SASL_OAUTH_TOKEN_URL",
    "sasl.oauthbearer.client.id": "KAFKA_SASL_OAUTH_CLIENT_ID",
    "sasl.oauthbearer.client.secret": "KAFKA_SASL_OAUTH_CLIENT_SECRET",
    "sasl.oauthbearer.scope": "KAFKA_SASL_OAUTH_SCOPE",
    "ssl.ca.location": "KAFKA_SSL_CA",
    "ssl.certificate.location": "KAFKA_SSL_CERTIFICATE",
    "ssl.key.location": "KAFKA_SSL_KEY",
    "ssl.key.password": "KAFKA_SSL_KEY_PASSWORD",
    "group.id": "COUPON_CONSUMER_GROUP_ID",
    "group.protocol": "KAFKA_GROUP_PROTOCOL",
    "group.remote.assignor": "KAFKA_GROUP_PROTOCOL",
    "partition.assignment.strategy": "KAFKA_GROUP_PROTOCOL",
    "group.instance.id": "KAFKA_GROUP_INSTANCE_ID",
    "linger.ms": "COUPON_PRODUCER_LINGER_MS",
    "queue.buffering.max.ms": "COUPON_PRODUCER_LINGER_MS",
    "batch.size": "COUPON_PRODUCER_BATCH_BYTES",
    "queue.buffering.max.kbytes": "COUPON_PRODUCER_BUFFER_KBYTES",
    "message.timeout.ms": "COUPON_PUBLISH_TIMEOUT_MS",
    "delivery.timeout.ms": "COUPON_PUBLISH_TIMEOUT_MS",
    "request.timeout.ms": "COUPON_PUBLISH_TIMEOUT_MS",
    "session.timeout.ms": "COUPON_CONSUMER_SESSION_TIMEOUT_MS",
    "heartbeat.interval.ms": "COUPON_CONSUMER_SESSION_TIMEOUT_MS",
    "max.poll.interval.ms": "COUPON_CONSUMER_MAX_POLL_INTERVAL_MS",
    "fetch.min.bytes": "COUPON_CONSUMER_FETCH_MIN_BYTES",
    "fetch.wait.max.ms": "COUPON_CONSUMER_FETCH_WAIT_MS",
    "fetch.message.max.bytes": "COUPON_CONSUMER_FETCH_MAX_BYTES",
    "max.partition.fetch.bytes": "COUPON_CONSUMER_FETCH_MAX_BYTES",
}
#: Properties on which a promise or a bounded wait rests, and the topic-level and older names of the same.
_PROMISED: Final = frozenset(
    {
        # a 202 means that the event is stored, once, in the order of its partition, and in the right one
        "acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee", "transactional.id",
        "max.in.flight", "max.in.flight.requests.per.connection", "retries", "message.send.max.retries",
        "partitioner", "delivery.report.only.error", "enabled_events",
        # no event is skipped or decided before it is there
        "enable.auto.commit", "auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store",
        "offset.store.method", "offset.store.path", "auto.offset.reset", "enable.partition.eof",
        "isolation.level", "check.crcs",
        # waits and memory are bounded, and the broker is a real one
        "socket.timeout.ms", "queued.min.messages", "queued.max.messages.kbytes", "fetch.queue.backoff.ms",
        "test.mock.num.brokers",
    }
)  # fmt: skip


#: What the Python client wants an object for. A text there is an error of Python's, or is passed over.
_OBJECTS: Final = frozenset(
    {"logger", "default.topic.config", "error_cb", "stats_cb", "throttle_cb", "oauth_cb", "on_delivery"}
)
_OF_TOPIC: Final = "topic."  #: librdkafka takes a topic's properties with this before their names, too


def by_property(values: Mapping[str, str]) -> dict[str, str]:
    """The variables' values under librdkafka's names, without empty ones."""
    properties = {variable: name for name, variable in reversed([*_SETTINGS.items()])}
    return {properties[variable]: value for variable, value in values.items() if value}


def others(text: str) -> dict[str, str]:
    """KAFKA_CLIENT_CONFIG: ``name=value``, one on a line; a line that begins with # is a comment."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or not equals:
            # The line is not repeated, because it may hold a password.
            raise ConfigError("KAFKA_CLIENT_CONFIG has a line that is not name=value")
        _refuse_ours(name.removeprefix(_OF_TOPIC))
        found[name] = value
    return found


def _refuse_ours(name: str) -> None:
    if name in _SETTINGS:
        raise ConfigError(
            "KAFKA_CLIENT_CONFIG names {name}: set {setting} instead", name=name, setting=_SETTINGS[name]
        )
    if name in _OBJECTS:
        raise ConfigError("KAFKA_CLIENT_CONFIG names {name}, which no text can be: leave it out", name=name)
    if name in _PROMISED:
        raise ConfigError(
            "KAFKA_CLIENT_CONFIG names {name}, and what the system promises rests on our value: leave it out",
            name=name,
        )
