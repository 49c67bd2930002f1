"""Positions and the log are moved or taken away under the consumer: by tools, deletions, old databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from coupons.eventlog.events import partition_key, partition_of
from dev.faults import log
from dev.faults.case import Case, Scale
from dev.faults.scene import Scene
from dev.processes import READINESS, Process, wait_until
from dev.services.own import Services
from tests.system import ask

_WITHIN_S = 60.0


def _with_the_consumer_away(strike: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """The consumer is stopped in the middle, something is done while claims go on, and it starts again."""

    def act(scene: Scene) -> None:
        scene.rush.wait_accepted(scene.stock // 2)
        scene.consumer.stop()
        scene.struck()
        scene.rush.wait_accepted(scene.stock * 3 // 4)  # undecided ones
        strike(scene)
        scene.add_consumer()

    return act


def _offsets_to_the_end(scene: Scene) -> None:
    scene.expect(log.undecided() > 0, "nothing was undecided")
    log.move_offsets(to_end=True)


def _topic_made_anew(scene: Scene) -> None:
    """While the consumer is frozen; what was accepted before is decided, so nothing is lost for certain."""
    scene.api.stop()
    scene.expect(log.wait_decided(within_s=_WITHIN_S), "the old topic was not decided to its end")
    scene.struck()
    with scene.consumer.paused():
        log.make_anew()
        scene.api.start().wait_ready()
        # Its old position exists in the new topic too, unless too few come.
        scene.rush.wait_accepted(scene.stock * 3 // 4)
    _await_told(scene, "was deleted and made anew", lambda: scene.system.log_text("consumer"))


def _records_deleted(scene: Scene) -> None:
    """Accepted requests are gone for certain: the partition stands still until an operator accepts that."""
    scene.rush.wait_accepted(scene.stock // 2)
    scene.consumer.stop()
    scene.struck()
    at = log.positions()
    scene.services.do("pause", "redis")
    scene.rush.wait_accepted(len(scene.rush.accepted) + 5)  # without a reservation
    scene.services.do("resume", "redis")
    scene.rush.wait_accepted(scene.stock * 3 // 4)
    undecided = [(place, request) for place, request in log.entries() if place.offset >= at[place.partition]]
    partition = undecided[0][0].partition
    there = [(place, request) for place, request in undecided if place.partition == partition]
    gone = there[: max(1, len(there) // 2)]
    scene.gone_ids += [str(request.event.request_id) for _, request in gone if request is not None]
    log.delete_before(partition, gone[-1][0].following)
    consumer = scene.add_consumer()
    _await_told(scene, "were deleted before they were decided", lambda: _readiness(consumer))
    _accept_loss(scene, partition=partition, at=at[partition])


def _await_told(scene: Scene, words: str, told: Callable[[], str]) -> None:
    is_told = wait_until(lambda: words in told(), within_s=_WITHIN_S)
    scene.expect(is_told, f"the consumer did not say: {words}")


def _readiness(consumer: Process) -> str:
    """What it says while it is DOWN; "" while it is UP."""
    answer = ask(consumer.port, "GET", READINESS)
    return "" if answer.status == 200 else str(answer.body)


def _accept_loss(scene: Scene, *, partition: int, at: int) -> None:
    """Until then the partition stands still."""
    time.sleep(2)
    scene.expect(log.positions()[partition] == at, "deciding went on over events that were lost")
    done = scene.system.manage("log_position", "accept-loss", "--yes")
    scene.expect(done.returncode == 0, f"the loss was not accepted: {done.stderr}")


def _end_lost(scene: Scene) -> None:
    """A crash takes events that nobody had decided, and of the decided ones so many that the end shows it."""
    scene.rush.wait_accepted(scene.stock // 2)
    partition = partition_of(partition_key(scene.coupon_id), settings.CONFIG.kafka.partitions)
    with scene.consumer.paused():
        scene.rush.wait_accepted(scene.stock * 3 // 4)
        scene.struck()
        scene.services.do("kill", "kafka")
        log.cut_end(scene.services.folder / "kafka" / "data", partition=partition, kept=0.3)
    scene.services.do("start", "kafka")
    told = "the broker has lost its end"
    _await_told(scene, told, lambda: _readiness(scene.consumer))
    scene.expect(told in scene.system.log_text("consumer"), "the log does not tell of the lost end")
    stands_at = log.positions()[partition]
    accepted, all_told = scene.rush.accepted, scene.rush.told_ids
    scene.missing_ids |= all_told - {str(each.event.request_id) for _, each in log.entries() if each}
    decided = scene.decided_from_the_log()
    scene.gone_ids += [each for each in accepted if each in scene.missing_ids - decided]
    scene.expect(bool(scene.gone_ids), "everything that was lost had been decided")
    scene.expect(bool(scene.missing_ids & decided), "nothing that was lost had been decided")
    _accept_loss(scene, partition=partition, at=stands_at)


def _restored(scene: Scene) -> None:
    """From a dump of the middle, as an operator does it (docs/operations.md, 'Backup and restore')."""
    dump = scene.system.folder / "middle.sql"
    scene.services.dump(dump)
    scene.rush.wait_accepted(scene.stock * 3 // 4)
    scene.struck()
    forgotten = scene.decided()
    scene.consumer.stop()
    scene.services.restore(dump)
    forgotten -= scene.decided()
    scene.expect(forgotten > 0, "nothing was decided after the dump")
    scene.add_consumer()


@contextmanager
def _with_a_replica(services: Services) -> Iterator[None]:
    port = connection.settings_dict["PORT"]
    connection.close()
    services.start_replica()
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port
        services.stop_replica()


def _promoted(scene: Scene) -> None:
    """The replica is behind when it is promoted: what it does not have, nobody has any more."""
    scene.services.run("lag")
    scene.rush.wait_accepted(scene.stock * 3 // 4)
    scene.struck()
    forgotten = scene.decided()
    scene.services.run("promote")
    port = scene.services.replica_port
    for link in scene.links.values():
        link.lead_to(port)
    scene.database_is_at(port)
    forgotten -= scene.decided()
    scene.expect(forgotten > 0, "the replica was not behind")


def _twice_as_long(scale: Scale) -> float:
    """Kafka's administration may take seconds on a busy machine, and the fault must come amid the rush."""
    return 2 * scale.rush_s


