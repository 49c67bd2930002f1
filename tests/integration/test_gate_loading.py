"""An empty gate is filled from the database and the undecided log, and then tells the truth again."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Sequence
from datetime import timedelta

import pytest
import redis_lock
from django.db import connection
from django.utils import timezone
from django_redis import get_redis_connection
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog, LogUnavailable
from coupons.eventlog.events import IssueRequest, encode, partition_key, partition_of
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
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.operations import reconciling
from coupons.operations.reconciling import reconcile
from coupons.operations.verification.findings import Check, Finding
from coupons.outcomes import Decision, RequestStatus
from tests import broker
from tests.factories import make_coupon, make_event, make_requests, make_users

pytestmark = pytest.mark.django_db


def view_of(coupon: Coupon) -> CachedCoupon:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    return view


def claims_of(requests: Sequence[IssueRequest]) -> list[Claim]:
    return [request.event.claim for request in requests]


def ask(claim: Claim) -> Admission:
    """Ask the gate as the API does: load it where it knows nothing."""
    view = coupon_cache.cached_coupon(claim.coupon_id, fresh=True)
    assert view is not None
    try:
        [answer] = gate.admit(view, [claim])
    except GateUnknown:
        [answer] = gate.admit(loading.load(view), [claim])
    return answer


def settle(coupon_id: int, requests: Sequence[IssueRequest]) -> None:
    """Decide these and tell the gate, as the consumer does after its commit."""
    issued = issue_coupons(requests)
    won = [allocation.decision is Decision.ISSUED for allocation in issued.allocations]
    snapshot = issued.coupons[coupon_id]
    settlement = Decisions(
        coupon_id=coupon_id,
        epoch=snapshot.epoch,
        issued_count=snapshot.issued_count,
        decided=list(zip(claims_of(requests), won, strict=True)),
    )
    gate.notify([settlement])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[IssueRequest]:
    """A log whose undecided events are this list."""
    undecided: list[IssueRequest] = []

    def read(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        asked_for = [each for each in undecided if coupon_id in (None, each.event.coupon_id)]
        return Backlog(requests=asked_for, next_to_decide={0: NextOffset(0)})

    monkeypatch.setattr(backlog, "read", read)
    return undecided


def test_a_new_coupon_is_loaded_with_nothing_under_way(log: list[IssueRequest]) -> None:
    coupon = make_coupon(stock=1)

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 0


def test_undecided_events_of_this_coupon_hold_their_slots(log: list[IssueRequest]) -> None:
    coupon, users = make_coupon(stock=3), make_users(5)
    log += make_requests(coupon.pk, users[:2]) + make_requests(987_654, users)

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 2
    again, fresh, late = (Claim(coupon_id=coupon.pk, user_id=u, request_id=uuid7()) for u in users[1:4])
    assert gate.admit(view_of(coupon), [again, fresh, late]) == [
        AlreadyRequested(first_request_id=log[1].event.request_id),
        Admitted(),
        OutOfStock(),
    ]


def test_one_reading_loads_every_gate_that_it_tells_of(log: list[IssueRequest]) -> None:
    asked, another, users = [make_coupon(stock=3).pk for _ in range(2)], make_coupon(stock=3), make_users(2)
    log += make_requests(asked[0], users) + make_requests(another.pk, users)

    loading.load_all(asked)

    assert [gate.reserved(pk) for pk in (*asked, another.pk)] == [2, 0, 2]


@pytest.fixture
def by_partition() -> dict[int, int]:
    """A coupon of each of three partitions."""
    coupons = [make_coupon(stock=5) for _ in range(20)]
    return {partition_of(partition_key(each.pk), 3): each.pk for each in coupons}


class Looking:
    """The producer, to which partition 2 looks dead."""

    def __init__(self) -> None:
        self.is_down = False
        self.partitions = 3
        self.unpromising_partitions = frozenset({2})


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    producer = Looking()
    monkeypatch.setattr(loading, "event_producer", lambda: producer)
    return producer


@pytest.fixture
def readings(
    looking: Looking, monkeypatch: pytest.MonkeyPatch, by_partition: dict[int, int]
) -> list[frozenset[int]]:
    """What each reading of a log of three partitions left out.

    Some events of each coupon stand in another one's partition, as where there were fewer once.
    """
    left_out: list[frozenset[int]] = []
    users = make_users(2)

    def read(*, without: Collection[int] = (), **named: object) -> Backlog:
        left_out.append(frozenset(without))
        requests = [each for pk in by_partition.values() for each in make_requests(pk, users)]
        return Backlog(requests=requests, next_to_decide={}, unread=frozenset(without), partitions=3)

    monkeypatch.setattr(backlog, "read", read)
    return left_out


def test_a_dead_partition_is_left_out_and_neither_are_its_gates_loaded_nor_do_the_others_wait_for_it(
    by_partition: dict[int, int], readings: list[frozenset[int]]
) -> None:
    """Whoever asks for them: a reading with a dead partition would keep the others waiting for seconds."""
    loading.load_all(by_partition.values())

    assert readings == [{2}]
    assert [gate.reserved(by_partition[each]) for each in (0, 1, 2)] == [2, 2, None]


@pytest.mark.parametrize("known", [3, 0])
def test_reconcile_says_which_gates_it_could_not_load(
    by_partition: dict[int, int],
    readings: list[frozenset[int]],
    looking: Looking,
    monkeypatch: pytest.MonkeyPatch,
    known: int,
) -> None:
    """Known to be dead before, or seen in the reading: that gate stays empty."""
    looking.partitions = known
    wrong = [Finding(check=Check.GATE_COUNTS, coupon_id=pk, message="") for pk in by_partition.values()]
    monkeypatch.setattr(reconciling, "gate_findings", lambda coupons: wrong)

    mended = reconcile(dry_run=False, wait_s=0, on_wait=lambda: None)

    assert mended.gates_loaded == sorted([by_partition[0], by_partition[1]])
    assert mended.not_mended is not None
    assert str([by_partition[2]]) in mended.not_mended


def test_where_all_the_partitions_look_dead_nothing_is_read(
    by_partition: dict[int, int], readings: list[frozenset[int]]
) -> None:
    with pytest.raises(LogUnavailable):
        loading.load_all([by_partition[2]])

    assert readings == []


def test_what_died_before_it_was_read_is_left_out(
    by_partition: dict[int, int], readings: list[frozenset[int]], looking: Looking
) -> None:
    """Or was not known to be dead when it was asked for: no gate is loaded with less than there is."""
    looking.partitions = 0  # not known yet

    loading.load_all(by_partition.values())
    with pytest.raises(LogUnavailable):
        loading.load_all([by_partition[2]])

    assert readings == [{2}, {2}]
    assert [gate.reserved(by_partition[each]) for each in (0, 1, 2)] == [2, 2, None]


def test_a_partition_that_looks_dead_is_tried_without_any_turn_and_without_other_dead_ones(
    by_partition: dict[int, int],
    readings: list[frozenset[int]],
    looking: Looking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readings for claims that wait go on beside it."""

    def no_turn(*args: object, **named: object) -> None:
        raise AssertionError("it must not take the turn")

    monkeypatch.setattr(redis_lock, "Lock", no_turn)
    looking.unpromising_partitions = frozenset({1, 2})

    with loading.one_at_a_time:
        loading.load_although_dead(by_partition[2])

    assert readings == [{1}]
    assert gate.reserved(by_partition[2]) == 2


