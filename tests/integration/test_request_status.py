"""What became of a request: the database first, then Redis, then the log; and never back from final."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.claims import submitting, undecided
from coupons.claims.request_status import StatusReport, status_of
from coupons.eventlog import backlog, positions
from coupons.eventlog.backlog import Entry, LogUnavailable, Positions
from coupons.eventlog.events import CouponIssueEvent, IssueRequest, encode, partition_key
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset, Place
from coupons.eventlog.positions import Position
from coupons.gate import disclosed, pending
from coupons.gate.pending import Undecided
from coupons.issuing.deciding import issue_coupons
from coupons.outcomes import RequestStatus
from tests import broker
from tests.factories import make_coupon, make_event, make_requests, make_users, moved
from tests.system import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _log_not_read_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "index", undecided.UndecidedIndex())


class Log:
    """A log whose undecided events are this list; the group has decided up to offset 100."""

    def __init__(self) -> None:
        self.undecided: list[IssueRequest] = []
        self.next_to_decide = 100
        self.readings: list[dict[int, Positions]] = []

    def append(self, request: IssueRequest) -> None:
        self.undecided.append(request)

    def positions(self, *, timeout_s: float) -> dict[int, Positions]:
        end = max([request.place.offset + 1 for request in self.undecided] + [100])
        return {
            partition: Positions(
                first=FirstOffset(0), next_to_decide=NextOffset(self.next_to_decide), end=EndOffset(end)
            )
            for partition in (0, 1)
        }

    def read_all(self, at: Mapping[int, Positions], *, patience_s: float) -> Iterator[Entry]:
        self.readings.append(dict(at))
        for each in self.undecided:
            if each.place.offset >= at[each.place.partition].first:
                yield each.place, each


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(backlog, "positions", log.positions)
    monkeypatch.setattr(backlog, "read_all", log.read_all)
    return log


def note(request: IssueRequest) -> Undecided:
    """Remember it as the API does after the broker's acknowledgement."""
    pending.note([(request.event, request.place)])
    return request.event, request.place


@pytest.mark.parametrize("place", [Place(2, 10), None])
@pytest.mark.parametrize("after_ms", [0, 12, -5, 86_400_000, -86_400_000])
@pytest.mark.parametrize("user_id", [1, 23, 9_223_372_036_854_775_807])
def test_what_was_noted_is_found_as_it_was(place: Place | None, after_ms: int, user_id: int) -> None:
    request_id = uuid7()
    made_ms = request_id.int >> 80
    event = make_event(coupon_id=7, user_id=user_id, request_id=request_id, timestamp_ms=made_ms + after_ms)

    pending.note([(event, place)])

    assert pending.find(request_id) == (event, place)


def status(request_id: UUID) -> StatusReport:
    report = status_of(request_id)
    assert report is not None
    return report


def test_an_issued_request_is_told_with_everything() -> None:
    coupon, users = make_coupon(), make_users(2)
    requests = make_requests(coupon.pk, users, partition=2)
    issued = issue_coupons(requests)

    report = status(requests[1].event.request_id)

    assert (report.status, report.reason, report.rank) == (RequestStatus.ISSUED, None, 2)
    assert (report.coupon_id, report.user_id) == (coupon.pk, users[1])
    assert report.user_coupon_id == issued.user_coupon_ids[report.request_id]
    assert (report.partition, report.offset) == (2, 1)
    assert report.requested_at_ms == requests[1].event.timestamp_ms
    assert report.processed_at_ms is not None
    assert report.processed_at_ms >= requests[1].event.timestamp_ms
    assert (report.position, report.eta_s) == (None, None)


def test_a_rejected_request_is_told_why() -> None:
    [request] = make_requests(make_coupon(stock=0).pk, make_users(1))
    issue_coupons([request])

    report = status(request.event.request_id)

    assert (report.status, report.reason) == (RequestStatus.REJECTED, "OUT_OF_STOCK")
    assert (report.user_coupon_id, report.rank) == (None, None)


def stand(offsets: Mapping[int, int]) -> None:
    """This group is so far, by partition."""
    for partition, offset in offsets.items():
        positions.move(partition, to=Position(topic_id="any", next_offset=NextOffset(offset)))


