"""The Redis lock of a coupon, on a real Redis: it saves work and stops nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis_lock
from django.conf import settings
from django_redis import get_redis_connection
from prometheus_client import REGISTRY
from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from coupons.issuing import locks
from coupons.issuing.locks import coupon_locks
from dev.processes import free_port

CONFIGURED_WAIT_S = settings.CONFIG.consumer.lock_wait_s


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = replace(settings.CONFIG.consumer, lock_wait_s=2, lock_expiry_s=5)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))


@pytest.fixture
def _redis_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    nobody = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(locks, "get_redis_connection", lambda alias: nobody)
    yield
    nobody.close()


def key(coupon_id: int) -> str:
    return f"lock:{{coupon:{coupon_id}}}"


def is_locked(coupon_id: int) -> bool:
    return bool(get_redis_connection("locks").exists(key(coupon_id)))


def misses(cause: str) -> float:
    return REGISTRY.get_sample_value("coupon_lock_misses_total", {"cause": cause}) or 0.0


def held_by_another(coupon_id: int) -> redis_lock.Lock:
    lock = redis_lock.Lock(get_redis_connection("locks"), f"{{coupon:{coupon_id}}}", expire=30)
    assert lock.acquire(blocking=False)
    return lock


def test_a_lock_is_waited_for_longer_than_any_other_call() -> None:
    """django-redis gives the same pool to two caches of one URL, with the timeouts of the first."""
    timeouts = [
        get_redis_connection(alias).connection_pool.connection_kwargs["socket_timeout"]
        for alias in ("default", "locks")
    ]

    assert timeouts == [settings.CONFIG.redis.timeout_s, CONFIGURED_WAIT_S + 1]


def test_the_locks_are_held_inside_and_gone_after() -> None:
    with coupon_locks([1, 2]):
        assert is_locked(1)
        assert is_locked(2)

    assert not is_locked(1)
    assert not is_locked(2)


def test_the_locks_are_gone_after_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), coupon_locks([1]):
        raise ZeroDivisionError

    assert not is_locked(1)


def test_a_lock_of_a_dead_consumer_expires() -> None:
    with coupon_locks([1]):
        assert 0 < get_redis_connection("locks").ttl(key(1)) <= 5


def test_locks_are_taken_in_one_order_whatever_order_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    set_key = Pipeline.set

    def noted(pipeline: Pipeline, name: str, *args: Any, **named: Any) -> object:
        asked.append(name)
        return set_key(pipeline, name, *args, **named)

    monkeypatch.setattr(Pipeline, "set", noted)

    with coupon_locks([30, 4, 100, 4]):
        pass

    assert asked == [key(4), key(30), key(100)]


def test_a_lock_of_the_library_itself_is_excluded_and_gets_its_turn() -> None:
    other = redis_lock.Lock(get_redis_connection("locks"), "{coupon:1}", expire=30)
    with coupon_locks([1]):
        assert not other.acquire(blocking=False)
        threading.Timer(0.3, other.acquire, kwargs={"timeout": 5}).start()
        time.sleep(0.6)
        assert get_redis_connection("locks").get(key(1)) != other.id.encode()

    # Its wait ends with our release, long before its five seconds.
    time.sleep(0.3)
    assert get_redis_connection("locks").get(key(1)) == other.id.encode()
    other.release()


def test_who_waits_for_a_busy_lock_holds_none_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    other = held_by_another(2)
    seen: list[list[bool]] = []

    def look_then_release() -> None:
        seen.append([is_locked(coupon_id) for coupon_id in (1, 2, 3)])
        other.release()

    threading.Timer(0.5, look_then_release).start()
    before = misses("busy")
    with coupon_locks([1, 2, 3]):
        held = [is_locked(coupon_id) for coupon_id in (1, 2, 3)]

    assert seen == [[True, True, False]]
    assert held == [True] * 3
    assert misses("busy") == before
    assert not any(map(is_locked, (1, 2, 3)))


def test_two_that_want_each_others_locks_do_not_wait_in_a_ring() -> None:
    before, started = misses("busy"), time.monotonic()

    def take_turns(coupon_ids: list[int]) -> None:
        for _ in range(30):
            with coupon_locks(coupon_ids):
                pass

    threads = [threading.Thread(target=take_turns, args=(ids,)) for ids in ([1, 2, 3, 4], [4, 2, 1], [3, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert misses("busy") == before
    assert time.monotonic() - started < 10


def test_the_wait_is_bounded_however_many_locks_are_busy() -> None:
    others = [held_by_another(coupon_id) for coupon_id in (1, 3, 5, 7)]
    before, started = misses("busy"), time.monotonic()

    with coupon_locks(list(range(1, 9))):
        waited_s = time.monotonic() - started
        assert all(map(is_locked, (2, 4, 6, 8)))

    assert 1 <= waited_s < 3
    assert misses("busy") == before + 4
    assert not any(map(is_locked, (2, 4, 6, 8)))
    assert all(map(is_locked, (1, 3, 5, 7)))
    for other in others:
        other.release()


def test_two_holders_of_one_coupon_take_turns() -> None:
    journal: list[str] = []

    def second() -> None:
        with coupon_locks([1]):
            journal.append("second")

    thread = threading.Thread(target=second)
    with coupon_locks([1]):
        thread.start()
        time.sleep(0.3)
        journal.append("first is done")
    thread.join(60)

    assert journal == ["first is done", "second"]


def test_other_coupons_do_not_wait() -> None:
    held_by_another(2)

    started = time.monotonic()
    with coupon_locks([1]):
        pass

    assert time.monotonic() - started < 0.5


@pytest.mark.usefixtures("_redis_away")
def test_without_redis_the_work_goes_on() -> None:
    before = misses("redis_away")
    done = False

    with coupon_locks([1, 2]):
        done = True

    assert done
    assert misses("redis_away") == before + 1


def test_a_lock_that_expired_meanwhile_is_counted_and_no_error() -> None:
    before = misses("expired")

    with coupon_locks([1, 2]):
        get_redis_connection("locks").delete(key(1))

    assert misses("expired") == before + 1
    assert not is_locked(2)


def test_a_lock_that_expired_and_was_taken_by_another_stays_the_others() -> None:
    with coupon_locks([1]):
        get_redis_connection("locks").delete(key(1))
        other = held_by_another(1)

    assert is_locked(1)
    other.release()


def test_redis_lost_while_the_lock_is_held_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(pipeline: Pipeline) -> None:
        raise RedisConnectionError

    before = misses("redis_away")

    with coupon_locks([1]):
        monkeypatch.setattr(Pipeline, "execute", away)

    assert misses("redis_away") == before + 1
