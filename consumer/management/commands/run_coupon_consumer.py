"""Run one consumer instance."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from consumer.batch import BatchProcessor
from consumer.database_thread import DatabaseThread, Running
from consumer.group import NotAMember
from consumer.health import actuator_of, served
from consumer.housekeeping import Housekeeper
from consumer.kafka import make_consumer
from consumer.loop import ConsumerLoop
from consumer.processor import Processor
from consumer.resuming import ResumedProcessor, Resuming
from consumer.shutdown import stop_on_signals
from coupons.eventlog.producer import close_event_producer, event_producer
from coupons.figures import flushing
from coupons.operations import connections, surroundings
from runtime.arguments import whole_number
from runtime.config.language import Language
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say, spoken


class Command(OperatorCommand):
    #: Django's load all pages and models; what this process needs is refused in ``handle``.
    requires_system_checks = []
    help = (
        "Read coupon-issue-events and issue coupons. Run any number of instances, each with its own "
        "--health-port. SIGTERM or Ctrl-C finishes the batch in hand, commits and leaves the group (with "
        "KAFKA_GROUP_INSTANCE_ID it keeps its place there for when it comes back)."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        consumer = settings.CONFIG.consumer
        parser.add_argument(
            "--health-port",
            type=whole_number(1, 65_535),
            default=consumer.health_port,
            help="port of /actuator/health and /actuator/prometheus (default %(default)s)",
        )
        parser.add_argument(
            "--batch-size",
            type=whole_number(1, 10_000),
            default=consumer.batch_size,
            help="events per poll and per transaction (default %(default)s)",
        )
        parser.add_argument(
            "--group-id",
            default=settings.CONFIG.kafka.group_id,
            help="consumer group, instead of COUPON_CONSUMER_GROUP_ID (%(default)s), which must be the same "
            "for the API, verify and reconcile: they ask that group how far it is. A second group beside the "
            "first reads everything again, which changes nothing but that its dead letters are published "
            "again; after `seed --reset` it would decide the old events anew",
        )

    def handle(self, *args: Any, health_port: int, batch_size: int, group_id: str, **options: Any) -> None:
        if not group_id:
            raise CommandError(say("--group-id must not be empty"))
        connections.refuse()
        surroundings.refuse()
        with spoken(Language.ENGLISH):  # what follows is read in the log, beside the log's own lines
            self._consume(health_port=health_port, batch_size=batch_size, group_id=group_id)

    def _consume(self, *, health_port: int, batch_size: int, group_id: str) -> None:
        # Before any part is made: housekeeping must look at the same group's positions as the loop.
        config = settings.CONFIG
        settings.CONFIG = replace(config, kafka=replace(config.kafka, group_id=group_id))
        housekeeper = Housekeeper()
        with (
            stop_on_signals() as stop,
            DatabaseThread() as database,
            _processors(run=database.run) as (processor, resumed),
        ):
            loop = ConsumerLoop(
                make_consumer=partial(make_consumer, group_id=group_id),
                processor=processor,
                batch_size=batch_size,
                stop=stop,
                on_partitions=housekeeper.partitions_came,
            )
            loop.between = Resuming(resumed, batch_size=batch_size, state=loop.state).step
            health = actuator_of(loop.state, housekeeper.health)
            host = settings.CONFIG.api.host
            with served(health, host=host, port=health_port), housekeeper.running(), flushing.running():
                self.stdout.write(f"consuming; health on http://{host}:{health_port}/actuator/health")
                try:
                    loop.run()
                except NotAMember as error:
                    raise CommandError(f"{error}") from error
        close_event_producer()
        self.stdout.write("stopped")


@contextmanager
def _processors(*, run: Running) -> Iterator[tuple[Processor, ResumedProcessor]]:
    """What decides the log's batches, and deferred events. Without tracing its library is not imported."""
    producer = event_producer()
    if not settings.CONFIG.tracing.is_on:
        yield BatchProcessor(producer=producer, run=run), BatchProcessor(producer=producer, run=run)
        return
    from consumer.tracing import tracing_processor

    with tracing_processor(settings.CONFIG.tracing, producer=producer, run=run) as processor:
        yield processor, processor
