"""A load generator in a process of its own: one thread, epoll, raw sockets, keep-alive.

    python -m dev.bench.generator '{"port": 8080, "heads": ["/api/coupons/1/issue?userId="], ...}'

Open loop (``per_s``): a request is due at its scheduled time, whether or not the answers before it
have come, and its latency counts from then: a server that stalls is charged for everybody who had to
wait (no coordinated omission). Closed loop: a connection asks again as soon as it was answered.
"""

from __future__ import annotations

import gc
import json
import re
import resource
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import asdict, dataclass, replace
from typing import Final

from dev.bench.crowd import Plan, Report

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CODE: Final = re.compile(rb'"code":"([A-Z_]+)"')
_REQUEST: Final = "POST {head}{user} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    request: int = -1  #: the one in flight
    buffer: bytes = b""


class Crowd:
    """Everybody who claims."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._due, self._sent, self._took = array("d"), array("d"), array("d")
        self._statuses = array("h")
        self._codes: Counter[str] = Counter()
        self._answered = 0
        self._began = 0.0

    def run(self) -> Report:
        for _ in range(self._plan.connections):
            self._connect()
        gc.collect()
        gc.disable()  # nothing here is cyclic; a collection would be our own latency
        began_at, cpu = time.time(), time.process_time()
        self._began = time.monotonic()
        while self._answered < self._plan.count and self._now() < self._plan.limit_s:
            self._send_due()
            for number, _ in self._ready():
                self._receive(self._open[number])
        return self._report(began_at, time.process_time() - cpu)

    def lost(self) -> int:
        """How many connections the server has closed by now."""
        return sum(_is_closed(connection.socket) for connection in self._open.values())

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _connect(self) -> None:
        sources = self._plan.sources
        source = (sources[len(self._open) % len(sources)], 0) if sources else None
        peer = socket.create_connection(("127.0.0.1", self._plan.port), timeout=10, source_address=source)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setblocking(False)
        connection = _Connection(peer)
        self._open[peer.fileno()] = connection
        self._poll.register(peer, select.EPOLLIN)
        self._idle.append(connection)

    def _send_due(self) -> None:
        while self._idle and len(self._due) < self._plan.count:
            now = self._now()
            due = now if self._plan.per_s is None else len(self._due) / self._plan.per_s
            if due > now:
                return
            self._send(self._idle.popleft(), due=due, now=now)

    def _send(self, connection: _Connection, *, due: float, now: float) -> None:
        number = connection.request = len(self._due)
        self._due.append(due)
        self._sent.append(now)
        self._took.append(-1.0)
        self._statuses.append(0)
        head = self._plan.heads[number % len(self._plan.heads)]
        text = _REQUEST.format(head=head, user=self._plan.first_user + number)
        try:
            connection.socket.send(text.encode())
        except OSError:
            self._break(connection)

    def _ready(self) -> list[tuple[int, int]]:
        wait_s = 0.1
        if self._plan.per_s is not None and self._idle and len(self._due) < self._plan.count:
            wait_s = min(wait_s, max(0.0, len(self._due) / self._plan.per_s - self._now()))
        # epoll's own timeout has whole milliseconds: too coarse for thousands of requests a second.
        select.select([self._poll], [], [], wait_s)
        return self._poll.poll(0)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._break(connection)
            return
        connection.buffer += data
        status = whole_status(connection.buffer)
        if status is None:
            return
        if status != 202 and (code := _CODE.search(connection.buffer)):
            self._codes[code.group(1).decode()] += 1
        self._finish(connection, status)
        connection.buffer = b""
        self._idle.append(connection)

    def _break(self, connection: _Connection) -> None:
        """The server hung up: on a request (it counts as status 0) or on an idle connection."""
        del self._open[connection.socket.fileno()]
        connection.socket.close()
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self._finish(connection, 0)
        self._connect()

    def _finish(self, connection: _Connection, status: int) -> None:
        number = connection.request
        self._took[number] = self._now() - self._due[number]
        self._statuses[number] = status
        self._answered += 1

    def _report(self, began_at: float, cpu_s: float) -> Report:
        answered = [number for number, took in enumerate(self._took) if took >= 0]
        return Report(
            began_at=began_at,
            seconds=self._now(),
            cpu_s=cpu_s,
            due=[round(self._due[number], 6) for number in answered],
            took=[round(self._took[number], 6) for number in answered],
            late=[round(self._sent[number] - self._due[number], 6) for number in answered],
            statuses=[self._statuses[number] for number in answered],
            codes=dict(self._codes),
            unanswered=len(self._due) - len(answered),
        )


def whole_status(answer: bytes) -> int | None:
    """The status of an HTTP/1.1 answer with a Content-Length; None while it is not all there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(answer, 0, end)
    if length is None:
        raise RuntimeError(f"an answer without a length: {answer[:200]!r}")
    return int(answer[9:12]) if len(answer) >= end + 4 + int(length.group(1)) else None


def _is_closed(peer: socket.socket) -> bool:
    try:
        return not peer.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def main(plan: Plan) -> Report:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(plan)
    report = crowd.run()
    if plan.keeps:
        print("kept", flush=True)
        sys.stdin.read()
        report = replace(report, lost=crowd.lost())
    return report


if __name__ == "__main__":
    json.dump(asdict(main(Plan(**json.loads(sys.argv[1])))), sys.stdout)