def test_a_request_under_way_is_pending_with_its_place_in_the_log() -> None:
    [request] = make_requests(make_coupon().pk, make_users(1), partition=1)
    note(request)

    report = status(request.event.request_id)

    assert report.status is RequestStatus.PENDING
    assert (report.coupon_id, report.user_id) == (request.event.coupon_id, request.event.user_id)
    assert (report.partition, report.offset) == (1, 0)
    assert (report.position, report.eta_s) == (None, None)  # no consumer was here yet


def test_its_position_is_what_is_ahead_of_it_in_its_partition() -> None:
    requests = make_requests(make_coupon().pk, make_users(31), partition=1)
    note(requests[30])
    stand({1: 10, 0: 99})
    pending.forget([], {1: 40.0, 0: 1.0})

    report = status(requests[30].event.request_id)

    assert (report.position, report.eta_s) == (20, 0.5)


def test_a_position_is_never_negative_and_a_standing_consumer_promises_nothing() -> None:
    [request] = make_requests(make_coupon().pk, make_users(1))
    note(request)
    stand({0: 10})
    pending.forget([], {0: 0.0})

    report = status(request.event.request_id)

    assert (report.position, report.eta_s) == (0, None)


@pytest.mark.parametrize("pace", ["nan", "inf", "-1", "1e-320", "quick", ""])
def test_a_damaged_pace_promises_nothing(pace: str) -> None:
    requests = make_requests(make_coupon().pk, make_users(31))
    note(requests[30])
    stand({0: 10})
    pending.forget([], {0: 40.0})
    redis = get_redis_connection("default")
    [key] = redis.scan_iter("coupon-consumer-rate:*")
    redis.set(key, pace)

    report = status(requests[30].event.request_id)

    assert (report.position, report.eta_s) == (20, None)


def test_where_another_group_stands_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = make_requests(make_coupon().pk, make_users(31))
    note(requests[30])
    stand({0: 29})
    kafka = replace(settings.CONFIG.kafka, group_id="from-the-beginning")
    with monkeypatch.context() as other:
        other.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
        stand({0: 1})

    assert status(requests[30].event.request_id).position == 1


def test_an_uncertain_request_is_pending_without_a_place() -> None:
    claim = Claim(coupon_id=1, user_id=2, request_id=uuid7())
    pending.note([(CouponIssueEvent.of(claim, timestamp_ms=5), None)])

    report = status(claim.request_id)

    assert report.status is RequestStatus.PENDING
    assert (report.partition, report.offset, report.position) == (None, None, None)


def test_a_decided_request_is_never_pending_again() -> None:
    [request] = make_requests(make_coupon().pk, make_users(1))
    issue_coupons([request])

    note(request)  # the API's note came after the decision

    assert status(request.event.request_id).status is RequestStatus.ISSUED


def test_what_was_decided_is_forgotten_in_redis() -> None:
    [request] = make_requests(make_coupon().pk, make_users(1))
    note(request)
    assert pending.find(request.event.request_id) is not None

    pending.forget([request.event.request_id], {})

    assert pending.find(request.event.request_id) is None


def test_notes_go_by_themselves_after_an_hour() -> None:
    [request] = make_requests(make_coupon().pk, make_users(1))
    note(request)

    redis = get_redis_connection("default")
    [kept_s] = [redis.ttl(key) for key in redis.scan_iter("coupon-requests:*")]
    assert 0 < kept_s <= 3600


def test_what_is_read_back_is_what_was_noted() -> None:
    [request] = make_requests(2**63 - 1, [2**63 - 1], partition=2)

    assert note(request) == pending.find(request.event.request_id)


def test_a_request_that_nobody_knows_is_none(log: Log) -> None:
    assert status_of(uuid7()) is None


def test_after_a_flush_the_log_is_asked(log: Log) -> None:
    event = make_event(coupon_id=7, user_id=8)
    log.append(IssueRequest(event=event, place=Place(1, 104)))

    report = status(event.request_id)

    assert report.status is RequestStatus.PENDING
    assert (report.coupon_id, report.user_id) == (7, 8)
    assert (report.partition, report.offset, report.position) == (1, 104, 4)
    assert report.requested_at_ms == event.timestamp_ms


