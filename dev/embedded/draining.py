"""Before the consumer and the broker stop: wait until every accepted event is decided."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException

from dev.embedded.backlog import Backlog
from dev.embedded.process import ChildProcess
from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import StopRequest
from dev.embedded.stack import Server
from dev.embedded.terminal import say

DRAINED_WITHIN_S = 30.0
TELL_EVERY_S = 2.0


def drain(*, settings: EmbeddedSettings, broker: Server, consumer: ChildProcess, stop: StopRequest) -> bool:
    """Wait until the consumer has decided everything, and say how it went. True if nothing is left.

    Call it when the API has stopped. It ends early on a second Ctrl-C, and when the consumer is gone.
    """
    if not broker.process.running:
        say("  the broker has ended: what was accepted and not decided ended with its memory")
        return False
    say("  the consumer: deciding what has been accepted")
    try:
        left = _left_after_waiting(settings=settings, broker=broker, consumer=consumer, stop=stop)
    except KafkaException as error:
        say(f"  the broker does not answer, so some accepted requests may not be decided: {error.args[0]}")
        return False
    if left:
        say(f"  accepted requests that were not decided and end with the broker's memory: {left}")
    else:
        say("  every accepted request is decided")
    return left == 0


def _left_after_waiting(
    *, settings: EmbeddedSettings, broker: Server, consumer: ChildProcess, stop: StopRequest
) -> int:
    deadline = time.monotonic() + DRAINED_WITHIN_S
    with Backlog(
        bootstrap_servers=broker.address,
        topic=settings.topic,
        group_id=settings.group_id,
        database=settings.database,
    ) as backlog:
        ends = backlog.ends()
        left = backlog.left(ends=ends)
        told = time.monotonic()
        while left and consumer.running and time.monotonic() < deadline:
            if stop.at_once.wait(0.2):
                break
            left = backlog.left(ends=ends)
            if left and time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                say(f"  accepted requests left to decide: {left}")
    return left
