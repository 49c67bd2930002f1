"""One key or field of a gate lost, or of a wrong kind: that gate is loaded anew, and nothing else suffers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import NextOffset, Place
from coupons.gate import loading
from coupons.gate.admission import (
    Admission,
    Admitted,
    AlreadyRequested,
    Decisions,
    GateUnknown,
    OutOfStock,
    gate,
)
from coupons.gate.catching_up import CatchingUp
from coupons.models import Coupon
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


def view_of(coupon: Coupon) -> CachedCoupon:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    return view


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[IssueRequest]:
    """A log whose undecided events are this list."""
    undecided: list[IssueRequest] = []

    def read(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        return Backlog(
            requests=[each for each in undecided if coupon_id in (None, each.event.coupon_id)],
            next_to_decide={0: NextOffset(0)},
        )

    monkeypatch.setattr(backlog, "read", read)
    return undecided


@pytest.fixture
def coupon(log: list[IssueRequest]) -> Coupon:
    """Stock for five, two of them reserved and in the log."""
    coupon = make_coupon(stock=5)
    loading.load(view_of(coupon))
    for offset, user in enumerate(make_users(2)):
        claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
        assert gate.admit(view_of(coupon), [claim]) == [Admitted()]
        event = make_event(coupon_id=coupon.pk, user_id=user, request_id=claim.request_id)
        log.append(IssueRequest(event=event, place=Place(0, offset)))
    return coupon


def ask(coupon: Coupon, *users: int) -> list[Admission]:
    """As the API does: a gate that knows nothing is loaded once, and then it answers."""
    claims = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    try:
        return gate.admit(view_of(coupon), claims)
    except GateUnknown:
        return gate.admit(loading.load(view_of(coupon)), claims)


def settle(coupon: Coupon, *won: Claim) -> None:
    """As after the transaction that issued to these."""
    Coupon.objects.filter(pk=coupon.pk).update(stock=5 - len(won), issued_count=len(won))
    decided = [(claim, True) for claim in won]
    epoch = view_of(coupon).epoch
    gate.notify(
        [Decisions(coupon_id=coupon.pk, epoch=epoch, issued_count=len(won), decided=decided)],
    )


def overwrite(key: str, value: bytes) -> None:
    """Every user's field holds this, and not the request's id."""
    redis = get_redis_connection("default")
    redis.hset(key, mapping=dict.fromkeys(redis.hkeys(key), value))


#: What no request id is. The last would say yes, if it were handed on.
NO_IDS = {"short": b"x", "long": b"x" * 17, "empty": b"", "a word": b"ADMITTED"}
no_ids = pytest.mark.parametrize("value", NO_IDS.values(), ids=NO_IDS)

Damage = Callable[[Any, str], object]
DAMAGES: dict[str, Damage] = {
    "reservations lost": lambda redis, tag: redis.delete(f"{tag}:reservations"),
    "one reservation lost": lambda redis, tag: redis.hdel(
        f"{tag}:reservations", redis.hkeys(f"{tag}:reservations")[0]
    ),
    "a field that is no reservation": lambda redis, tag: redis.hset(f"{tag}:reservations", "x" * 9, "y"),
    "the gate lost": lambda redis, tag: redis.delete(f"{tag}:gate"),
    "all lost": lambda redis, tag: redis.delete(f"{tag}:gate", f"{tag}:reservations"),
    "the count lost": lambda redis, tag: redis.hdel(f"{tag}:gate", "issued"),
    "the count no number": lambda redis, tag: redis.hset(f"{tag}:gate", "issued", "many"),
    "the count a fraction": lambda redis, tag: redis.hset(f"{tag}:gate", "issued", "0.5"),
    "the count without end": lambda redis, tag: redis.hset(f"{tag}:gate", "issued", "inf"),
    "the count below nothing": lambda redis, tag: redis.hset(f"{tag}:gate", "issued", "-1"),
    "the count beyond all numbers": lambda redis, tag: redis.hset(f"{tag}:gate", "issued", "9" * 5000),
    "the epoch lost": lambda redis, tag: redis.hdel(f"{tag}:gate", "epoch"),
    "the mark of readiness lost": lambda redis, tag: redis.hdel(f"{tag}:gate", "ready"),
    "the number of reservations lost": lambda redis, tag: redis.hdel(f"{tag}:gate", "reserved"),
    "the number of reservations no number": lambda redis, tag: redis.hset(f"{tag}:gate", "reserved", "many"),
    "the number of reservations empty": lambda redis, tag: redis.hset(f"{tag}:gate", "reserved", ""),
    "reservations of a wrong kind": lambda redis, tag: redis.set(f"{tag}:reservations", "x"),
    "the gate of a wrong kind": lambda redis, tag: redis.set(f"{tag}:gate", "x"),
    "reservations too short": lambda redis, tag: overwrite(f"{tag}:reservations", NO_IDS["short"]),
    "reservations too long": lambda redis, tag: overwrite(f"{tag}:reservations", NO_IDS["long"]),
    "reservations empty": lambda redis, tag: overwrite(f"{tag}:reservations", NO_IDS["empty"]),
    "reservations that say yes": lambda redis, tag: overwrite(f"{tag}:reservations", NO_IDS["a word"]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_gate_is_loaded_anew(coupon: Coupon, log: list[IssueRequest], damage: Damage) -> None:
    neighbour, users = make_coupon(), make_users(5)
    loading.load(view_of(neighbour))
    damage(get_redis_connection("default"), f"{{coupon:{coupon.pk}}}")

    assert ask(neighbour, users[0]) == [Admitted()]
    assert ask(coupon, *users) == [Admitted(), Admitted(), Admitted(), OutOfStock(), OutOfStock()]
    first = log[0].event
    assert ask(coupon, first.user_id) == [AlreadyRequested(first_request_id=first.request_id)]
    assert not gate.is_away


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_looks_at_all_gates_is_not_stopped_by_a_damaged_one(coupon: Coupon, damage: Damage) -> None:
    neighbour, [user] = make_coupon(), make_users(1)
    loading.load(view_of(neighbour))
    claim = Claim(coupon_id=neighbour.pk, user_id=user, request_id=uuid7())
    gate.admit(view_of(neighbour), [claim])
    redis = get_redis_connection("default")
    damage(redis, f"{{coupon:{coupon.pk}}}")
    redis.hset("{coupon:none}:reservations", "x", "y")
    redis.hset("{coupon:none}:gate", "issued", "1")

    assert claim in gate.reservations(limit=100)
    assert CatchingUp().look() == []
    assert gate.issued_counts()[neighbour.pk] == 0
    gate.reserved(coupon.pk)
    gate.state(coupon.pk)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_decided_of_a_damaged_gate_keeps_no_slot(
    coupon: Coupon, log: list[IssueRequest], damage: Damage
) -> None:
    won = gate.reservations(limit=10)
    damage(get_redis_connection("default"), f"{{coupon:{coupon.pk}}}")

    settle(coupon, *won)
    log.clear()

    assert ask(coupon, *make_users(4)) == [Admitted(), Admitted(), Admitted(), OutOfStock()]
    assert not gate.is_away


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_given_back_to_a_damaged_gate_keeps_no_slot(
    coupon: Coupon, log: list[IssueRequest], damage: Damage
) -> None:
    unpublished = gate.reservations(limit=10)
    damage(get_redis_connection("default"), f"{{coupon:{coupon.pk}}}")

    gate.release(unpublished)
    log.clear()

    assert ask(coupon, *make_users(6)) == [*[Admitted()] * 5, OutOfStock()]
    assert not gate.is_away


@no_ids
def test_a_damaged_reservation_that_nobody_asks_for_is_found_by_who_looks_at_all(
    coupon: Coupon, log: list[IssueRequest], value: bytes
) -> None:
    overwrite(f"{{coupon:{coupon.pk}}}:reservations", value)
    log.clear()

    assert gate.reservations(limit=10) == []

    assert ask(coupon, *make_users(6)) == [*[Admitted()] * 5, OutOfStock()]


@pytest.mark.parametrize("user", [b"\xff" * 8, b"\x80" + b"\0" * 7, b"\0", b"\0\1", b"x" * 9, b""])
def test_a_reservation_of_nobody_is_none(coupon: Coupon, log: list[IssueRequest], user: bytes) -> None:
    redis, tag = get_redis_connection("default"), f"{{coupon:{coupon.pk}}}"
    redis.hset(f"{tag}:reservations", user, uuid7().bytes)
    redis.hincrby(f"{tag}:gate", "reserved", 1)

    assert {claim.request_id for claim in gate.reservations(limit=10)} == {
        request.event.request_id for request in log
    }
    assert ask(coupon, *make_users(4)) == [Admitted(), Admitted(), Admitted(), OutOfStock()]


def test_a_gate_of_a_coupon_that_cannot_be_is_none() -> None:
    redis = get_redis_connection("default")
    redis.hset("{coupon:9223372036854775808}:gate", "issued", "1")
    redis.hset("{coupon:9223372036854775808}:reservations", b"\1", uuid7().bytes)

    assert gate.reservations(limit=10) == []
    assert gate.issued_counts() == {}


@no_ids
def test_a_damaged_claim_in_a_group_costs_the_others_nothing(
    coupon: Coupon, log: list[IssueRequest], value: bytes
) -> None:
    overwrite(f"{{coupon:{coupon.pk}}}:reservations", value)
    first, [before, after] = log[0].event, make_users(2)

    assert ask(coupon, before, first.user_id, after) == [
        Admitted(),
        AlreadyRequested(first_request_id=first.request_id),
        Admitted(),
    ]
    assert gate.reserved(coupon.pk) == 4


@no_ids
def test_a_winner_whose_request_is_damaged_is_forgotten(coupon: Coupon, value: bytes) -> None:
    won = gate.reservations(limit=10)
    settle(coupon, *won)
    redis = get_redis_connection("default")
    for key in redis.scan_iter(match=f"{{coupon:{coupon.pk}}}:settled:*", _type="hash"):
        overwrite(key.decode(), value)

    # It was remembered for claims that asked the database just before the commit: now the consumer decides.
    assert ask(coupon, won[0].user_id) == [Admitted()]
    assert ask(coupon, *make_users(3)) == [Admitted(), Admitted(), OutOfStock()]


@pytest.mark.parametrize("kind", ["settled", "told"])
def test_what_is_remembered_for_a_minute_may_be_of_a_wrong_kind(coupon: Coupon, kind: str) -> None:
    redis = get_redis_connection("default")
    minute = redis.time()[0] // 60
    for number in (minute - 1, minute, minute + 1):
        redis.set(f"{{coupon:{coupon.pk}}}:settled:{'told:' if kind == 'told' else ''}{number}", "x")
    [first, second] = gate.reservations(limit=10)

    assert ask(coupon, first.user_id) == [AlreadyRequested(first_request_id=first.request_id)]
    assert gate.release([second]) == 1
    assert gate.release_undisclosed([first]) == [first]
    assert ask(coupon, *make_users(5))[3:] == [Admitted(), OutOfStock()]