def test_without_redis_the_log_is_asked(log: Log, redis_away: pytest.MonkeyPatch) -> None:
    event = make_event(coupon_id=7, user_id=8)
    log.append(IssueRequest(event=event, place=Place(1, 104)))

    assert status(event.request_id).status is RequestStatus.PENDING


def kept() -> CouponIssueEvent:
    """An undecided request that the database keeps, and that Redis does not know."""
    event = make_event(coupon_id=7, user_id=8)
    disclosed.keep([event.claim])
    return event


def test_a_request_that_the_database_keeps_has_its_place_in_the_log(log: Log) -> None:
    """As of all who were accepted while Redis was away."""
    event = kept()
    log.append(IssueRequest(event=event, place=Place(1, 104)))

    report = status(event.request_id)

    assert (report.status, report.partition, report.offset, report.position) == ("PENDING", 1, 104, 4)


def test_a_request_that_the_database_keeps_is_pending_if_the_log_does_not_know_it(log: Log) -> None:
    event = kept()
    report = status(event.request_id)
    assert (report.status, report.user_id, report.position) == ("PENDING", 8, None)


@pytest.mark.parametrize("is_dead", [True, False])
def test_a_request_that_the_database_keeps_is_pending_while_the_log_is_away(
    is_dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def away(*, timeout_s: float) -> dict[int, Positions]:
        asked.append(timeout_s)
        raise LogUnavailable("away, for the test")

    monkeypatch.setattr(backlog, "positions", away)
    monkeypatch.setattr(submitting, "is_any_dead", lambda: is_dead)

    assert status(kept().request_id).status is RequestStatus.PENDING
    assert not (is_dead and asked), "who asks would wait for a broker that is known to be dead"


def test_what_is_decided_while_the_log_is_read_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    [request] = make_requests(make_coupon().pk, make_users(1))

    def find_nothing(request_id: UUID, **_: object) -> None:
        issue_coupons([request])

    monkeypatch.setattr(undecided.index, "find", find_nothing)

    assert status(request.event.request_id).status is RequestStatus.ISSUED


def test_when_only_the_log_could_tell_and_it_is_away_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*, timeout_s: float) -> dict[int, Positions]:
        raise LogUnavailable("away, for the test")

    monkeypatch.setattr(backlog, "positions", away)

    with pytest.raises(LogUnavailable):
        status_of(uuid7())


def test_many_who_ask_for_nothing_share_a_reading_of_the_log(log: Log) -> None:
    with ThreadPoolExecutor(40) as crowd:
        assert set(crowd.map(undecided.index.find, [uuid7() for _ in range(40)])) == {None}

    assert len(log.readings) <= 3


def test_what_was_read_is_not_read_again(log: Log) -> None:
    for number in range(3):
        log.append(IssueRequest(event=make_event(coupon_id=7, user_id=8), place=Place(1, 100 + number)))
        assert status_of(uuid7()) is None

    assert [reading[1].first for reading in log.readings] == [100, 101, 102]


def test_what_was_decided_is_counted_and_found_no_more(log: Log) -> None:
    requests = make_requests(7, [8, 9, 10])
    for number, request in enumerate(requests):
        log.append(moved(request, offset=100 + number))
    assert undecided.index.count(7) == 3

    log.next_to_decide = 102
    assert status_of(uuid7()) is None

    assert undecided.index.count(7) == 1
    assert undecided.index.find(requests[2].event.request_id) is not None
    assert undecided.index.find(requests[0].event.request_id) is None


def test_a_database_that_went_back_is_followed(log: Log) -> None:
    """Restored from a backup: what it forgot is undecided again."""
    request = make_event(coupon_id=7, user_id=8)
    log.append(IssueRequest(event=request, place=Place(1, 50)))
    assert undecided.index.find(request.request_id) is None

    log.next_to_decide = 40

    found = undecided.index.find(request.request_id)
    assert found is not None
    assert found[1] == 10


