"""The components of the API's health."""

from __future__ import annotations

from coupons.eventlog.producer import event_producer
from coupons.operations.surroundings import watching
from runtime import actuator
from runtime.actuator import Actuator, Check, Component


def broker() -> Component:
    """Whether the broker answers: the producer's watchdog knows, so that asking costs nothing."""
    if event_producer().is_down:
        return Component(is_up=False, details={"error": "the broker or the topic does not answer"})
    return Component(is_up=True)


api = Actuator(
    checks={
        "db": Check(watching.database),
        "redis": Check(actuator.redis),
        "kafka": Check(broker),
    },
    required=frozenset({"db", "kafka"}),
)
