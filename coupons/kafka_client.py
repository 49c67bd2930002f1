"""What every Kafka client of ours has in common."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaError
from django.conf import settings

log = logging.getLogger("coupons.librdkafka")


def level_of(error: KafkaError) -> int:
    """How loud to log librdkafka's error: its own log tells each failed connection already."""
    is_connection = error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
    return logging.DEBUG if is_connection else logging.WARNING


def common() -> dict[str, Any]:
    """librdkafka configuration shared by producers, consumers and the admin client."""
    return {
        "bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers,
        "client.id": "coupon-system",
        "logger": log,
        # A broker that comes back is found within a second, not after librdkafka's ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "socket.connection.setup.timeout.ms": 5000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }


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
        "request.timeout.ms": min(producer.publish_timeout_ms, 5000),
        "delivery.report.only.error": False,
    }