def test_a_topic_made_anew_is_read_from_its_beginning(log: Log) -> None:
    log.append(IssueRequest(event=make_event(coupon_id=7, user_id=8), place=Place(1, 150)))
    assert undecided.index.count(7) == 1

    log.next_to_decide = 0
    new = make_event(coupon_id=7, user_id=9)
    log.undecided = [IssueRequest(event=new, place=Place(1, 3))]

    assert undecided.index.find(new.request_id) is not None
    assert undecided.index.count(7) == 1


def test_what_is_known_of_the_log_is_told_without_reading_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecided, "FRESH_S", 60.0)  # a busy machine takes long for 20 answers
    event = make_event(coupon_id=7, user_id=8)
    log.append(IssueRequest(event=event, place=Place(1, 104)))
    assert status(event.request_id).position == 4
    readings = len(log.readings)

    for _ in range(20):
        assert status(event.request_id).position == 4

    assert len(log.readings) == readings


def reading_threads() -> set[threading.Thread]:
    """Those of earlier tests go on for a while."""
    return {thread for thread in threading.enumerate() if thread.name == "undecided"}


def test_nobody_asks_and_it_is_forgotten(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "FORGOTTEN_AFTER_S", 0.05)
    before = reading_threads()
    event = make_event(coupon_id=7, user_id=8)
    log.append(IssueRequest(event=event, place=Place(1, 104)))
    assert undecided.index.find(event.request_id) is not None

    eventually(lambda: reading_threads() <= before)

    assert undecided.index.find(event.request_id) is not None
    assert [reading[1].first for reading in log.readings] == [100, 100]  # from the beginning again


def test_a_request_accepted_since_the_log_was_read_is_found(log: Log) -> None:
    [earlier, later] = [
        moved(request, offset=100 + number) for number, request in enumerate(make_requests(7, [8, 9]))
    ]
    log.append(earlier)
    assert status(earlier.event.request_id).status is RequestStatus.PENDING

    log.append(later)

    assert status(later.event.request_id).status is RequestStatus.PENDING


def test_from_a_real_log(topic: str) -> None:
    event = make_event(coupon_id=7, user_id=8)
    [place] = broker.write(topic, encode(event), key=partition_key(7))

    report = status(event.request_id)

    assert report.status is RequestStatus.PENDING
    assert (report.partition, report.offset) == place
    assert report.position == 0


def test_noting_without_redis_is_no_error(redis_away: pytest.MonkeyPatch) -> None:
    [request] = make_requests(1, [2])

    note(request)

    redis_away.undo()
    assert pending.find(request.event.request_id) is None


def test_in_a_log_that_lost_its_end_the_position_counts_from_where_it_ended() -> None:
    """What was written there since is new, and all of it is still to be decided."""
    positions.move(2, to=Position(topic_id="one", next_offset=NextOffset(100), lost_end=EndOffset(80)))
    [_, second] = make_requests(7, [1, 2], partition=2)
    note(moved(second, offset=85))

    assert status(second.event.request_id).position == 5


@pytest.mark.parametrize("known_by", ["outcome", "redis", "disclosed", "log"])
def test_anothers_request_is_looked_for_everywhere_like_one_that_is_not_there(
    known_by: str, log: Log
) -> None:
    """The same questions to the database and the same reading of the log: the time tells nothing."""
    coupon, [owner] = make_coupon(), make_users(1)
    [request] = make_requests(coupon.pk, [owner])
    request_id = request.event.request_id
    if known_by == "outcome":
        issue_coupons([request])
    elif known_by == "redis":
        note(request)
    elif known_by == "disclosed":
        disclosed.keep([Claim(coupon_id=coupon.pk, user_id=owner, request_id=request_id)])
    else:
        log.append(moved(request, offset=100))
    assert status(request_id).user_id == owner

    def asked(wanted: UUID) -> tuple[int, int]:
        readings = len(log.readings)
        with CaptureQueriesContext(connection) as queries:
            assert status_of(wanted, may_see=lambda user_id: user_id == owner + 1) is None
        return len(queries), len(log.readings) - readings

    not_there = asked(uuid7())
    assert asked(request_id) == not_there
    assert not_there[1] == 1
