"""One screen for the operator: what is there, what is wrong, and what does not answer."""

from __future__ import annotations

import io
import json
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command
from django_redis import get_redis_connection

from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.eventlog import positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key, partition_of
from coupons.eventlog.place import EndOffset
from coupons.eventlog.producer import event_producer
from coupons.gate import loading
from coupons.gate.admission import gate
from coupons.models import Coupon
from tests import stack
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("topic")]


def told(*words: str) -> tuple[int, str]:
    """Exit code and output."""
    out = io.StringIO()
    code = 0
    try:
        call_command("status", *words, stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, out.getvalue()


def told_as_json() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told("--json")[1])
    return found


def publish(coupon: Coupon, count: int) -> None:
    values = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in make_users(count)]
    event_producer().publish([Record(key=partition_key(coupon.pk), value=value) for value in values])


def test_positions_lag_and_gates_are_told() -> None:
    coupon, users = make_coupon(stock=3), make_users(5)
    event = make_event(coupon_id=coupon.pk, user_id=users[0])
    event_producer().publish([Record(key=partition_key(coupon.pk), value=encode(event))])
    consume_all(BatchProcessor(producer=event_producer()).process)
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    loading.load(view)
    gate.admit(view, [make_event(coupon_id=coupon.pk, user_id=users[1]).claim])
    publish(coupon, 2)

    found = told_as_json()

    mine = found["positions"][partition_of(partition_key(coupon.pk), len(found["positions"]))]
    assert (mine["nextOffset"], mine["state"]) == (1, "OK")
    if stack.KIND != "embedded":  # its broker reports ends that are too low
        assert (mine["end"], mine["undecided"], found["lag"]) == (3, 2, 2)
    assert found["gates"] == [
        {"couponId": coupon.pk, "reserved": 1, "issued": 1, "stock": 2, "issuedInDatabase": 1}
    ]
    assert found["coupons"] == {"opened": 1, "closed": 0, "stock": 2, "issued": 1}
    assert len(found["topic"]["partitions"]) == len(found["positions"])
    assert found["away"] == {}
    assert f"{coupon.pk:>12} {1:>10}" in told()[1]


@pytest.mark.skipif(stack.KIND == "embedded", reason="its broker tells of no members")
def test_a_consumer_of_the_group_is_told_with_its_partitions_and_then_missed(topic: str) -> None:
    with System(topic=topic) as system:
        eventually(lambda: len(told_as_json()["group"]["members"]) == 1, within_s=30)
        found = told_as_json()
        [member] = found["group"]["members"]
        assert member["partitions"] == list(range(len(found["positions"])))
        assert told()[0] == 0
        system.consumers[0].stop()
        assert any("no consumer of" in each for each in told_as_json()["wrong"])


def test_a_partition_that_stands_still_and_letters_that_wait_come_first() -> None:
    coupon = make_coupon()
    event_producer().publish([Record(key=partition_key(coupon.pk), value=b"rubbish")])
    consume_all(BatchProcessor(producer=event_producer()).process)
    partition = partition_of(partition_key(coupon.pk), 3)
    positions.halt(partition, seen=positions.stored()[partition], end=EndOffset(0))

    code, text = told()

    assert code == 1
    first, *others = [line for line in text.splitlines() if line.startswith("WRONG")]
    assert first == f"WRONG  partition {partition} stands still: BEYOND_THE_LOG"
    assert "WRONG  1 dead letters wait: `manage.py dead_letters list`" in others


def test_the_workers_of_this_machine_are_told(topic: str) -> None:
    with System(topic=topic, consumers=0) as system:
        workers = sorted(each.pid for each in psutil.Process(system.api.pid).children())
        port = system.api.port
        # The API is ready with its first worker; the others begin to count a moment later.
        eventually(lambda: sorted(told_as_json()["apiWorkers"][str(port)]) == workers, within_s=30)
        assert f"API on port {port}: {len(workers)} workers" in told()[1]


def test_locks_are_told_and_expire() -> None:
    get_redis_connection("locks").set("lock:{coupon:7}", "somebody", px=9000)

    [lock] = told_as_json()["locks"]

    assert lock["name"] == "{coupon:7}"
    assert 0 < lock["expiresS"] <= 9


def test_without_redis_the_rest_is_told(redis_away: pytest.MonkeyPatch) -> None:
    code, text = told("--json")
    found = json.loads(text)

    assert code == 3
    assert set(found["away"]) == {"gates"}
    assert found["gates"] is None
    assert found["positions"] is not None
    assert any(each.startswith("gates: ") for each in found["wrong"])


@pytest.mark.parametrize("seconds", ["0", "x", "-1", "99999"])
def test_a_pause_that_makes_no_sense_is_refused(seconds: str) -> None:
    with pytest.raises(CommandError, match="no number of seconds"):
        call_command("status", "--watch", seconds)
