"""The log delivers again, holds rubbish, or holds two requests of everybody."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator

from django.db import connection
from uuid_utils.compat import uuid7

from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from coupons.models import Coupon, DeadLetter, IssueOutcome
from dev import topics
from dev.faults import log
from dev.faults.case import Case
from dev.faults.scene import Scene

_DECIDED_S = 90.0


def event_value(coupon_id: int, user_id: int) -> tuple[str, bytes]:
    """A new request id and its event, as another producer would write it."""
    request_id = uuid7()
    event = CouponIssueEvent(
        request_id=request_id, user_id=user_id, coupon_id=coupon_id, timestamp_ms=time.time_ns() // 1_000_000
    )
    return str(request_id), encode(event)


def _new_group(scene: Scene) -> None:
    """While the rush goes on, a second group reads everything from offset 0 and decides it as well."""
    other = f"{scene.group_id}-again"
    scene.rush.wait_accepted(scene.stock // 2)
    scene.add_consumer("--group-id", other)
    with topics.in_settings(group_id=other):
        decided = log.wait_decided(within_s=_DECIDED_S)
    scene.expect(decided, "the new group did not get through")


def _thrice(scene: Scene) -> None:
    """What is in the log is written to it twice more."""
    scene.rush.wait_accepted(scene.stock // 2)
    found = [request.event for _, request in log.entries() if request is not None]
    scene.expect(len(found) >= scene.stock // 2, f"only {len(found)} events to write again")
    records = [(partition_key(event.coupon_id), encode(event)) for event in found]
    topics.write(scene.system.topic, [*records, *records])


def ask_twice(scene: Scene) -> None:
    """Another producer, which has no gate, writes two requests of everybody, with ids of their own."""
    users = scene.users_beside(scene.stock // 4)
    values = [event_value(scene.coupon_id, user) for user in (*users, *users)]
    topics.write(scene.system.topic, ((partition_key(scene.coupon_id), value) for _, value in values))
    scene.written_ids += [request_id for request_id, _ in values]


def _poison(scene: Scene) -> None:
    """Every kind of it, among ten times as many good events of other users, in one stream."""
    count = scene.scale.poison
    poison = itertools.chain.from_iterable(_poison_kinds(scene.coupon_id) for _ in itertools.count())
    good = [event_value(scene.coupon_id, user) for user in scene.users_beside(10 * count)]
    scene.written_ids += [request_id for request_id, _ in good]
    key = partition_key(scene.coupon_id)

    def stream() -> Iterator[tuple[bytes, bytes | None]]:
        for number, (_, value) in enumerate(good):
            yield key, value
            if number % 10 == 0:
                yield key, next(poison)

    topics.write(scene.system.topic, stream())
    scene.expect(log.wait_decided(within_s=_DECIDED_S), "the consumer did not get through")
    kept = DeadLetter.objects.filter(original_topic=scene.system.topic).count()
    scene.expect(kept == count, f"{kept} dead letters of {count} poisonous events")


def _refused_by_the_database(scene: Scene) -> None:
    """A trigger refuses the coupons of some users, for a reason that nobody here knows of."""
    refused = scene.users_beside(5)
    written = [event_value(scene.coupon_id, user) for user in refused]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER for_the_suite BEFORE INSERT ON user_coupon FOR EACH ROW "
            f"IF NEW.user_id BETWEEN {refused[0]} AND {refused[-1]} THEN "
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'for the suite'; END IF"
        )
    try:
        scene.struck()
        topics.write(scene.system.topic, ((partition_key(scene.coupon_id), value) for _, value in written))
        scene.expect(log.wait_decided(within_s=_DECIDED_S), "the consumer did not get through")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER for_the_suite")
    told = IssueOutcome.objects.filter(pk__in=[request_id for request_id, _ in written])
    reasons = set(told.values_list("status", "reason"))
    scene.expect(reasons == {("FAILED", "UNSTORABLE")}, f"the refused were told {reasons}")


def _poison_kinds(coupon_id: int) -> list[bytes | None]:
    whole = {"eventId": str(uuid7()), "userId": 1, "couponId": coupon_id, "timestamp": 1, "version": 1}
    no_coupon = Coupon.objects.order_by("-pk").values_list("pk", flat=True)[0] + 1_000_000
    broken: list[dict[str, object]] = [
        {"version": 2},
        {"version": None},
        {"eventId": "no-uuid"},
        {"eventId": None},
        {"userId": 0},
        {"userId": "1"},
        {"userId": 2**63},
        {"userId": True},
        {"couponId": -1},
        {"couponId": 1.5},
        {"couponId": no_coupon},
        {"timestamp": "now"},
        {"timestamp": -1},
    ]
    return [
        None,
        b"",
        b"rubbish",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"[" * 5000,
        b'{"eventId":',
        b'{"userId":' + b"9" * 5000 + b"}",
        json.dumps(whole | {"padding": "x" * 20_000}).encode(),
        *(json.dumps(whole | {"eventId": str(uuid7())} | part).encode() for part in broken),
    ]


CASES = [
    Case(
        name="log-unstorable",
        what="the database refuses some events for a reason of its own",
        act=_refused_by_the_database,
        in_short=True,
    ),
    Case(name="log-new-group", what="a new group reads the whole topic from offset 0", act=_new_group),
    Case(name="log-thrice", what="every event three times in the log", act=_thrice),
    Case(
        name="log-asked-twice",
        what="another producer writes two requests of each of its users",
        act=ask_twice,
        consumer_words=("--batch-size", "20"),
    ),
    Case(
        name="log-poison",
        what="poison of every kind, one among ten good events",
        act=_poison,
        in_short=True,
    ),
]