CASES = [
    Case(
        name="database-restored",
        what="database restored from a dump taken in the middle",
        act=_restored,
        in_short=True,
    ),
    Case(
        name="database-replica-promoted",
        what="a lagging replica promoted",
        act=_promoted,
        links=("api-db", "consumer-db"),
        around=_with_a_replica,
    ),
    Case(
        name="log-offsets-reset",
        what="the group's offsets in Kafka set back to 0",
        act=_with_the_consumer_away(lambda _: log.move_offsets(to_end=False)),
        lasts_s=_twice_as_long,
    ),
    Case(
        name="log-offsets-to-end",
        what="the group's offsets in Kafka set to the end",
        act=_with_the_consumer_away(_offsets_to_the_end),
        lasts_s=_twice_as_long,
        in_short=True,
    ),
    Case(
        name="log-offsets-deleted",
        what="the group deleted in Kafka, with its offsets",
        act=_with_the_consumer_away(lambda _: log.delete_offsets()),
        lasts_s=_twice_as_long,
    ),
    Case(
        name="log-topic-made-anew",
        what="the topic deleted and made anew while the consumer is frozen",
        act=_topic_made_anew,
        lasts_s=_twice_as_long,
        may_note="no event in this log",  # those of the topic before
    ),
    Case(
        name="log-records-deleted",
        what="undecided events deleted, some accepted without Redis; an operator accepts the loss",
        act=_records_deleted,
        lasts_s=_twice_as_long,
        in_short=True,
    ),
    Case(
        name="log-end-lost",
        what="Kafka crashes and loses the end of its log; an operator accepts the loss",
        act=_end_lost,
        # What was decided and lost left ranks and stock behind, and no events.
        may_note="a coupon's stock was changed from outside",
        may_find="is the next winner after rank",
        in_short=True,
    ),
]
