"""The configuration that all our Kafka clients share, and the topic's id."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    BrokerMetadata,
    ClusterMetadata,
    ConfigResource,
    ResourceType,
)
from django.conf import settings

from runtime.operator_language import say

log = logging.getLogger("coupons.librdkafka")

_LOOK_S: Final = 0.5  #: a refusal is noticed so late at most
_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"  #: 16 zero bytes: the broker is older than topic ids
#: A client that had no answer for so long is made anew. Shorter, and an outage makes one after the
#: other; longer, and a consumer whose broker is back looks for its position for longer.
SILENT_S: Final = 15.0
_SILENCE: Final = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
_WITHOUT_IDS: Final = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)


def level_of(error: KafkaError) -> int:
    """The level of librdkafka's error: its own log lines show each failed connection already."""
    is_connection = error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
    return logging.DEBUG if is_connection else logging.WARNING


def details() -> dict[str, Any]:
    """How the brokers are reached, for health."""
    protocol = settings.CONFIG.kafka.protocol
    return {"protocol": protocol.value, "encrypted": protocol.is_encrypted}


class BrokersSilent(RuntimeError):
    """No broker answered, or none lets us in; the message says why."""


def brokers(*, timeout_s: float) -> list[int]:
    """The brokers' ids, asked by a client of its own. Raises BrokersSilent. Blocks its thread."""
    refusals: list[str] = []
    client = AdminClient(common() | {"error_cb": lambda error: refusals.append(refusal_in(error))})
    until = time.monotonic() + timeout_s
    while True:
        try:
            return sorted(client.list_topics(timeout=_LOOK_S).brokers)
        except KafkaException as error:
            client.poll(0)  # calls error_cb
            if any(refusals) or time.monotonic() > until:
                raise BrokersSilent(next(filter(None, refusals), error.args[0].str())) from error


def refusal_in(error: KafkaError) -> str:
    """Why the broker does not let us in; empty if the error is another. Without the broker's address."""
    text = str(error.str())
    if error.code() not in (KafkaError._AUTHENTICATION, KafkaError._SSL) and "SSL routines" not in text:
        return ""
    place, _, reason = text.partition(": ")
    return reason if "://" in place else text


def unusable() -> str:
    """What librdkafka finds wrong with our settings; empty if it takes them. Never before a fork."""
    silent = {"log_level": 0}  # whether the brokers answer is not the question
    try:
        Producer(producer_config() | silent)
        Consumer(common() | silent | {"group.id": settings.CONFIG.kafka.group_id}).close()
    except KafkaException as error:
        told = error.args[0].str().strip()
        return say("Kafka's client refuses KAFKA_CLIENT_CONFIG or a certificate: {told}", told=told)
    return ""


def common() -> dict[str, Any]:
    """librdkafka configuration shared by producers, consumers and the admin client.

    It holds passwords. KAFKA_CLIENT_CONFIG cannot change what runtime/config/kafka_properties.py names.
    """
    kafka = settings.CONFIG.kafka
    return {
        "client.id": "coupon-system",
        # A broker that comes back is found within a second, not after the ten of librdkafka's default.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "socket.connection.setup.timeout.ms": 5000,
        "topic.metadata.refresh.interval.ms": 30_000,
        **kafka.properties,
        "bootstrap.servers": kafka.bootstrap_servers,
        "logger": log,
    }


def topic_id(*, timeout_s: float) -> str:
    """Kafka's own id of the event topic; "" where the broker has none. Raises KafkaException.

    A topic that was deleted and made anew under its name has another id. Blocks its thread for up to
    ``timeout_s`` and a second, and after a silence for one second more.
    """
    topic = settings.CONFIG.kafka.topic
    try:
        with _asking() as client:
            asked = client.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
            found = str(asked.result(timeout_s + 1).topic_id)
    except KafkaException as error:
        if error.args[0].code() in _WITHOUT_IDS:
            return ""
        raise
    return "" if found == _NO_ID else found


def is_compacted(*, timeout_s: float) -> bool:
    """Whether Kafka compacts the event topic: it keeps one event per coupon, and deletes undecided ones.

    False if the broker does not report the policy. Raises KafkaException. Blocks its thread as ``topic_id``
    does.
    """
    resource = ConfigResource(ResourceType.TOPIC, settings.CONFIG.kafka.topic)
    try:
        with _asking() as client:
            [asked] = client.describe_configs([resource], request_timeout=timeout_s).values()
            found = asked.result(timeout_s + 1).get("cleanup.policy")
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE):
            return False
        raise
    return found is not None and "compact" in str(found.value)


def answers(broker: BrokerMetadata, *, timeout_s: float) -> bool:
    """Whether this broker does, asked by a client that was made for it. Blocks its thread.

    The client stays for as long as it is answered by this very broker: a new connection costs a broker that
    just starts a TLS handshake and a login. It has heard of the others, and turns to them where its own is
    gone: then a new one, which knows no other, decides.
    """
    until = time.monotonic() + timeout_s
    host = f"[{broker.host}]" if ":" in str(broker.host) else broker.host
    address = f"{host}:{broker.port}"
    kept = clients_of_brokers.pop(address, None)  # no other thread asks it meanwhile
    told = None if kept is None else _told(kept, timeout_s=timeout_s / 2)
    if kept is not None and told is not None and told.orig_broker_id == broker.id:
        clients_of_brokers[address] = kept
        return True
    client = Producer(common() | {"bootstrap.servers": address})
    told = _told(client, timeout_s=max(0.1, until - time.monotonic()))
    if told is None or broker.id not in told.brokers:
        return False
    clients_of_brokers[address] = client
    return True


