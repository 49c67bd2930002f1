"""Claims that wait together are submitted together, and each hears its own answer. In a real loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import gevent
import pytest
from django.conf import settings
from django.db import OperationalError
from gevent.event import Event
from uuid_utils.compat import uuid7

from coupons import measures
from coupons.claim import Claim
from coupons.claims import batching, screening, submitting, warming
from coupons.claims import doomed as doomed_claims
from coupons.claims import waiting as waiting_of
from coupons.claims.batching import Gathering
from coupons.claims.screening import Refused, Screened
from coupons.claims.submitting import Accepted, Answer
from coupons.claims.waiting import Waiting
from coupons.outcomes import Code
from dev.processes import wait_until
from runtime import greenlets
from runtime.database_watch import DatabaseAwayError, DatabaseWatch


def claims(count: int) -> list[Claim]:
    return [Claim(coupon_id=1, user_id=n + 1, request_id=uuid7()) for n in range(count)]


class Database:
    """Stands in for the database that the watch asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.watch = DatabaseWatch(self.ask)
        monkeypatch.setattr(batching, "watch", self.watch)

    def ask(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


class Desk:
    """Stands in for requesting: odd users are accepted, even ones find it sold out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[Claim]] = []
        self.arrived: Mapping[UUID, float] = {}  #: as the last publish was told
        self.may_screen, self.may_publish = Event(), Event()
        self.may_screen.set()
        self.may_publish.set()
        monkeypatch.setattr(screening, "screen", self.screen)
        monkeypatch.setattr(submitting, "is_any_dead", lambda: False)
        monkeypatch.setattr(submitting, "dead_coupons", lambda claims: frozenset())
        monkeypatch.setattr(submitting, "publish", self.publish)

    def screen(self, group: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
        self.groups.append(list(group))
        assert self.may_screen.wait(10)
        refusals = {
            claim.request_id: Refused(code=Code.OUT_OF_STOCK) for claim in group if claim.user_id % 2 == 0
        }
        admitted = [claim for claim in group if claim.user_id % 2]
        return Screened(refusals=refusals, admitted=admitted, reserving_since=0.0, requested_at_ms=0)

    def publish(self, screened: Screened, arrived: Mapping[UUID, float]) -> Iterator[dict[UUID, Answer]]:
        self.arrived = arrived
        assert self.may_publish.wait(10)
        accepted: dict[UUID, Answer] = {
            claim.request_id: Accepted(request_id=claim.request_id) for claim in screened.admitted
        }
        yield {**screened.refusals, **accepted}


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


class Asked:
    """A claim's answer, once it is there: kept as it came, errors too."""

    def __init__(self) -> None:
        self.told: list[Answer | Exception] = []
        self.is_told = Event()

    def answer(self, answered: Answer | Exception) -> None:
        self.told.append(answered)
        self.is_told.set()


def ask(own: Gathering, wanted: Sequence[Claim]) -> list[Asked]:
    asking = [Asked() for _ in wanted]
    for claim, asked in zip(wanted, asking, strict=True):
        own.submit(claim, asked.answer)
    return asking


def answers(asking: Sequence[Asked]) -> list[Answer | Exception]:
    """Each claim is answered, and once."""
    for each in asking:
        assert each.is_told.wait(10)
    gevent.sleep(0)
    return [answered for each in asking for answered in each.told]


def test_claims_that_come_in_the_same_turn_are_one_group_and_each_hears_its_own_answer(desk: Desk) -> None:
    wanted = claims(50)

    told = answers(ask(Gathering(), wanted))

    assert desk.groups == [wanted]
    assert told == [
        Accepted(request_id=claim.request_id) if claim.user_id % 2 else Refused(code=Code.OUT_OF_STOCK)
        for claim in wanted
    ]


def test_while_a_group_is_screened_the_next_one_grows(desk: Desk) -> None:
    own, wanted = Gathering(), claims(9)
    desk.may_screen.clear()
    asking = ask(own, wanted[:1])
    gevent.sleep(0.01)

    for claim in wanted[1:]:
        asking += ask(own, [claim])
        gevent.sleep(0.005)
    assert desk.groups == [wanted[:1]]
    desk.may_screen.set()

    assert len(answers(asking)) == 9
    assert desk.groups == [wanted[:1], wanted[1:]]


def test_a_slow_broker_does_not_hold_up_the_next_group(desk: Desk) -> None:
    own, wanted = Gathering(), claims(2)
    desk.may_publish.clear()

    asking = ask(own, wanted[:1])
    gevent.sleep(0.05)
    asking += ask(own, wanted[1:])
    gevent.sleep(0.2)

    assert desk.groups == [wanted[:1], wanted[1:]]
    desk.may_publish.set()
    answers(asking)


def test_a_group_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_AT_ONCE", 4)

    answers(ask(Gathering(), claims(10)))

    assert [len(group) for group in desk.groups] == [4, 4, 2]


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a bug")])
def test_what_goes_wrong_reaches_every_claim_of_the_group_and_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Gathering()

    def fail(group: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(screening, "screen", fail)
        assert answers(ask(own, claims(3))) == [error] * 3

    assert ("a bug" in capsys.readouterr().err) or isinstance(error, OperationalError)
    assert len(answers(ask(own, claims(3)))) == 3


def test_claims_behind_a_database_that_hangs_are_refused_and_later_ones_at_once(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "SLOW_S", 0.02)
    own, wanted = Gathering(), claims(6)
    database.error = OperationalError(2013, "Lost connection to server during query")
    desk.may_screen.clear()
    hanging = ask(own, wanted[:1])
    gevent.sleep(0.01)  # it is being screened

    behind = answers(ask(own, wanted[1:3]))
    [late] = ask(own, wanted[3:4])

    assert [type(each) for each in (*behind, *late.told)] == [DatabaseAwayError] * 3
    assert not hanging[0].told
    database.error = None
    assert wait_until(lambda: not database.watch.is_away, within_s=10)
    desk.may_screen.set()
    assert len(answers(hanging + ask(own, wanted[4:]))) == 3
    assert desk.groups == [wanted[:1], wanted[4:]]


def test_claims_behind_a_database_that_is_slow_are_refused_when_their_time_is_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers whoever asks whether it is there; only the claims' own queries take long."""
    monkeypatch.setattr(batching, "SLOW_S", 0.02)
    own, wanted = Gathering(), claims(4)
    desk.may_screen.clear()
    hanging = ask(own, wanted[:1])
    gevent.sleep(0.01)  # it is being screened
    monkeypatch.setattr(Waiting, "is_over", property(lambda waiting: waiting.claim in wanted[1:3]))

    behind = answers(ask(own, wanted[1:3]))

    assert [type(each) for each in behind] == [DatabaseAwayError] * 2
    assert not hanging[0].told
    desk.may_screen.set()
    assert len(answers(hanging + ask(own, wanted[3:]))) == 2


def test_a_claim_whose_time_ends_while_late_ones_are_refused_is_refused_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be lost between two readings of the clock: nobody would ever answer it."""
    monkeypatch.setattr(batching, "SLOW_S", 0.02)
    own, wanted = Gathering(), claims(3)
    desk.may_screen.clear()
    hanging = ask(own, wanted[:1])
    gevent.sleep(0.01)  # it is being screened
    asked_before: list[Claim] = []

    def is_over(waiting: Waiting) -> bool:
        asked_before.append(waiting.claim)
        return waiting.claim == wanted[1] or asked_before.count(wanted[2]) > 1

    monkeypatch.setattr(Waiting, "is_over", property(is_over))

    behind = answers(ask(own, wanted[1:]))

    assert [type(each) for each in behind] == [DatabaseAwayError] * 2
    desk.may_screen.set()
    answers(hanging)


class Dead:
    """The partition of coupon 2 is known to be dead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submitting, "is_any_dead", lambda: True)
        monkeypatch.setattr(submitting, "dead_coupons", self.among)
        monkeypatch.setattr(waiting_of, "DOOMED_S", 0.05)

    def among(self, claims: Iterable[Claim]) -> frozenset[int]:
        return frozenset({claim.coupon_id for claim in claims} & {2})


TRY_AGAIN = Refused(code=Code.BROKER_UNAVAILABLE)


def test_a_claim_of_a_dead_partition_waits_for_no_batch_that_is_slow_and_others_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Gathering()
    desk.may_screen.clear()
    hanging = ask(own, on_coupon(1))
    gevent.sleep(0.01)  # it is being screened
    Dead(monkeypatch)

    asking = ask(own, [*on_coupon(2), *on_coupon(1)])

    assert answers(asking[:1]) == [TRY_AGAIN]
    assert not asking[1].told
    desk.may_screen.set()
    assert all(isinstance(told, Accepted) for told in answers(hanging + asking[1:]))
    assert {claim.coupon_id for group in desk.groups for claim in group} == {1}


def test_a_claim_of_a_dead_partition_does_not_wait_for_the_end_of_its_own_screening(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Gathering()
    Dead(monkeypatch)
    desk.may_screen.clear()

    doomed, living = ask(own, [*on_coupon(2), *on_coupon(1)])

    assert answers([doomed]) == [TRY_AGAIN]
    assert not living.told
    desk.may_screen.set()
    assert isinstance(answers([living])[0], Accepted)
    assert doomed.told == [TRY_AGAIN]  # once
    assert isinstance(answers(ask(own, on_coupon(1)))[0], Accepted)


@pytest.mark.parametrize("is_any_dead", [False, True])
def test_while_no_partition_is_dead_no_claim_is_asked_for_its_own(
    monkeypatch: pytest.MonkeyPatch, is_any_dead: bool
) -> None:
    """Thousands may wait for a slow database, and each look at them would hold up the loop."""
    Dead(monkeypatch)
    monkeypatch.setattr(submitting, "is_any_dead", lambda: is_any_dead)
    wanted = [Waiting(claim, print, since=0.0) for claim in (*on_coupon(2), *on_coupon(1))]

    assert doomed_claims.late_among(wanted) == wanted[: int(is_any_dead)]


def test_what_goes_wrong_in_screening_does_not_reach_those_who_were_refused_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, error, may_fail = Gathering(), OperationalError("away"), Event()
    Dead(monkeypatch)

    def fail(group: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
        assert may_fail.wait(10)
        raise error

    monkeypatch.setattr(screening, "screen", fail)
    doomed, living = ask(own, [*on_coupon(2), *on_coupon(1)])
    answers([doomed])
    may_fail.set()

    assert answers([living]) == [error]
    assert doomed.told == [TRY_AGAIN]


def test_an_answer_that_raises_keeps_no_other_claim_of_the_group_from_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, wanted, asked = Gathering(), claims(3), Asked()

    def broken(answered: Answer | Exception) -> None:
        raise RuntimeError("the connection's own bug")

    def uncounted(*args: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(measures, "claims_answered", uncounted)
    own.submit(wanted[0], broken)
    own.submit(wanted[2], asked.answer)

    assert answers([asked]) == [Accepted(request_id=wanted[2].request_id)]


def test_an_error_of_a_database_that_answers_refuses_no_other_claim(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Gathering()

    def fail(group: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
        raise OperationalError(2006, "a connection was killed")

    with monkeypatch.context() as broken:
        broken.setattr(screening, "screen", fail)
        assert isinstance(answers(ask(own, claims(1)))[0], OperationalError)

    assert answers(ask(own, claims(1))) == [Accepted(request_id=desk.groups[0][0].request_id)]


def test_where_nothing_gathers_a_claim_is_submitted_alone(desk: Desk) -> None:
    [claim] = claims(1)

    asked = Asked()
    batching.submit(claim, asked.answer)

    assert asked.told == [Accepted(request_id=claim.request_id)]
    assert desk.groups == [[claim]]


def test_where_there_is_no_loop_what_blocks_runs_where_it_is() -> None:
    assert greenlets.in_thread(threading.get_ident) == threading.get_ident()


@pytest.mark.usefixtures("in_a_loop")
def test_what_blocks_runs_in_a_thread_while_the_loop_goes_on() -> None:
    blocked, turns = threading.Event(), [0]

    def go_on() -> None:
        for _ in range(10):
            turns[0] += 1
            gevent.sleep(0.001)
        blocked.set()

    gevent.spawn(go_on)
    assert greenlets.in_thread(blocked.wait, 10)
    assert turns == [10]
    assert greenlets.in_thread(threading.get_ident) != threading.get_ident()
    assert greenlets.in_thread(greenlets.is_here) is False


class ColdDesk(Desk):
    """Coupons above 1 have a gate that must be loaded first, which lasts until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.loaded: set[int] = {1}
        self.loadings: list[set[int]] = []
        self.may_load = threading.Event()
        self.is_log_there = True
        self.is_down = False
        self.dead: set[int] = set()  #: coupons whose partition is
        self.tried: list[int] = []  #: coupons whose partition looks dead
        self.may_end_trying = threading.Event()
        self.may_end_trying.set()
        monkeypatch.setattr(submitting, "warm_up", self.warm_up)
        monkeypatch.setattr(submitting, "warm_up_although_dead", self.warm_up_although_dead)
        monkeypatch.setattr(warming, "event_producer", lambda: self)

    def takes(self, coupon_id: int) -> bool:
        return not self.is_down and coupon_id not in self.dead

    def screen(self, group: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
        screened = super().screen(group)
        cold = [claim for claim in group if claim.coupon_id not in self.loaded]
        aside = {claim.request_id for claim in cold}
        return replace(
            screened,
            cold=cold,
            admitted=[claim for claim in screened.admitted if claim.request_id not in aside],
            refusals={key: told for key, told in screened.refusals.items() if key not in aside},
        )

    def warm_up(self, coupon_ids: set[int]) -> bool:
        assert self.may_load.wait(10)
        self.loadings.append(coupon_ids)
        self.loaded |= coupon_ids
        return self.is_log_there

    def warm_up_although_dead(self, coupon_id: int) -> None:
        self.tried.append(coupon_id)
        assert self.may_end_trying.wait(10)
        if self.is_log_there:
            self.loaded.add(coupon_id)


@pytest.fixture
def cold_desk(in_a_loop: None, monkeypatch: pytest.MonkeyPatch) -> ColdDesk:
    return ColdDesk(monkeypatch)


def on_coupon(coupon_id: int, count: int = 1) -> list[Claim]:
    return [Claim(coupon_id=coupon_id, user_id=2 * n + 1, request_id=uuid7()) for n in range(count)]


def test_warm_claims_pass_by_cold_ones_which_are_loaded_together(cold_desk: ColdDesk) -> None:
    own = Gathering()
    cold = [claim for coupon_id in range(2, 42) for claim in on_coupon(coupon_id)]
    asking = ask(own, cold)

    told = [answers(ask(own, on_coupon(1))) for _ in range(20)]  # in a group of their own, each

    assert not any(each.told for each in asking)
    assert all(isinstance(answer, Accepted) for [answer] in told)
    cold_desk.may_load.set()
    assert answers(asking) == [Accepted(request_id=claim.request_id) for claim in cold]
    assert cold_desk.loadings == [set(range(2, 42))]


def test_what_comes_while_gates_are_loaded_is_loaded_next(cold_desk: ColdDesk) -> None:
    own = Gathering()
    asking = ask(own, on_coupon(2))
    gevent.sleep(0.2)
    asking += ask(own, on_coupon(3) + on_coupon(4) + on_coupon(2))
    gevent.sleep(0.05)

    cold_desk.may_load.set()

    answers(asking)
    assert cold_desk.loadings[0] == {2}
    assert cold_desk.loadings[1] >= {3, 4}


def test_where_the_log_cannot_be_read_cold_claims_are_refused_and_warm_ones_are_not(
    cold_desk: ColdDesk,
) -> None:
    own = Gathering()
    cold_desk.is_log_there = False
    cold_desk.may_load.set()

    told = answers(ask(own, on_coupon(2, 3) + on_coupon(1)))

    assert told[:3] == [Refused(code=Code.BROKER_UNAVAILABLE)] * 3
    assert isinstance(told[3], Accepted)


def test_a_claim_whose_gate_stays_unknown_is_refused_in_the_end(
    cold_desk: ColdDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, 0.3)
    monkeypatch.setattr(submitting, "warm_up", lambda coupon_ids: True)  # and loses them at once
    own = Gathering()

    assert answers(ask(own, on_coupon(2))) == [Refused(code=Code.BROKER_UNAVAILABLE)]
    assert isinstance(answers(ask(own, on_coupon(1)))[0], Accepted)


def patience(monkeypatch: pytest.MonkeyPatch, loading_s: float) -> None:
    """A cold claim waits so long for its gate."""
    usual = settings.CONFIG.producer
    timeout_ms = int(usual.publish_timeout_ms * loading_s / usual.loading_s)
    producer = replace(usual, publish_timeout_ms=timeout_ms)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, producer=producer))


def test_a_reading_that_takes_long_goes_on_and_its_claims_do_not_wait_for_its_end(
    cold_desk: ColdDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do those wait that came meanwhile. Whoever tries again is accepted."""
    own = Gathering()
    with monkeypatch.context() as hasty:
        patience(hasty, 0.2)
        asking = ask(own, on_coupon(2))
        gevent.sleep(0.1)
        asking += ask(own, on_coupon(3))

        told = answers(asking)

    assert told == [Refused(code=Code.BROKER_UNAVAILABLE)] * 2
    assert cold_desk.loadings == []
    cold_desk.may_load.set()
    assert wait_in_loop(lambda: cold_desk.loadings == [{2}])
    assert isinstance(answers(ask(own, on_coupon(2)))[0], Accepted)
    assert cold_desk.loadings == [{2}]


def test_a_cold_claim_of_a_dead_partition_is_refused_at_once_and_others_are_loaded(
    cold_desk: ColdDesk,
) -> None:
    own = Gathering()
    cold_desk.dead = {2}

    asking = ask(own, [*on_coupon(2, 3), *on_coupon(3)])

    assert answers(asking[:3]) == [Refused(code=Code.BROKER_UNAVAILABLE)] * 3
    assert not asking[3].is_told.is_set()
    cold_desk.may_load.set()
    assert isinstance(answers(asking[3:])[0], Accepted)
    assert cold_desk.loadings == [{3}]


def test_a_partition_that_dies_while_its_gate_is_loaded_keeps_nobody_waiting(cold_desk: ColdDesk) -> None:
    own = Gathering()
    asking = ask(own, [*on_coupon(2), *on_coupon(3)])
    gevent.sleep(0.3)

    cold_desk.dead = {2}

    assert answers(asking[:1]) == [Refused(code=Code.BROKER_UNAVAILABLE)]
    assert not asking[1].is_told.is_set()
    cold_desk.is_down = True
    assert answers(asking[1:]) == [Refused(code=Code.BROKER_UNAVAILABLE)]
    cold_desk.may_load.set()


def test_a_coupon_whose_partition_only_looks_dead_is_loaded_in_the_end(
    cold_desk: ColdDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For nobody who waits: its claims are refused at once."""
    monkeypatch.setattr(warming, "TRY_DEAD_EVERY_S", 0.0)
    own = Gathering()
    cold_desk.dead = {2}
    cold_desk.may_load.set()

    assert answers(ask(own, on_coupon(2))) == [Refused(code=Code.BROKER_UNAVAILABLE)]
    assert wait_in_loop(lambda: 2 in cold_desk.loaded)
    assert isinstance(answers(ask(own, on_coupon(2)))[0], Accepted)
    assert cold_desk.loadings == []


def test_while_a_dead_partition_is_tried_gates_of_others_are_loaded(
    cold_desk: ColdDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "TRY_DEAD_EVERY_S", 0.0)
    own = Gathering()
    cold_desk.dead = {2}
    cold_desk.may_load.set()
    cold_desk.may_end_trying.clear()

    answers(ask(own, on_coupon(2)))
    assert wait_in_loop(lambda: cold_desk.tried == [2])
    told = answers(ask(own, on_coupon(3)))

    assert isinstance(told[0], Accepted)
    assert 2 not in cold_desk.loaded
    cold_desk.may_end_trying.set()


def test_each_coupon_of_dead_partitions_has_its_chance(
    cold_desk: ColdDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One partition may be dead, while another one only looks so."""
    monkeypatch.setattr(warming, "TRY_DEAD_EVERY_S", 0.0)
    own = Gathering()
    cold_desk.dead = {2, 3, 4}
    cold_desk.is_log_there = False

    for _ in range(100):
        answers(ask(own, [*on_coupon(2), *on_coupon(3), *on_coupon(4)]))

    assert wait_in_loop(lambda: set(cold_desk.tried) == {2, 3, 4})


def test_what_a_claim_waited_for_its_gate_is_taken_off_its_time_for_the_broker(cold_desk: ColdDesk) -> None:
    own, [claim] = Gathering(), on_coupon(2)
    came_at = time.monotonic()
    asking = ask(own, [claim])
    gevent.sleep(0.3)

    cold_desk.may_load.set()

    answers(asking)
    assert came_at <= cold_desk.arrived[claim.request_id] < came_at + 0.3


def wait_in_loop(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so, while the loop goes on."""
    for _ in range(1000):
        if is_so():
            return True
        gevent.sleep(0.01)
    return False


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a bug")])
def test_what_goes_wrong_in_loading_reaches_the_cold_claims_alone_and_the_next_are_loaded(
    cold_desk: ColdDesk,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = Gathering()
    cold_desk.may_load.set()

    def fail(coupon_ids: set[int]) -> bool:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(submitting, "warm_up", fail)
        assert answers(ask(own, on_coupon(2, 2))) == [error] * 2

    assert ("a bug" in capsys.readouterr().err) or isinstance(error, OperationalError)
    assert len(answers(ask(own, on_coupon(2)))) == 1


@pytest.mark.usefixtures("in_a_loop")
def test_what_is_waited_for_in_the_loop_may_be_set_from_any_thread() -> None:
    for _ in range(50):
        is_set = greenlets.event()
        setting = threading.Thread(target=is_set.set)
        waiting = gevent.spawn(is_set.wait, 10)
        gevent.sleep(0)
        setting.start()
        assert waiting.get(timeout=10) is True
        setting.join()


def test_whoever_has_an_answer_does_not_wait_for_the_others_of_the_group(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where one of the claims' partitions hangs."""
    may_go_on = Event()

    def publish(screened: Screened, arrived: Mapping[UUID, float]) -> Iterator[dict[UUID, Answer]]:
        yield dict(screened.refusals)
        assert may_go_on.wait(10)
        yield {claim.request_id: Accepted(request_id=claim.request_id) for claim in screened.admitted}

    monkeypatch.setattr(submitting, "publish", publish)
    hangs, passes = ask(Gathering(), claims(2))

    assert passes.is_told.wait(10)
    assert not hangs.is_told.is_set()
    may_go_on.set()
    assert hangs.is_told.wait(10)
    assert (len(passes.told), len(hangs.told)) == (1, 1)


def test_an_error_after_the_first_answers_reaches_the_others_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OperationalError("away")

    def publish(screened: Screened, arrived: Mapping[UUID, float]) -> Iterator[dict[UUID, Answer]]:
        yield dict(screened.refusals)
        raise error

    monkeypatch.setattr(submitting, "publish", publish)
    asking = ask(Gathering(), claims(2))

    assert answers(asking) == [error, Refused(code=Code.OUT_OF_STOCK)]
