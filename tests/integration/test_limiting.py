"""Token buckets in Redis: what is let through, what is left, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import pytest
from django.conf import settings as django_settings
from django_redis import get_redis_connection
from prometheus_client import REGISTRY

from coupons.api.limits import MOST_HELD, Held, too_many
from coupons.claims import limiting
from coupons.claims.limiting import Counted, EmptyBuckets, Limiting
from coupons.gate import limits
from coupons.gate.admission import GateUnavailable
from coupons.gate.limits import Asking, Bucket, Verdict
from runtime.config.limits import Limit, LimitSettings
from tests.asking import Client, request_of

SECOND_US = 1_000_000
#: A token of a user every 10 s, of an address every second.
SETTINGS = LimitSettings(user=Limit(per_minute=6, burst=2), address=Limit(per_minute=60, burst=5))


def take(*asking: Asking, settings: LimitSettings = SETTINGS) -> list[Verdict]:
    return limits.take(settings, asking)


def is_let(verdict: Verdict) -> bool:
    return not verdict.wait_us


def test_a_burst_is_let_through_and_no_more() -> None:
    verdicts = take(*[Asking("203.0.113.7")] * 7)

    assert [is_let(each) for each in verdicts] == [True] * 5 + [False] * 2
    assert 0 < verdicts[-1].wait_us <= SECOND_US
    left = [
        each.address.remaining(SETTINGS.address) for each in verdicts if each.address and SETTINGS.address
    ]
    assert left == [4, 3, 2, 1, 0, 0, 0]


def test_the_count_is_one_for_all_calls() -> None:
    told = [is_let(take(Asking("203.0.113.7"))[0]) for _ in range(7)]

    assert told == [True] * 5 + [False] * 2


def test_a_token_comes_back_after_its_interval() -> None:
    quick = LimitSettings(address=Limit(per_minute=1200, burst=1))  # one every 50 ms
    first, second = take(Asking("203.0.113.7"), Asking("203.0.113.7"), settings=quick)
    time.sleep(second.wait_us / 1e6 + 0.01)

    assert (is_let(first), is_let(second)) == (True, False)
    assert is_let(take(Asking("203.0.113.7"), settings=quick)[0])


def test_users_are_told_apart_and_addresses_too() -> None:
    asking = [Asking("203.0.113.7", 1), Asking("203.0.113.7", 1), Asking("203.0.113.7", 1)]
    *_, refused = take(*asking)

    assert refused.user is not None
    assert 0 < refused.user.wait_us <= 10 * SECOND_US
    assert is_let(take(Asking("203.0.113.7", 2))[0])
    assert is_let(take(Asking("203.0.113.8", 3))[0])


def test_a_refusal_takes_nothing_from_the_other_bucket() -> None:
    """Else somebody could use up what a user's neighbours have, or what another user has."""
    take(*[Asking("203.0.113.7", 1)] * 2)  # the user's burst; the address has 3 left
    take(*[Asking("203.0.113.7", 1)] * 50)
    assert [is_let(each) for each in take(*[Asking("203.0.113.7")] * 4)] == [True, True, True, False]

    take(*[Asking("203.0.113.7", 2)] * 50)  # the address is empty
    assert [is_let(each) for each in take(*[Asking("203.0.113.8", 2)] * 3)] == [True, True, False]


def test_what_is_off_limits_nobody() -> None:
    only_users = LimitSettings(user=SETTINGS.user)

    verdicts = take(*[Asking("203.0.113.7")] * 9, Asking("203.0.113.7", 1), settings=only_users)

    assert all(map(is_let, verdicts))
    assert {verdict.address for verdict in verdicts} == {None}
    assert take(Asking("203.0.113.7", 1), settings=LimitSettings()) == [Verdict(None, None)]


def test_buckets_expire_when_they_are_full() -> None:
    """Thousands of addresses that ask once are forgotten within one burst's time."""
    redis = get_redis_connection("default")
    take(*[Asking(f"203.0.{number // 250}.{number % 250}") for number in range(500)])

    keys = list(redis.scan_iter("{coupon-limits}:*", count=1000))
    assert len(keys) == 500
    assert all(0 < redis.pttl(key) <= 1000 for key in keys)


def test_a_damaged_bucket_is_a_full_one() -> None:
    redis = get_redis_connection("default")
    for value in ("x", "-5", "1e300", "9" * 30):
        redis.set("{coupon-limits}:address:203.0.113.7", value)
        assert is_let(take(Asking("203.0.113.7"))[0])
    redis.delete("{coupon-limits}:address:203.0.113.7")
    redis.rpush("{coupon-limits}:address:203.0.113.7", "x")
    assert is_let(take(Asking("203.0.113.7"))[0])