def test_who_has_the_turn_and_died_holds_up_nobody_for_long(
    log: list[IssueRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "OTHERS_TAKE_S", 0.1)
    redis_lock.Lock(get_redis_connection("locks"), loading.TURN, expire=60).acquire(blocking=False)
    coupon = make_coupon(stock=3)

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 0


def test_the_first_event_of_a_user_holds_the_slot(log: list[IssueRequest]) -> None:
    coupon, [user] = make_coupon(stock=3), make_users(1)
    log += make_requests(coupon.pk, [user, user])

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 1
    [answer] = gate.admit(view_of(coupon), [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())])
    assert answer == AlreadyRequested(first_request_id=log[0].event.request_id)


def test_a_reservation_without_an_event_stands_until_it_is_decided(log: list[IssueRequest]) -> None:
    coupon, [on_its_way, decided, late] = make_coupon(stock=2), make_users(3)
    claims = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in (on_its_way, decided)]
    loading.load(view_of(coupon))
    gate.admit(view_of(coupon), claims)
    IssueOutcome.objects.create(
        request_id=claims[1].request_id, status=RequestStatus.REJECTED, requested_at=timezone.now()
    )
    gate.unload(coupon.pk)

    loading.load(view_of(coupon))

    assert gate.reservations(limit=10) == claims[:1]
    assert ask(Claim(coupon_id=coupon.pk, user_id=late, request_id=uuid7())) == Admitted()


