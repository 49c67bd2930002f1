"""How long a crowd was refused and waited, as the fault suite's columns have it; a crowd at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dev.faults import waits
from dev.faults.rush import Answer
from dev.faults.stream import Stream
from dev.processes import wait_until


def answer(asked_at: float, took_s: float, status: int = 202) -> Answer:
    return Answer(user_id=1, status=status, asked_at=asked_at, took_s=took_s)


def test_refusals_last_from_the_last_good_answer_to_the_next() -> None:
    told = [answer(0, 1), answer(0.5, 9, 503), answer(2, 0.1), answer(4, 0.1, 503), answer(7, 3)]

    assert waits.longest_refused(told) == pytest.approx(7.9)  # from 2.1, not from 0.5, to 10
    assert waits.longest(told) == 9
    assert waits.longest_refused([answer(0, 1), answer(3, 8)]) == 0.0
    assert waits.longest_refused([answer(0, 1), answer(3, 2, 0)]) == 2.0
    assert waits.longest([]) == waits.longest_refused([]) == waits.longest(waits.later([])) == 0.0


def test_later_claims_are_those_that_came_when_others_had_been_refused() -> None:
    first, beside = answer(0, 9, 503), answer(8, 8, 503)  # asked before the first was refused
    told = [first, beside, answer(10.5, 0.3, 503), answer(20, 0.01), answer(21, 5, 503), answer(30, 1)]

    assert waits.longest(waits.later(told)) == pytest.approx(0.3)
    assert waits.longest(waits.later([*told, answer(10.5, 4, 503)])) == 4


def test_an_out_of_stock_is_no_refusal_of_the_service() -> None:
    assert waits.longest_refused([answer(0, 1), answer(1, 1, 409), answer(2, 1, 503), answer(3, 1, 409)]) == 2


class _Api(BaseHTTPRequestHandler):
    """Holds each claim until all are there: whoever waits for answers before claiming waits for ever."""

    protocol_version = "HTTP/1.1"
    together = threading.Barrier(20)

    def do_POST(self) -> None:
        self.together.wait(10)
        body = b'{"success":true,"requestId":"r"}'
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_stream_does_not_wait_for_answers(api: int) -> None:
    stream = Stream(port=api, coupon_id=1, users=range(1, 21), per_s=200)
    stream.start()

    assert wait_until(lambda: stream.is_over, within_s=10)
    assert sorted(each.user_id for each in stream.answers) == list(range(1, 21))
    assert {(each.status, each.request_id) for each in stream.answers} == {(202, "r")}
