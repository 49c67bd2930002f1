"""What a consumer does beside the log goes on whatever happens to it, and says what does."""

from __future__ import annotations

import pytest

from consumer import housekeeping
from consumer.housekeeping import Housekeeper, taking_turn
from coupons import coupon_cache
from coupons.eventlog.backlog import LogUnavailable
from coupons.gate import loading
from coupons.gate.admission import (
    gate,
)
from coupons.gate.catching_up import CatchingUp
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon
from tests.factories import make_coupon, make_requests, make_users
from tests.system import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "STEP_S", 0.05)


class Rounds:
    """Stands in for LeakSearch: counted, and failing as often as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.begun = 0
        self.advanced = 0

    def __call__(self, *_: object, **__: object) -> Rounds:
        self.begun += 1
        if self.failures:
            raise self.failures.pop()
        return self

    def advance(self) -> list[object]:
        self.advanced += 1
        return []


def test_a_bug_of_ours_is_told_in_health_and_tried_again(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(*[KeyError("for the test")] * 1000)
    monkeypatch.setattr(housekeeping, "LeakSearch", rounds)
    housekeeper = Housekeeper()

    with housekeeper.running():
        eventually(lambda: not housekeeper.health().is_up)
        assert housekeeper.health().details == {"error": "KeyError: 'for the test'"}
        rounds.failures = []
        eventually(lambda: housekeeper.health().is_up)


def test_it_goes_on_without_redis(
    topic: str, monkeypatch: pytest.MonkeyPatch, redis_away: pytest.MonkeyPatch
) -> None:
    rounds = Rounds()
    monkeypatch.setattr(housekeeping, "LeakSearch", rounds)

    with Housekeeper().running():
        eventually(lambda: rounds.begun > 2)


def test_what_a_dead_consumer_did_not_tell_is_freed_when_its_partitions_come(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the dead one has the turn still, and though nobody won."""
    monkeypatch.setattr(housekeeping, "LeakSearch", Rounds())
    coupon, users = make_coupon(stock=2), make_users(3)
    requests = make_requests(coupon.pk, users)
    claims = [request.event.claim for request in requests]
    view = coupon_cache.cached_coupon(coupon.pk)
    assert view is not None
    loading.load(view)
    gate.admit(view, claims[:2])
    Coupon.objects.filter(pk=coupon.pk).update(stock=1)
    issue_coupons(requests[:2])  # one wins, one is rejected; and it died then
    assert gate.reserved(coupon.pk) == 2

    housekeeper = Housekeeper()
    with taking_turn(), housekeeper.running():
        housekeeper.partitions_came()
        eventually(lambda: gate.reserved(coupon.pk) == 0)

    state = gate.state(coupon.pk)
    assert state is not None
    assert state.issued == 1


def test_one_at_a_time(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with taking_turn() as ours, taking_turn() as theirs:
        assert ours is not None
        assert theirs is None
    with taking_turn() as again:
        assert again is not None


def test_gates_that_cannot_be_corrected_do_not_end_the_search_for_leaks(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a partition that stands still has undecided may be more than is read in time."""

    def look(catches: CatchingUp) -> list[int]:
        raise LogUnavailable("the events could not be read in time")

    rounds = Rounds()
    monkeypatch.setattr(housekeeping, "LeakSearch", rounds)
    monkeypatch.setattr(CatchingUp, "look", look)

    with Housekeeper().running():
        eventually(lambda: rounds.advanced > 2)