def test_a_row_made_anew_does_not_take_over_the_old_ones_reservations(log: list[IssueRequest]) -> None:
    coupon, [user] = make_coupon(stock=2), make_users(1)
    ask(Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()))
    Coupon.objects.filter(pk=coupon.pk).update(created_at=timezone.now() + timedelta(seconds=1))

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 0


def test_what_was_decided_after_the_log_was_read_holds_no_slot(log: list[IssueRequest]) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    requests = make_requests(coupon.pk, users)
    log += requests
    issue_coupons(requests)  # committed in the database, the offset is not yet

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 0


def test_without_the_log_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        raise LogUnavailable("away, for the test")

    monkeypatch.setattr(backlog, "read", away)
    coupon = make_coupon()

    with pytest.raises(LogUnavailable):
        loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) is None


def test_the_row_is_read_anew_after_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=5), make_users(3)
    old = view_of(coupon)
    requests = make_requests(coupon.pk, users)

    def read(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        issue_coupons(requests)  # between our first look at the row and the loading
        return Backlog(requests=[], next_to_decide={0: NextOffset(3)})

    monkeypatch.setattr(backlog, "read", read)

    fresh = loading.load(old)

    assert (fresh.stock, fresh.issued_count) == (2, 3)
    claims = [Claim(coupon_id=coupon.pk, user_id=u, request_id=uuid7()) for u in make_users(3)]
    assert gate.admit(fresh, claims) == [Admitted(), Admitted(), OutOfStock()]


@pytest.mark.django_db(transaction=True)
def test_many_who_find_it_empty_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=10), make_users(8)
    view = view_of(coupon)
    readings: list[int] = []
    all_there = threading.Barrier(8)

    def read(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        readings.append(1)
        return Backlog(requests=[], next_to_decide={0: NextOffset(0)})

    monkeypatch.setattr(backlog, "read", read)

    def claim(user: int) -> None:
        all_there.wait(30)
        gate.admit(loading.load(view), [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())])
        connection.close()

    threads = [threading.Thread(target=claim, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(readings) == 1
    assert gate.reserved(coupon.pk) == 8


def test_a_slower_process_does_not_undo_what_a_faster_one_loaded(log: list[IssueRequest]) -> None:
    coupon, users = make_coupon(stock=10), make_users(2)
    view = view_of(coupon)
    loading.load(view)
    gate.admit(view, [Claim(coupon_id=coupon.pk, user_id=users[0], request_id=uuid7())])
    before = REGISTRY.get_sample_value("coupon_gate_loads_total", {"result": "was_loaded"}) or 0

    assert gate.load(view, claims_of(make_requests(coupon.pk, users[1:]))) is False
    loading.load(view)

    assert gate.reserved(coupon.pk) == 1
    assert (REGISTRY.get_sample_value("coupon_gate_loads_total", {"result": "was_loaded"}) or 0) == before


def test_a_row_made_anew_is_loaded_although_the_old_ones_gate_is_there(log: list[IssueRequest]) -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    assert ask(Claim(coupon_id=coupon.pk, user_id=users[0], request_id=uuid7())) == Admitted()
    coupon_id = coupon.pk
    coupon.delete()
    Coupon.objects.create(coupon_id=coupon_id, description="new", discount_amount=1, stock=1)

    answers = [ask(Claim(coupon_id=coupon_id, user_id=user, request_id=uuid7())) for user in users[::-1]]

    assert answers == [Admitted(), OutOfStock()]


def test_from_a_real_log(topic: str) -> None:
    coupon, users = make_coupon(stock=2), make_users(2)
    events = [make_event(coupon_id=coupon.pk, user_id=user) for user in users]
    values = encode(events[0]), b"broken", encode(events[1])
    broker.write(topic, *values, key=partition_key(coupon.pk), together=True)

    loading.load(view_of(coupon))

    assert gate.reserved(coupon.pk) == 2


def _went_back(coupon: Coupon, log: list[IssueRequest]) -> None:
    """Three have won; then the database is one from before, and their events in the log are undecided."""
    claims = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in make_users(3)]
    loading.load(view_of(coupon))
    assert gate.admit(view_of(coupon), claims) == [Admitted()] * 3
    events = [
        make_event(coupon_id=coupon.pk, user_id=claim.user_id, request_id=claim.request_id)
        for claim in claims
    ]
    requests = [IssueRequest(event=event, place=Place(0, n)) for n, event in enumerate(events)]
    settle(coupon.pk, requests)
    UserCoupon.objects.all().delete()
    IssueOutcome.objects.all().delete()
    Coupon.objects.filter(pk=coupon.pk).update(stock=3, issued_count=0)
    log += requests


@pytest.mark.parametrize(
    "then", ["nothing", "flush", "gate lost", "gate unready", "reconcile", "housekeeping"]
)
def test_a_database_that_went_back_gives_nobodys_slot_away(log: list[IssueRequest], then: str) -> None:
    coupon = make_coupon(stock=3)
    _went_back(coupon, log)

    match then:
        case "flush":
            get_redis_connection("default").flushdb()
        case "gate lost":
            get_redis_connection("default").delete(f"{{coupon:{coupon.pk}}}:gate")
        case "gate unready":
            get_redis_connection("default").hdel(f"{{coupon:{coupon.pk}}}:gate", "ready")
        case "reconcile":
            reconcile(dry_run=False, wait_s=0, on_wait=lambda: None)
        case "housekeeping":
            catching_up = CatchingUp()
            assert [catching_up.look() for _ in range(3)] == [[], [], []]
    late = [ask(Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())) for user in make_users(3)]
    settle(coupon.pk, log)
    after = [ask(Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())) for user in make_users(3)]

    assert late == after == [OutOfStock()] * 3
    assert UserCoupon.objects.filter(coupon=coupon).count() == 3


