"""The components of the API's health."""

from __future__ import annotations

from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.producer import event_producer
from coupons.operations.surroundings import watching
from runtime import actuator, replica
from runtime.actuator import Actuator, Check, Component


def broker() -> Component:
    """Whether the broker answers: the producer's watchdog knows, so that asking costs nothing."""
    producer = event_producer()
    details = kafka_client.details()
    dead = list(producer.dead_partitions)
    if producer.can_write:
        told = {"brokers": list(producer.brokers), **({"deadPartitions": dead} if dead else {})}
        return Component(is_up=True, details=told | details)
    is_silent = producer.is_down
    details["error"] = "the broker or the topic does not answer" if is_silent else "no partition takes events"
    if producer.refusal:
        details["cause"] = producer.refusal
    return Component(is_up=False, details=details)


def servers() -> dict[str, Check]:
    """The checks of the servers, for the API and for consumers alike."""
    checks = {
        "db": Check(watching.database),
        "redis": Check(actuator.redis),
        "kafka": Check(broker),
    }
    if settings.CONFIG.database.replica_url:
        checks["replica"] = Check(lambda: actuator.database(replica.ALIAS))
    return checks


api = Actuator(checks=servers(), required=frozenset({"db", "kafka"}))
