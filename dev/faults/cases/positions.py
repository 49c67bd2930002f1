"""Positions and the log are moved or taken away under the consumer: by tools, deletions, old databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from dev.faults import log
from dev.faults.case import Case
from dev.faults.scene import Scene
from dev.processes import READINESS, wait_until
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


def _offsets_to_the_beginning(scene: Scene) -> None:
    log.move_offsets(to_end=False)


def _offsets_to_the_end(scene: Scene) -> None:
    scene.expect(log.undecided() > 0, "nothing was undecided")
    log.move_offsets(to_end=True)


def _offsets_deleted(scene: Scene) -> None:
    log.delete_offsets()


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
    told = "was deleted and made anew"
    is_told = wait_until(lambda: told in scene.system.log_text("consumer"), within_s=_WITHIN_S)
    scene.expect(is_told, "the consumer did not say that its topic was made anew")


def _records_deleted(scene: Scene) -> None:
    """Accepted requests are gone for certain: the partition stands still until an operator accepts that."""
    scene.rush.wait_accepted(scene.stock // 2)
    scene.consumer.stop()
    scene.struck()
    at = log.positions()
    scene.rush.wait_accepted(scene.stock * 3 // 4)
    undecided = [entry for entry in log.entries() if entry.offset >= at[entry.partition]]
    partition = undecided[0].partition
    there = [entry for entry in undecided if entry.partition == partition]
    gone = there[: max(1, len(there) // 2)]
    scene.gone_ids += [str(entry.event.event_id) for entry in gone if entry.event is not None]
    log.delete_before(partition, gone[-1].offset + 1)
    consumer = scene.add_consumer()
    told = "were deleted before they were decided"
    is_told = wait_until(lambda: told in str(ask(consumer.port, "GET", READINESS).body), within_s=_WITHIN_S)
    scene.expect(is_told, "readiness does not tell of the deleted events")
    time.sleep(2)
    stands = log.positions()[partition] == at[partition]
    scene.expect(stands, "deciding went on over events that were deleted")
    done = scene.system.manage("log_position", "accept-loss", "--yes")
    scene.expect(done.returncode == 0, f"the loss was not accepted: {done.stderr}")


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
        act=_with_the_consumer_away(_offsets_to_the_beginning),
    ),
    Case(
        name="log-offsets-to-end",
        what="the group's offsets in Kafka set to the end",
        act=_with_the_consumer_away(_offsets_to_the_end),
        in_short=True,
    ),
    Case(
        name="log-offsets-deleted",
        what="the group deleted in Kafka, with its offsets",
        act=_with_the_consumer_away(_offsets_deleted),
    ),
    Case(
        name="log-topic-made-anew",
        what="the topic deleted and made anew while the consumer is frozen",
        act=_topic_made_anew,
        may_note="no event in this log",  # those of the topic before
    ),
    Case(
        name="log-records-deleted",
        what="events deleted before they were decided; an operator accepts the loss",
        act=_records_deleted,
        in_short=True,
    ),
]
