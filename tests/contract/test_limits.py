"""A worker with few file descriptors, and one whose time to stop is over."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.system import Process, System, eventually

_FEW_FILES = 300
_LIVENESS = b"GET /actuator/health/liveness HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def few_files(running: System) -> Iterator[Process]:
    server = running.new_api(COUPON_API_WORKERS="1")
    server.command = ["sh", "-c", f'ulimit -n {_FEW_FILES} && exec "$@"', "sh", *server.command]
    yield server
    server.kill()


def opened(exits: ExitStack, port: int, sends: bytes) -> socket.socket:
    connection = exits.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
    connection.sendall(sends)
    return connection


@contextmanager
def request_in_hand(port: int) -> Iterator[socket.socket]:
    """A request whose last byte has not come."""
    with ExitStack() as exits:
        head = b"POST /actuator/health/liveness HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{"
        yield opened(exits, port, head)


def test_more_connections_than_files_are_answered_all_the_same(few_files: Process) -> None:
    """Each new one takes the place of one that is idle."""
    few_files.start()
    few_files.wait_ready()
    with ExitStack() as exits:
        for _ in range(8):
            for _ in range(50):
                assert opened(exits, few_files.port, _LIVENESS).recv(100).startswith(b"HTTP/1.1 200")
            time.sleep(1.2)

    assert few_files.stop() == 0
    assert "Too many open files" not in few_files.output()


def test_who_stops_without_a_file_left_answers_what_is_in_hand(few_files: Process) -> None:
    few_files.command += ["--worker-connections", "10000"]
    few_files.start()
    few_files.wait_ready()
    with request_in_hand(few_files.port) as in_hand, ExitStack() as exits:
        for _ in range(_FEW_FILES):
            opened(exits, few_files.port, b"")
        eventually(lambda: "Too many open files" in few_files.output(), what=few_files.output)
        few_files.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        in_hand.sendall(b"}")
        assert in_hand.recv(100).startswith(b"HTTP/1.1 405")
        eventually(lambda: few_files.process.poll() is not None, within_s=30, what=few_files.output)

    assert few_files.process.returncode == 0


def test_a_worker_ends_before_its_master_kills_it(running: System) -> None:
    """It says how many it cuts off, and delivers what its producer holds."""
    server = running.new_api(COUPON_API_WORKERS="1")
    server.command += ["--graceful-timeout", "5"]
    server.start()
    try:
        server.wait_ready()
        with request_in_hand(server.port):
            time.sleep(0.5)
            assert server.stop() == 0
    finally:
        server.kill()

    assert "1 connections are cut off" in server.output()


@pytest.mark.parametrize("setting", ["--access-logfile=-", "--certfile=README.md", "--proxy-protocol"])
def test_a_setting_that_would_have_no_effect_is_refused(running: System, setting: str) -> None:
    """gunicorn would do it in its own HTTP, which is not ours."""
    server = running.new_api(COUPON_API_WORKERS="1")
    server.command += [setting]
    server.start()
    try:
        eventually(lambda: server.process.poll() is not None, within_s=30, what=server.output)
        assert server.process.returncode != 0
        assert "has no effect here" in server.output()
    finally:
        server.kill()