clients_of_brokers: Final[dict[str, Producer]] = {}


def _told(client: Producer, *, timeout_s: float) -> ClusterMetadata | None:
    client.poll(0)  # its log lines
    try:
        told: ClusterMetadata = client.list_topics(settings.CONFIG.kafka.topic, timeout=timeout_s)
    except KafkaException:
        return None
    return told


C = TypeVar("C")


class _Kept(Generic[C]):
    """A client of this process for any thread, made when it is first asked for. Never before a fork.

    It is made anew once nobody answered it for SILENT_S: it may have forgotten all brokers (librdkafka's
    issue 5301), or wait for a controller of before for minutes although the broker is back.
    """

    def __init__(self, what: str, make: Callable[[], C]) -> None:
        self._what, self._make = what, make
        self._made: tuple[str, C] | None = None  #: with the servers that it was made for
        self._silent_since = 0.0  #: by the monotonic clock; 0: it was answered last time

    @property
    def is_silent(self) -> bool:
        return bool(self._silent_since)

    def client(self) -> C:
        if self._silent_since and time.monotonic() - self._silent_since >= SILENT_S:
            log.warning("no broker answered for %.0f s: the %s is made anew", SILENT_S, self._what)
            self.forget()
        servers = settings.CONFIG.kafka.bootstrap_servers
        if self._made is None or self._made[0] != servers:
            self._made = servers, self._make()
        return self._made[1]

    def note(self, *, is_answered: bool) -> None:
        self._silent_since = 0.0 if is_answered else self._silent_since or time.monotonic()

    def forget(self) -> None:
        """The next question makes a new client. Whoever uses the old one may end with it."""
        self._silent_since, self._made = 0.0, None


#: They have connections and threads of their own.
_admin: Final = _Kept("admin client", lambda: AdminClient(common()))
#: For offsets alone: it joins no group and reads nothing.
_reader: Final = _Kept(
    "reader of offsets",
    lambda: Consumer(common() | {"group.id": settings.CONFIG.kafka.group_id, "enable.auto.commit": False}),
)


def admin() -> AdminClient:
    """The process's only admin client, for any thread. Never before a fork."""
    return _admin.client()


def forget_admin() -> None:
    """The next question makes a new client. From any thread; whoever uses the old one may end with it."""
    _admin.forget()


def ends(*, timeout_s: float) -> dict[int, int]:
    """The offset behind the last event, by partition. Raises KafkaException. Blocks its thread for so long.

    A question for each partition, by a client that stays: cheap enough for once a second. Not an admin
    client's ListOffsets: librdkafka 2.16 would connect to a dead leader without a pause meanwhile, a core for
    each.
    """
    topic, until = settings.CONFIG.kafka.topic, time.monotonic() + timeout_s
    client = _reader.client()
    client.poll(0)  # its log lines
    found: dict[int, int] = {}
    try:
        for number in sorted(client.list_topics(topic, timeout=timeout_s).topics[topic].partitions):
            left_s = max(0.05, until - time.monotonic())
            found[number] = client.get_watermark_offsets(TopicPartition(topic, number), timeout=left_s)[1]
    except KafkaException as error:
        _reader.note(is_answered=error.args[0].code() not in _SILENCE)
        raise
    _reader.note(is_answered=True)
    return found


@contextmanager
def _asking() -> Iterator[AdminClient]:
    """The process's admin client, whose silence counts. Raises KafkaException, also for no answer.

    While it waits for a dead controller, librdkafka 2.16 connects to it without a pause, which takes a core.
    So after a silence a controller that does not answer is not waited for, but for once in SILENT_S: by the
    new client, which asks whatever our look at the controller said.
    """
    client, is_answered = _admin.client(), True
    try:
        if _admin.is_silent and not _controller_answers(client):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        yield client
    except FutureTimeout as error:
        is_answered = False
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
    except KafkaException as error:
        is_answered = error.args[0].code() not in _SILENCE
        raise
    finally:
        _admin.note(is_answered=is_answered)


def _controller_answers(client: AdminClient) -> bool:
    told = client.list_topics(settings.CONFIG.kafka.topic, timeout=_LOOK_S)
    controller = told.brokers.get(told.controller_id)
    return controller is None or answers(controller, timeout_s=_LOOK_S)


def producer_config() -> dict[str, Any]:
    """An acknowledged, idempotent producer whose partitions agree with Java's."""
    producer = settings.CONFIG.producer
    return common() | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": producer.linger_ms,
        "batch.size": producer.batch_bytes,
        "queue.buffering.max.kbytes": producer.buffer_kbytes,
        "message.timeout.ms": producer.publish_timeout_ms,
        # A leader that hangs is left after this time. Shorter (3 s were tried), and at a broker's death the
        # living are left too, because they answer when the dead replica is out of sync (the broker's session
        # timeout, 3 s); claims then waited for 11 s in place of 5. Longer, and claims are given up before.
        "request.timeout.ms": min(producer.publish_timeout_ms, 5000),
        "delivery.report.only.error": False,
    }