def test_a_redis_that_forgot_the_script_is_told_again() -> None:
    take(Asking("203.0.113.7"))
    get_redis_connection("default").script_flush()

    [verdict] = take(Asking("203.0.113.7"))

    assert verdict.address is not None
    assert SETTINGS.address is not None
    assert verdict.address.remaining(SETTINGS.address) == 3


def test_a_batch_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = get_redis_connection("default")
    take(Asking("203.0.113.1"))
    before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    take(*[Asking(f"203.0.113.{number}", number) for number in range(1, 251)])

    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1


def test_the_known_to_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "MOST_EMPTY", 10)
    empty = EmptyBuckets()
    for number in range(1000):
        empty.note(f"203.0.113.{number}", Bucket(wait_us=60 * SECOND_US, full_in_us=0))

    assert len(empty) == 10
    assert empty.find("203.0.113.999") is not None
    assert empty.find("203.0.113.1") is None


def test_who_waited_long_enough_is_asked_for_again() -> None:
    empty = EmptyBuckets()
    empty.note("203.0.113.7", Bucket(wait_us=1, full_in_us=0))
    empty.note(7, Bucket(wait_us=0, full_in_us=0))
    time.sleep(0.001)

    assert empty.find("203.0.113.7") is None
    assert empty.find(7) is None
    assert len(empty) == 0


def run_in_loop(limiter: Limiting, asking: list[Asking]) -> list[Verdict | None]:
    told: list[Verdict | None] = []
    for each in asking:
        limiter.take(each, told.append)
    with gevent.Timeout(10):
        while len(told) < len(asking):
            gevent.sleep(0.005)
    return told


@pytest.mark.usefixtures("in_a_loop")
def test_a_flood_asks_redis_once_for_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    take_tokens: Callable[..., list[Verdict]] = limits.take

    def counted(settings: LimitSettings, asking: list[Asking]) -> list[Verdict]:
        asked.append(len(asking))
        return take_tokens(settings, asking)

    monkeypatch.setattr(limits, "take", counted)
    limiter = Limiting(SETTINGS)
    run_in_loop(limiter, [Asking("203.0.113.7")] * 6)

    told = run_in_loop(limiter, [Asking("203.0.113.7")] * 1000)

    assert not any(verdict is None or is_let(verdict) for verdict in told)
    assert asked == [6]
    assert limiter.known(Asking("203.0.113.7")) is not None
    assert limiter.known(Asking("203.0.113.8")) is None


def unlimited() -> float:
    return REGISTRY.get_sample_value("coupon_unlimited_total") or 0.0


@pytest.mark.usefixtures("in_a_loop")
def test_without_redis_nobody_is_limited_and_a_metric_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(settings: LimitSettings, asking: list[Asking]) -> list[Verdict]:
        raise GateUnavailable("away")

    monkeypatch.setattr(limits, "take", away)
    before = unlimited()

    assert run_in_loop(Limiting(SETTINGS), [Asking("203.0.113.7", 1)] * 20) == [None] * 20
    assert unlimited() == before + 20


@pytest.mark.usefixtures("in_a_loop")
def test_a_batch_of_claims_is_counted_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that must not go on are told, and so are those that may: their answers say what is left."""
    asked: list[int] = []
    take_tokens = limits.take

    def counting(settings: LimitSettings, asking: list[Asking]) -> list[Verdict]:
        asked.append(len(asking))
        return take_tokens(settings, asking)

    def passes(verdict: Verdict | None) -> bool:
        told.append(verdict)
        return verdict is not None and is_let(verdict)

    monkeypatch.setattr(limits, "take", counting)
    told: list[Verdict | None] = []
    limiting.start(SETTINGS)
    batch = [None, *[Counted(Asking("203.0.113.7", 1), passes)] * 3, None]

    assert limiting.within(batch) == [True, True, True, False, True]
    assert limiting.within(batch) == [True, False, False, False, True]
    assert limiting.within([None, None]) == [True, True]
    assert len(told) == 6
    assert asked == [3]  # the second time it is known that the user has to wait
    limiting.start(LimitSettings())
    assert limiting.within(batch) == [True] * 5


@pytest.mark.usefixtures("in_a_loop")
def test_answers_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a flood takes the connections of others; what is beyond is answered at once."""
    held, client = Held(), Client()
    reply = too_many("en", retry_after_s=7)
    for number in range(MOST_HELD + 5):
        held.answer_later(request_of(client, "GET", f"/{number}"), reply)

    assert len(client.replies) == 5
    with gevent.Timeout(10):
        while len(client.replies) < MOST_HELD + 5:
            gevent.sleep(0.05)
    held.answer_later(request_of(client, "GET", "/again"), reply)
    assert len(client.replies) == MOST_HELD + 5


def test_limits_are_off_unless_they_are_set() -> None:
    assert not django_settings.CONFIG.limits.is_on
