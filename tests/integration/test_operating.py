"""The operator's commands: dead letters and reconcile, and the halt before a topic is drained."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from consumer.dead_letters import TooManyDeadLetters
from coupons import coupon_cache
from coupons.claim import Claim
from coupons.eventlog import kafka_client, positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key
from coupons.eventlog.place import EndOffset, NextOffset
from coupons.eventlog.positions import Position
from coupons.eventlog.producer import event_producer
from coupons.gate import leaked_slots, loading
from coupons.gate.admission import (
    gate,
)
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("topic")]


def _publish(*values: bytes, key: bytes = b"coupon-1") -> None:
    event_producer().publish([Record(key=key, value=value) for value in values])


def _consume() -> None:
    consume_all(BatchProcessor(producer=event_producer()).process)


def _run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def _letter_of_a_missing_coupon() -> tuple[int, int]:
    """A dead letter whose coupon can be made later; returns coupon id and user id."""
    [user] = make_users(1)
    coupon_id = 77_000_000 + user
    _publish(encode(make_event(coupon_id=coupon_id, user_id=user)), key=partition_key(coupon_id))
    _consume()
    assert IssueOutcome.objects.get(user_id=user).status == "FAILED"
    return coupon_id, user


def test_a_mended_dead_letter_is_replayed_and_issued() -> None:
    coupon_id, user = _letter_of_a_missing_coupon()
    Coupon.objects.create(coupon_id=coupon_id, description="late", discount_amount=1, stock=1)
    letter = DeadLetter.objects.get()

    assert "would replay 1" in _run("dead_letters", "replay", str(letter.pk), "--dry-run")
    assert DeadLetter.objects.get().state == "WAITING"
    assert "1 replayed" in _run("dead_letters", "replay", str(letter.pk), "--yes")
    _consume()

    assert UserCoupon.objects.get(user_id=user).request_id == letter.request_id
    assert IssueOutcome.objects.get(user_id=user).status == "ISSUED"
    assert DeadLetter.objects.get().state == "REPLAYED"


def test_a_replayed_letter_that_is_still_wrong_stays_failed_and_waits_again() -> None:
    _, user = _letter_of_a_missing_coupon()

    _run("dead_letters", "replay", "--all", "--yes")
    _consume()

    assert IssueOutcome.objects.get(user_id=user).status == "FAILED"
    assert sorted(DeadLetter.objects.values_list("state", flat=True)) == ["REPLAYED", "WAITING"]


def test_a_plain_redelivery_does_not_overrule_failed() -> None:
    coupon_id, user = _letter_of_a_missing_coupon()
    Coupon.objects.create(coupon_id=coupon_id, description="late", discount_amount=1, stock=1)
    letter = DeadLetter.objects.get()
    assert letter.original_value is not None

    _publish(bytes(letter.original_value))
    _consume()

    assert IssueOutcome.objects.get(user_id=user).status == "FAILED"
    assert not UserCoupon.objects.exists()


def test_discarding_puts_aside_by_reason_and_lists_what_is_left() -> None:
    _publish(b"{", b'{"version":9}', b"[]")
    _consume()

    assert json.loads(_run("dead_letters", "list", "--json"))["counts"] == {
        "NOT_JSON": 2,
        "UNKNOWN_VERSION": 1,
    }
    _run("dead_letters", "discard", "--reason", "NOT_JSON", "--yes")

    listed = json.loads(_run("dead_letters", "list", "--json"))
    assert listed["counts"] == {"UNKNOWN_VERSION": 1}
    shown = json.loads(_run("dead_letters", "show", str(listed["deadLetters"][0]["id"]), "--json"))
    assert shown["value"] == '{"version":9}'


def test_nothing_is_destroyed_unasked() -> None:
    _publish(b"{")
    _consume()

    with pytest.raises(CommandError, match="say which to discard"):
        _run("dead_letters", "discard")
    with pytest.raises(CommandError, match="add --yes"):
        _run("dead_letters", "discard", "--all")
    with pytest.raises(CommandError, match="there is no dead letter 999999"):
        _run("dead_letters", "show", "999999")
    assert DeadLetter.objects.get().state == "WAITING"


@pytest.mark.parametrize("number", ["99999999999999999999", "0", "-1", "1.5", "x", "１"])
@pytest.mark.parametrize("words", [("show",), ("replay", "--yes"), ("discard", "--yes")])
def test_an_id_that_can_be_none_is_refused_in_one_line(words: tuple[str, ...], number: str) -> None:
    with pytest.raises(
        CommandError, match=r"unrecognized|required|no whole number from 1 to 9223372036854775807"
    ):
        _run("dead_letters", *words, number)


def test_a_limit_beyond_all_bounds_is_refused_in_one_line() -> None:
    with pytest.raises(CommandError, match="no whole number from 0 to 1000000"):
        _run("dead_letters", "list", "--limit", "99999999999999999999")


def test_too_many_dead_letters_in_a_row_halt_and_what_came_before_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = replace(settings.CONFIG.consumer, dead_letters_in_a_row=2)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))
    coupon, [user] = make_coupon(), make_users(1)
    good = encode(make_event(coupon_id=coupon.pk, user_id=user))
    _publish(good, *[b"{"] * 9, key=b"coupon-1")

    with pytest.raises(TooManyDeadLetters, match="COUPON_DEAD_LETTERS_IN_A_ROW"):
        _consume()

    assert DeadLetter.objects.count() == 2
    assert UserCoupon.objects.filter(user_id=user).exists(), "the good neighbour is issued all the same"


def test_a_deleted_coupon_with_many_requests_halts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = replace(settings.CONFIG.consumer, dead_letters_in_a_row=2)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))
    coupon, users = make_coupon(), make_users(5)
    deleted = [encode(make_event(coupon_id=77_000_000, user_id=user)) for user in users]
    _publish(*deleted, encode(make_event(coupon_id=coupon.pk, user_id=users[0])))

    _consume()

    assert DeadLetter.objects.filter(reason="COUPON_NOT_FOUND").count() == 5
    assert UserCoupon.objects.filter(user_id=users[0]).exists()


def test_good_events_between_keep_the_consumer_going(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = replace(settings.CONFIG.consumer, dead_letters_in_a_row=2)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))
    coupon, users = make_coupon(), make_users(2)
    good = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in users]

    _publish(b"{", b"{", good[0], b"{", b"{", good[1])
    _consume()

    assert DeadLetter.objects.count() == 4
    assert UserCoupon.objects.count() == 2


@pytest.fixture
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody publishes here for as long as an API may."""
    monkeypatch.setattr(leaked_slots, "PUBLISHABLE_S", 1.0)


