"""Who asks for what nobody knows holds up neither health nor whoever asks for what is known."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from coupons.eventlog.events import encode, partition_key
from tests import broker
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, ask, eventually

_ASKERS = 50
_UNDECIDED = 30_000
#: Before, one answer took 2 to 15 s.
_QUICK_S = 1.5
#: What a machine that does other things may add, as a multiple of what it takes while nobody else asks.
_ON_A_BUSY_MACHINE = 10


@contextmanager
def asking(port: int, path: str) -> Iterator[dict[int, int]]:
    """A crowd that asks on and on; ``{}`` of the path is a new id each time. Yields the answers' statuses."""
    stop = threading.Event()
    statuses: dict[int, int] = {}

    def ask_on() -> None:
        while not stop.is_set():
            status = ask(port, "GET", path.format(uuid.uuid4()), patience_s=30).status
            statuses[status] = statuses.get(status, 0) + 1

    threads = [threading.Thread(target=ask_on) for _ in range(_ASKERS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def took_s(port: int, path: str, *, status: int = 200) -> float:
    started = time.monotonic()
    answer = ask(port, "GET", path, patience_s=30)
    assert answer.status == status, answer
    return time.monotonic() - started


def median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def quick_s(port: int) -> float:
    """Told before the crowd comes: what a quick answer takes at the most, on this machine and now."""
    return _QUICK_S + _ON_A_BUSY_MACHINE * median(
        [took_s(port, "/actuator/health/liveness") for _ in range(9)]
    )


@pytest.fixture
def backlog_system(transactional_db: None, topic: str) -> Iterator[System]:
    """An API whose log holds many undecided events, and no consumer."""
    broker.write(
        topic,
        *[encode(make_event(coupon_id=7, user_id=user)) for user in range(1, _UNDECIDED + 1)],
        key=partition_key(7),
        together=True,
    )
    with System(topic=topic, consumers=0, env={"COUPON_API_WORKERS": "1"}) as system:
        yield system


def test_ids_that_nobody_knows_hold_up_nobody_else(backlog_system: System) -> None:
    system = backlog_system
    coupon, [user] = make_coupon(), make_users(1)
    tracked = system.claim(coupon.pk, user).body["requestId"]
    known = f"/api/coupons/requests/{tracked}"
    routes = ["/actuator/health/readiness", "/actuator/health", "/actuator/prometheus", known]
    routes += [f"/api/coupons/{coupon.pk}", f"/api/coupons/{coupon.pk}/queue-size"]

    quick = quick_s(system.api.port)
    with asking(system.api.port, "/api/coupons/requests/{}") as statuses:
        eventually(lambda: bool(statuses), within_s=60)
        times = {route: [took_s(system.api.port, route) for _ in range(9)] for route in routes}

    assert {route: taken for route, taken in times.items() if median(taken) > quick} == {}
    assert set(statuses) == {404}


def test_what_is_undecided_is_found_among_them(backlog_system: System) -> None:
    """Redis knows nothing of these: the log does."""
    system = backlog_system
    event = make_event(coupon_id=7, user_id=9)
    broker.write(system.topic, encode(event), key=partition_key(7))
    path = f"/api/coupons/requests/{event.request_id}"
    took_s(system.api.port, path)
    quick = quick_s(system.api.port)

    with asking(system.api.port, "/api/coupons/requests/{}"):
        times = [took_s(system.api.port, path) for _ in range(9)]
        position = ask(system.api.port, "GET", path).body["position"]

    assert median(times) < quick
    assert position == _UNDECIDED


def test_queue_sizes_of_cold_coupons_hold_up_nobody_else(backlog_system: System) -> None:
    system = backlog_system
    coupon = make_coupon()

    quick = quick_s(system.api.port)
    with asking(system.api.port, f"/api/coupons/{coupon.pk}/queue-size") as statuses:
        eventually(lambda: bool(statuses), within_s=60)
        times = [took_s(system.api.port, f"/api/coupons/{coupon.pk}") for _ in range(9)]
        times += [took_s(system.api.port, "/actuator/health/readiness") for _ in range(9)]

    assert median(times) < quick
    assert set(statuses) == {200}


@pytest.mark.parametrize("role", ["api", "consumer"])
def test_slow_clients_hold_up_no_probe(running: System, role: str) -> None:
    port = running.api.port if role == "api" else running.consumers[0].port
    quick = quick_s(port)
    with ExitStack() as opened:
        for _ in range(400):
            slow = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            slow.sendall(b"GET /actuator/health HTTP/1.1\r\nHost: localhost\r\nX: ")
        times = [took_s(port, "/actuator/health/readiness") for _ in range(9)]

    assert median(times) < quick


def test_a_consumers_slow_clients_cost_no_threads_and_are_hung_up_on(running: System) -> None:
    consumer = running.consumers[0]

    def threads() -> int:
        with open(f"/proc/{consumer.process.pid}/status") as file:
            [line] = [line for line in file if line.startswith("Threads:")]
        return int(line.split()[1])

    before = threads()
    with ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(("127.0.0.1", consumer.port), timeout=20))
            for _ in range(200)
        ]
        took_s(consumer.port, "/actuator/health/readiness")
        assert threads() < before + 20
        assert slow[0].recv(1) == b""
