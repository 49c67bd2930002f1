"""A worker that is asked to stop answers every claim that it has reserved or published."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key
from coupons.eventlog.producer import event_producer
from coupons.figures import flushing, reading
from coupons.gate.admission import gate
from coupons.models import Coupon, IssueOutcome
from tests.factories import make_coupon, make_coupons, make_event, make_users
from tests.system import Process, System, ask, eventually

_BUSY = 16
_IDLE = 30


@dataclass(slots=True, kw_only=True)
class Crowd:
    """Clients that claim one after the other on connections that they keep, each claim with a new user."""

    port: int
    coupon: Coupon
    users: Iterator[int]
    answered: set[int] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def claim_on_and_on(self) -> None:
        while not self.stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
            try:
                connection.connect()
            except OSError:  # the port is closed: no claim was sent
                time.sleep(0.05)
                continue
            self._claim_on(connection)
            connection.close()

    def _claim_on(self, connection: http.client.HTTPConnection) -> None:
        while not self.stop.is_set():
            with self.lock:
                user = next(self.users)
            try:
                connection.request("POST", f"/api/coupons/{self.coupon.pk}/issue?userId={user}")
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                self.unanswered.add(user)
                return
            self.answered.add(user)
            self.statuses.add(response.status)
            if response.will_close:
                return

    @contextmanager
    def claiming(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.claim_on_and_on) for _ in range(_BUSY)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(60)


@contextmanager
def idle_connections(port: int, count: int = _IDLE) -> Iterator[list[socket.socket]]:
    """Kept connections that have had an answer and ask for nothing more."""
    with ExitStack() as opened:
        connections = []
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            connection.sendall(b"GET /actuator/health/liveness HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            connections.append(connection)
        yield connections


def crowd_on(system: System) -> Crowd:
    coupon = make_coupon(stock=1_000_000)
    return Crowd(port=system.api.port, coupon=coupon, users=iter(make_users(30_000)))


def assert_that_all_who_hold_something_were_answered(crowd: Crowd) -> None:
    assert crowd.answered
    assert crowd.statuses <= {202, 503}
    reserved = {claim.user_id for claim in gate.reservations(limit=100_000, coupon_id=crowd.coupon.pk)}
    decided = set(IssueOutcome.objects.filter(coupon_id=crowd.coupon.pk).values_list("user_id", flat=True))
    assert (reserved | decided) - crowd.answered == set()


def assert_quiet(server: Process) -> None:
    """gunicorn catches what its hooks raise, and tells it here."""
    assert "Traceback" not in server.output()
    assert "Exception" not in server.output()


def ended(server: Process) -> bool:
    return server.process.poll() is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_holds_something_was_answered(system: System, number: signal.Signals) -> None:
    """SIGINT goes to the workers too, as from a terminal."""
    crowd = crowd_on(system)
    with idle_connections(system.api.port) as idle, crowd.claiming():
        time.sleep(1)
        if number is signal.SIGINT:
            system.api.signal(number)
        else:
            system.api.process.send_signal(number)
        eventually(lambda: ended(system.api), within_s=30, what=system.api.output)
        crowd.stop.set()
        assert all(connection.recv(1) == b"" for connection in idle)  # closed, not reset

    assert system.api.process.returncode == 0
    assert_quiet(system.api)
    assert_that_all_who_hold_something_were_answered(crowd)


def workers_of(server: Process) -> set[int]:
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as file:
        return {int(pid) for pid in file.read().split()}


def test_a_reload_answers_all_and_the_port_never_closes(system: System) -> None:
    crowd = crowd_on(system)
    before = workers_of(system.api)
    with idle_connections(system.api.port), crowd.claiming():
        time.sleep(1)
        system.api.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: len(now := workers_of(system.api)) == len(before) and not now & before,
            within_s=60,
            what=system.api.output,
        )
        time.sleep(1)

    assert_quiet(system.api)
    assert_that_all_who_hold_something_were_answered(crowd)
    assert ask(system.api.port, "GET", "/actuator/health/liveness").status == 200


def test_workers_whose_master_was_killed_answer_and_end(system: System) -> None:
    crowd = crowd_on(system)
    workers = workers_of(system.api)
    with idle_connections(system.api.port), crowd.claiming():
        time.sleep(1)
        os.kill(system.api.process.pid, signal.SIGKILL)
        eventually(lambda: not any(is_running(pid) for pid in workers), within_s=40)

    assert_quiet(system.api)
    assert_that_all_who_hold_something_were_answered(crowd)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_idle_worker_stops_within_seconds(running: System) -> None:
    server = running.new_api()
    server.command += ["--graceful-timeout", "60"]
    server.start()
    try:
        server.wait_ready()
        with idle_connections(server.port):
            assert server.stop() == 0  # within 30 s: gunicorn itself would wait for its whole time
    finally:
        server.kill()


def test_an_idle_connection_is_kept_for_as_long_as_the_setting_says(running: System) -> None:
    server = running.new_api(COUPON_API_KEEPALIVE_S="1", COUPON_API_WORKERS="1")
    server.start()
    try:
        server.wait_ready()
        with idle_connections(running.api.port) as kept, idle_connections(server.port) as closed:
            assert all(connection.recv(1) == b"" for connection in closed)
            time.sleep(1)
            kept[0].sendall(b"GET /actuator/health/liveness HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept[0].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        server.kill()


def test_idle_connections_make_room_for_those_who_come(running: System) -> None:
    server = running.new_api(COUPON_API_WORKERS="1")
    server.command += ["--worker-connections", "20"]
    server.start()
    try:
        server.wait_ready()
        with idle_connections(server.port, 18) as first:
            time.sleep(1.5)
            with idle_connections(server.port, 15) as later:  # each is answered
                assert [connection.recv(1) for connection in first[:12]] == [b""] * 12
                later[-1].sendall(b"GET /actuator/health/liveness HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert later[-1].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        server.kill()


#: More than a flush writes while others follow it, for some seconds.
_COUPONS = 8 * flushing.MOST_ROWS


def test_no_figure_is_lost_when_workers_stop(system: System) -> None:
    """A refusal is a figure too, and is cheap."""
    coupons, nobody = make_coupons(_COUPONS), 2**62

    def claim(some: list[int]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", system.api.port, timeout=40)
        for coupon_id in some:
            connection.request("POST", f"/api/coupons/{coupon_id}/issue?userId={nobody}")
            assert b"USER_NOT_FOUND" in connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(_BUSY) as pool:
        list(pool.map(claim, [coupons[n::_BUSY] for n in range(_BUSY)]))
    system.api.process.send_signal(signal.SIGTERM)
    eventually(lambda: ended(system.api), within_s=30, what=system.api.output)

    assert_quiet(system.api)
    told = {pk: reading.total(reading.by_step(pk, since=0, until=2**40)).answers for pk in coupons}
    assert told == {pk: {"USER_NOT_FOUND": 1} for pk in coupons}


def test_no_figure_is_lost_when_a_consumer_stops(system: System) -> None:
    coupons, [user] = make_coupons(_COUPONS), make_users(1)
    records = [
        Record(key=partition_key(pk), value=encode(make_event(coupon_id=pk, user_id=user))) for pk in coupons
    ]
    event_producer().publish(records)
    decided = IssueOutcome.objects.filter(coupon_id__in=coupons)
    eventually(lambda: decided.count() == len(coupons), within_s=60)

    [consumer] = system.consumers
    consumer.process.send_signal(signal.SIGTERM)
    eventually(lambda: ended(consumer), within_s=60, what=consumer.output)

    told = {pk: reading.total(reading.by_step(pk, since=0, until=2**40)).decisions for pk in coupons}
    assert told == {pk: {"ISSUED": 1} for pk in coupons}