@pytest.mark.usefixtures("_short_wait")
def test_reconcile_says_first_and_then_mends() -> None:
    coupon, [user] = make_coupon(stock=5), make_users(1)
    view = coupon_cache.cached_coupon(coupon.pk)
    assert view is not None
    loading.load(view)
    gate.admit(view, [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())])
    other = make_coupon(stock=5)
    other_view = coupon_cache.cached_coupon(other.pk)
    assert other_view is not None
    loading.load(other_view)
    get_redis_connection("default").hset(f"{{coupon:{other.pk}}}:gate", "issued", 4)

    told = json.loads(_run("reconcile", "--dry-run", "--json"))
    assert {finding["check"] for finding in told["findings"]} == {"NO_LEAKED_RESERVATION", "GATE_COUNTS"}
    assert gate.reserved(coupon.pk) == 1

    done = json.loads(_run("reconcile", "--json"))
    assert done["gatesLoaded"] == [other.pk]
    assert len(done["slotsGivenBack"]) == 1
    assert gate.reserved(coupon.pk) == 0
    assert "nothing to mend" in _run("reconcile")


@pytest.mark.usefixtures("_short_wait")
def test_reconcile_gives_back_all_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many reservations stand before them, as those of paused coupons do."""
    monkeypatch.setattr(leaked_slots, "MOST_AT_ONCE", 1)
    leaked = [_leak_in_a_gate_that_miscounts() for _ in range(2)]

    done = json.loads(_run("reconcile", "--json"))

    assert done["slotsGivenBack"] == [str(claim.request_id) for claim in leaked]


@pytest.mark.usefixtures("_short_wait")
def test_reconcile_says_whose_slots_it_could_not_look_at() -> None:
    leaked = _leak_in_a_gate_that_miscounts()
    for partition in range(settings.CONFIG.kafka.partitions):
        at = Position(topic_id=kafka_client.topic_id(timeout_s=10), next_offset=NextOffset(5))
        positions.move(partition, to=at)
        positions.halt(partition, seen=at, end=EndOffset(0))

    out = io.StringIO()

    with pytest.raises(SystemExit):
        call_command("reconcile", "--json", stdout=out)

    assert "log_position show" in json.loads(out.getvalue())["notMended"]
    assert gate.reservations(limit=9) == [leaked]
    assert not IssueOutcome.objects.exists()


def _leak_in_a_gate_that_miscounts() -> Claim:
    coupon, [user] = make_coupon(stock=5), make_users(1)
    view = coupon_cache.cached_coupon(coupon.pk)
    assert view is not None
    loading.load(view)
    leaked = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    gate.admit(view, [leaked])
    get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "issued", 4)
    return leaked


@pytest.mark.usefixtures("_short_wait")
def test_a_leak_in_a_gate_that_is_loaded_anew_is_told_its_end() -> None:
    leaked = _leak_in_a_gate_that_miscounts()

    done = json.loads(_run("reconcile", "--json"))

    assert done["gatesLoaded"] == [leaked.coupon_id]
    assert done["slotsGivenBack"] == [str(leaked.request_id)]
    assert IssueOutcome.objects.get(pk=leaked.request_id).reason == "BROKER_UNAVAILABLE"
    assert "nothing to mend" in _run("reconcile")


def test_a_leak_that_is_not_given_back_in_time_is_kept_by_loading() -> None:
    leaked = _leak_in_a_gate_that_miscounts()

    with pytest.raises(SystemExit):
        _run("reconcile", "--json", wait=0.0)

    state = gate.state(leaked.coupon_id)
    assert state is not None
    assert (state.issued, state.reservations) == (0, [leaked])