@pytest.mark.parametrize("seed", range(6))
def test_the_gate_never_refuses_while_a_slot_is_free_and_never_admits_past_the_stock(
    seed: int, log: list[IssueRequest]
) -> None:
    """A random course of events against a model that only counts."""
    chance = random.Random(seed)
    coupon, users = make_coupon(stock=chance.randint(0, 8)), make_users(90)
    holders: set[int] = set()
    offset = 0

    for _ in range(120):
        coupon.refresh_from_db()
        under_way = {request.event.user_id: request.event.request_id for request in log}
        match chance.choices(["claim", "decide", "stock", "lose", "flush"], [60, 20, 8, 6, 6])[0]:
            case "claim":
                user = chance.choice([user for user in users if user not in holders])
                request_id = uuid7()
                answer = ask(Claim(coupon_id=coupon.pk, user_id=user, request_id=request_id))
                if user in under_way:
                    assert answer == AlreadyRequested(first_request_id=under_way[user])
                elif len(under_way) < coupon.stock:
                    assert answer == Admitted()
                    event = make_event(coupon_id=coupon.pk, user_id=user, request_id=request_id)
                    log.append(IssueRequest(event=event, place=Place(0, offset := offset + 1)))
                else:
                    assert answer == OutOfStock()
            case "decide" if log:
                batch, log[:] = log[: (cut := chance.randint(1, len(log)))], log[cut:]
                settle(coupon.pk, batch)
                holders = set(coupon.user_coupons.values_list("user_id", flat=True))
                if chance.random() < 0.3:
                    settle(coupon.pk, batch)
            case "stock":
                Coupon.objects.filter(pk=coupon.pk).update(stock=chance.randint(0, 8))
            case "lose" if log:
                gate.release(claims_of([log.pop()]))
            case "flush":
                get_redis_connection("default").flushdb()

    coupon.refresh_from_db()
    assert coupon.issued_count == len(holders)
