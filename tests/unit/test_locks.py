"""The Redis lock of a coupon, on a real Redis: it saves work and stops nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis_lock
from django.conf import settings
from django_redis import get_redis_connection
from prometheus_client import REGISTRY
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from coupons import locks
from coupons.locks import coupon_locks
from deploy.services.own import free_port


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
    taken: list[str] = []
    acquire = redis_lock.Lock.acquire

    def noted(lock: redis_lock.Lock, **how: object) -> bool:
        taken.append(lock._name)
        return bool(acquire(lock, **how))

    monkeypatch.setattr(redis_lock.Lock, "acquire", noted)

    with coupon_locks([30, 4, 100, 4]):
        pass

    assert taken == [key(4), key(30), key(100)]


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
    thread.join(5)

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
    def away(lock: redis_lock.Lock) -> None:
        raise RedisConnectionError

    before = misses("redis_away")
    monkeypatch.setattr(redis_lock.Lock, "release", away)

    with coupon_locks([1]):
        pass

    assert misses("redis_away") == before + 1
