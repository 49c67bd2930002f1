"""The server with real sockets: order, limits in time, large answers, draining."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import gevent
import pytest
from django.utils import timezone, translation
from gevent import socket as loop_socket

from couponsite.kept_by_thread import language_and_time_zone
from runtime.http import connection as connections
from runtime.http import server as servers
from runtime.http import wsgi
from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request
from runtime.http.server import Server
from runtime.http.shares import Shares
from runtime.http.wsgi import Environ, Pages, StartResponse

_LONGEST_BODY = 100_000
_LARGE = 5_000_000
_BIG = 30_000_000  #: bytes: more than the kernel keeps of an answer
_GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """Answers with the path and the body; ``/later/…`` after a while, ``/bug`` never, ``/big`` at length."""

    def __init__(self) -> None:
        self.pages: Pages | None = None
        self.served: list[bytes] = []

    def serve(self, request: Request) -> None:
        self.served.append(request.target)
        reply = Reply.of(413 if request.is_too_long else 200, request.target + request.body)
        if request.path == "/bug":
            raise ZeroDivisionError
        if request.path.startswith("/page"):
            assert self.pages is not None
            self.pages.serve(request)
        elif request.path == "/big":
            request.answer(Reply.of(200, bytes(_BIG)))
        elif request.path.startswith("/later"):
            gevent.spawn_later(0.05, request.answer, reply)
        else:
            request.answer(reply)

    def longest_body(self, request: Request) -> int:
        return _LONGEST_BODY

    def refusal(self, status: int, headers: Mapping[bytes, bytes]) -> Reply:
        return Reply.of(status, b"refused" + headers.get(b"origin", b""))


class Running:
    def __init__(self, **limits: Any) -> None:
        self.application = Echo()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self.listener.getsockname()[1]
        self.server = Server([self.listener], self.application, **limits)
        self.sweeping = gevent.spawn(self._sweep)
        self.clients: list[Any] = []

    def _sweep(self) -> None:
        while True:
            gevent.sleep(0.02)
            self.server.sweep()

    def connect(self) -> Any:
        client = loop_socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.clients.append(client)
        return client

    def end(self) -> None:
        self.sweeping.kill()
        for client in self.clients:
            client.close()
        if not self.server.is_stopping:
            self.server.stop()
        self.server.close()
        assert len(self.server) == 0


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(**limits: Any) -> Running:
        started.append(Running(**({"most_connections": 100, "keepalive_s": 5.0} | limits)))
        return started[-1]

    yield begin
    for each in started:
        each.end()


@pytest.fixture
def running(start: Callable[..., Running]) -> Running:
    return start()


def received(client: Any, *, until: bytes | None = None) -> bytes:
    """What comes, until the server closes or the last bytes are these."""
    data = b""
    while chunk := client.recv(65_536):
        data += chunk
        if until is not None and data.endswith(until):
            break
    return data


def bodies(data: bytes) -> list[bytes]:
    """The bodies of answers that each say their length."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found.append(data[:length])
        data = data[length:]
    return found


def test_a_connection_is_kept(running: Running) -> None:
    client = running.connect()
    for number in range(3):
        client.sendall(_GET % number)
        answer = received(client, until=b"/%d" % number)

        assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
        assert b"\r\nConnection: keep-alive\r\n" in answer


def test_requests_that_come_ahead_are_answered_in_order(running: Running) -> None:
    client = running.connect()
    targets = [b"/later/1", b"/2", b"/later/3", b"/4", b"/5"]
    client.sendall(b"".join(b"GET %b HTTP/1.1\r\n\r\n" % each for each in targets))
    client.shutdown(socket.SHUT_WR)  # a client that is done asking still wants its answers

    assert bodies(received(client)) == targets


def test_thousands_that_come_ahead_are_answered(running: Running) -> None:
    client = running.connect()
    sending = gevent.spawn(client.sendall, b"".join(_GET % number for number in range(5_000)))

    answers = received(client, until=b"/4999")

    sending.get(timeout=10)
    assert bodies(answers) == [b"/%d" % number for number in range(5_000)]


def test_a_bug_of_the_application_is_told_and_the_connection_goes_on(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    client = running.connect()
    client.sendall(b"GET /bug HTTP/1.1\r\n\r\n" + _GET % 7)

    assert bodies(received(client, until=b"/7")) == [b"refused", b"/7"]
    assert "ZeroDivisionError" in caplog.text


def test_what_cannot_be_read_is_refused_behind_the_answers_to_what_could(running: Running) -> None:
    client = running.connect()
    client.sendall(b"GET /later/1 HTTP/1.1\r\n\r\nnothing\r\n\r\n" + _GET % 3)
    client.shutdown(socket.SHUT_WR)

    assert bodies(received(client)) == [b"/later/1", b"refused"]
    assert running.application.served == [b"/later/1"]


@pytest.mark.parametrize("size", [_LONGEST_BODY + 1, 3_000_000])
def test_a_client_that_sends_too_much_hears_the_refusal(running: Running, size: int) -> None:
    """It sends all of its body before it reads: it would see a reset if the rest were not taken."""
    client = running.connect()
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    sending = gevent.spawn(client.sendall, b"x" * size)
    sending.get(timeout=10)

    assert received(client).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_for_leave_gets_it(running: Running) -> None:
    client = running.connect()
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert received(client, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"abc")

    assert received(client, until=b"/abc").startswith(b"HTTP/1.1 200 ")


def test_a_head_request_gets_no_body(running: Running) -> None:
    client = running.connect()
    client.sendall(b"HEAD /abc HTTP/1.1\r\n\r\n" + _GET % 1)

    answers = received(client, until=b"/1")

    assert b"content-length: 4\r\n" in answers.lower()
    assert b"/abc" not in answers


@pytest.mark.parametrize(
    "part", [b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na"], ids=["head", "body"]
)
def test_a_request_that_does_not_come_is_over_in_time(
    running: Running, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    monkeypatch.setattr(connections, "BODY_S", 0.1)
    client = running.connect()
    client.sendall(part)

    assert received(client).startswith(b"HTTP/1.1 408 ")


def test_the_refusal_is_made_of_what_came_of_the_head(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may be a page of another origin, which else could not read why it is refused."""
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    client = running.connect()
    client.sendall(b"GET /one HTTP/1.1\r\nOrigin: https://before\r\n\r\n")
    client.sendall(b"GET /two HTTP/1.1\r\nOrigin: https://shop\r\nHost: ")

    answers = received(client)

    assert b"HTTP/1.1 408 " in answers
    assert answers.endswith(b"refusedhttps://shop")


def test_a_request_that_trickles_in_gets_no_more_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    client = running.connect()
    trickling = gevent.spawn(lambda: [(client.sendall(b"G"), gevent.sleep(0.05)) for _ in range(100)])

    assert received(client)[:13] in (b"HTTP/1.1 408 ", b"HTTP/1.1 400 ")
    trickling.kill()


def test_an_idle_connection_ends_in_silence(start: Callable[..., Running]) -> None:
    client = start(keepalive_s=0.1).connect()
    client.sendall(_GET % 1)
    assert received(client, until=b"/1")

    assert received(client) == b""


def test_who_comes_when_it_is_crowded_takes_the_place_of_the_longest_idle(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "QUIET_S", 0.1)
    running = start(most_connections=10)
    first = [running.connect() for _ in range(9)]
    gevent.sleep(0.2)

    for number in range(20):
        client = running.connect()
        client.sendall(_GET % number)
        assert received(client, until=b"/%d" % number)
        gevent.sleep(0.11)

    assert received(first[0]) == b""
    assert len(running.server) <= 10


def test_beyond_the_limit_clients_wait_until_there_is_room(start: Callable[..., Running]) -> None:
    running = start(most_connections=2)
    busy = [running.connect(), running.connect()]
    for client in busy:
        client.sendall(b"GET / HT")
    gevent.sleep(0.05)
    waiting = running.connect()
    waiting.sendall(_GET % 1)
    gevent.sleep(0.1)
    assert running.application.served == []

    busy[0].close()

    assert received(waiting, until=b"/1")


def test_a_server_that_stops_answers_what_it_has_and_whoever_waits(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "QUIET_S", 0.1)
    idle, busy = running.connect(), running.connect()
    gevent.sleep(0.05)
    busy.sendall(b"GET /later HTTP/1.1\r\n\r\n")
    gevent.sleep(0.01)
    late = running.connect()
    late.sendall(_GET % 1)

    running.server.stop()

    for client, path in ((busy, b"/later"), (late, b"/1")):
        answer = received(client)
        assert answer.endswith(path)
        assert b"\r\nConnection: close\r\n" in answer
    assert received(idle) == b""
    assert len(running.server) == 0
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_a_client_that_is_gone_is_no_error(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    client = running.connect()
    client.sendall(b"GET /later HTTP/1.1\r\n\r\n")
    gevent.sleep(0.01)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    gevent.sleep(0.2)

    assert len(running.server) == 0
    assert caplog.text == ""


# A WSGI application behind it


def pages_of(
    running: Running, application: Callable[[Environ, StartResponse], Iterable[bytes]], **more: Any
) -> None:
    running.application.pages = Pages(application, threads=2, refusal=running.application.refusal, **more)


def shown(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    keys = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PORT", "HTTP_X", "CONTENT_LENGTH")
    body = " ".join(str(environ.get(key)) for key in keys).encode() + environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Connection", "upgrade")])
    return [body]


def test_an_application_of_wsgi_sees_the_request_and_its_whole_body(running: Running) -> None:
    pages_of(running, shown)
    client = running.connect()
    head = b"POST /page/%41?b=c HTTP/1.1\r\nX: 1\r\nX: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(head + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")

    answer = received(client, until=b"ab")

    assert answer.endswith(b"POST /page/A b=c %d 1,2 2ab" % running.port)
    assert b"upgrade" not in answer


def test_more_requests_than_threads_wait_their_turn(running: Running) -> None:
    """A page of the admin loads twenty files at once: each is answered, by no more threads than there are."""
    at_work: list[int] = []
    most: list[int] = []

    def slow(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.pop()
        return shown(environ, start_response)

    pages_of(running, slow)
    clients = [running.connect() for _ in range(30)]
    for number, client in enumerate(clients):
        client.sendall(b"GET /page/%d HTTP/1.1\r\n\r\n" % number)

    for number, client in enumerate(clients):
        assert b"GET /page/%d" % number in received(client, until=b"None 0")
    assert max(most) == 2


class Large:
    """An answer of 5 MB in small parts, with a length or without; says whether it was closed."""

    def __init__(self, *, says_length: bool, fails: bool = False) -> None:
        self.says_length, self.fails = says_length, fails
        self.made, self.is_closed = 0, False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(_LARGE))] if self.says_length else [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        while self.made < _LARGE:
            self.made += 1000
            if self.fails and self.made > _LARGE // 2:
                raise ZeroDivisionError
            yield b"x" * 1000

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_large_page_comes_whole(running: Running, version: bytes, says_length: bool) -> None:
    large = Large(says_length=says_length)
    pages_of(running, large)
    client = running.connect()
    client.sendall(b"GET /page HTTP/%b\r\nConnection: close\r\n\r\n" % version)

    head, _, body = received(client).partition(b"\r\n\r\n")

    is_chunked = b"Transfer-Encoding: chunked" in head
    assert is_chunked is (not says_length and version == b"1.1")
    if is_chunked:
        assert body.endswith(b"0\r\n\r\n")
    else:
        assert len(body) == _LARGE
    assert body.count(b"x") == _LARGE
    assert large.is_closed


def test_a_large_page_waits_for_its_client_and_needs_no_memory(running: Running) -> None:
    large = Large(says_length=False)
    pages_of(running, large)
    client = running.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
    gevent.sleep(0.3)
    waiting_at = large.made

    client.close()
    gevent.sleep(0.3)

    assert waiting_at < _LARGE
    assert large.made < _LARGE  # nobody wants the rest
    assert large.is_closed
    assert len(running.server) == 0


def test_a_client_that_reads_nothing_holds_no_more_than_a_part(running: Running) -> None:
    """Thousands of them that ask for a public file of some MB would fill the memory."""
    running.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)  # connections have it from there
    large = Large(says_length=True)
    pages_of(running, large)
    client = running.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
    with gevent.Timeout(10):
        while not large.made:
            gevent.sleep(0.01)
    gevent.sleep(0.3)

    assert large.made < 500_000


def test_a_client_that_reads_nothing_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_S", 0.2)
    large = Large(says_length=False)
    pages_of(running, large)
    client = running.connect()
    client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
    with gevent.Timeout(10):
        while not large.is_closed:
            gevent.sleep(0.05)

    assert large.made < _LARGE
    assert len(running.server) == 0


def test_clients_that_read_nothing_hold_up_no_page(running: Running) -> None:
    """More of them than there are threads."""

    def some_large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = Large(says_length=False) if "large" in environ["PATH_INFO"] else shown
        return answer(environ, start_response)

    pages_of(running, some_large)
    for _ in range(3):
        client = running.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        client.sendall(b"GET /page/large HTTP/1.1\r\n\r\n")
    gevent.sleep(0.2)

    client = running.connect()
    client.sendall(b"GET /page/small HTTP/1.1\r\n\r\n")
    assert b"GET /page/small" in received(client, until=b"None 0")


def test_a_client_that_takes_some_now_and_then_gets_no_more_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has room for the next bytes every second or so, and the answer would take fifteen."""
    monkeypatch.setattr(connections, "WRITE_S", 2.0)
    monkeypatch.setattr(connections, "SLOWEST_BYTES_PER_S", 10**9)
    client = running.connect()
    client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
    taken = 0
    with gevent.Timeout(60):
        while some := client.recv(200_000):
            taken += len(some)
            gevent.sleep(0.1)
            if taken >= _BIG:
                break

    assert taken < _BIG
    assert len(running.server) == 0


def test_each_answer_keeps_its_own_context_whatever_threads_make_it(running: Running) -> None:
    """Django has the language of an answer there, and the time zone."""
    language: ContextVar[bytes] = ContextVar("language")

    def chunks() -> Iterator[bytes]:
        for _ in range(_LARGE // 1000):
            yield language.get() * 1000

    def speaking(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(_LARGE))])
        language.set(environ["PATH_INFO"][-1].encode())
        return chunks()

    pages_of(running, speaking)
    clients = {letter: running.connect() for letter in (b"a", b"b", b"c")}
    for letter, client in clients.items():
        client.sendall(b"GET /page/%b HTTP/1.1\r\nConnection: close\r\n\r\n" % letter)

    for letter, client in clients.items():
        assert received(client).partition(b"\r\n\r\n")[2] == letter * _LARGE


def test_each_answer_keeps_djangos_language_and_time_zone_whatever_threads_make_it(running: Running) -> None:
    """asgiref marks them with the thread: the context alone does not take them along."""
    zones = {"en": "Asia/Seoul", "ko": "Europe/Paris", "fr": "America/Lima"}

    def chunks() -> Iterator[bytes]:
        for _ in range(_LARGE // 100_000):
            said = f"{translation.get_language()} {timezone.get_current_timezone()}\n"
            yield said.encode().ljust(100_000, b".")

    def speaking(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(_LARGE))])
        language = environ["PATH_INFO"][-2:]
        translation.activate(language)
        timezone.activate(zones[language])
        return chunks()

    pages_of(running, speaking, keeping=language_and_time_zone)
    clients = {language: running.connect() for language in zones}
    for language, client in clients.items():
        client.sendall(b"GET /page/%b HTTP/1.1\r\nConnection: close\r\n\r\n" % language.encode())

    for language, client in clients.items():
        body = received(client).partition(b"\r\n\r\n")[2]
        assert set(body.replace(b".", b"").split(b"\n")) == {f"{language} {zones[language]}".encode(), b""}


def test_a_page_that_waits_too_long_for_a_thread_is_refused(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(wsgi, "LOOK_EVERY_S", 0.05)
    at_work: list[str] = []
    is_over = threading.Event()

    def stuck(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        at_work.append(environ["PATH_INFO"])
        is_over.wait(30)
        return shown(environ, start_response)

    pages_of(running, stuck)
    clients = [running.connect() for _ in range(2)]
    for number, client in enumerate(clients):
        client.sendall(b"GET /page/%d HTTP/1.1\r\n\r\n" % number)
    with gevent.Timeout(10):
        while len(at_work) < 2:
            gevent.sleep(0.01)

    late = running.connect()
    late.sendall(b"GET /page/2 HTTP/1.1\r\n\r\n")
    try:
        assert received(late, until=b"refused").startswith(b"HTTP/1.1 503 ")
    finally:
        is_over.set()
    for number, client in enumerate(clients):
        assert b"GET /page/%d" % number in received(client, until=b"None 0")


def test_pages_that_wait_too_long_are_refused_some_at_a_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of refusals at once would hold up claims."""
    monkeypatch.setattr(wsgi, "LONGEST_WAIT_S", 0.0)
    monkeypatch.setattr(wsgi, "LOOK_EVERY_S", 600.0)
    monkeypatch.setattr(wsgi, "REFUSED_AT_ONCE", 2)
    is_over = threading.Event()

    def stuck(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        is_over.wait(30)
        return shown(environ, start_response)

    pages_of(running, stuck)
    pages = running.application.pages
    assert pages is not None
    clients = [running.connect() for _ in range(7)]
    for client in clients:
        client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
    with gevent.Timeout(10):
        while pages.waiting < 5:
            gevent.sleep(0.01)

    pages.refuse_late()
    assert pages.waiting == 3
    with gevent.Timeout(10):
        while pages.waiting:
            gevent.sleep(0.01)

    is_over.set()
    assert sorted(client.recv(12)[9:] for client in clients) == [b"200"] * 2 + [b"503"] * 5


def test_a_page_that_breaks_in_the_middle_ends_the_connection(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The client must not take what it has for the whole."""
    pages_of(running, Large(says_length=False, fails=True))
    client = running.connect()
    client.sendall(b"GET /page HTTP/1.1\r\n\r\n")

    assert not received(client).endswith(b"0\r\n\r\n")
    assert "ZeroDivisionError" in caplog.text


def test_a_page_that_breaks_at_once_is_answered(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise ZeroDivisionError

    pages_of(running, broken)
    client = running.connect()
    with caplog.at_level(logging.ERROR):
        client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
        assert received(client, until=b"refused").startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"])
def test_a_header_cannot_begin_another_one(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        fields_of([("Location", value)])


@pytest.fixture
def shares() -> Shares:
    """The first is the server's; the others' processes have no connection, and take none."""
    made = Shares()
    for number in (1, 2):
        made.of(number).show(0)
    return made


def test_what_others_do_not_take_is_taken(start: Callable[..., Running], shares: Shares) -> None:
    mine = shares.of(0)
    running = start(share=mine)
    for client in [running.connect() for _ in range(50)]:
        client.sendall(_GET % 1)
        assert bodies(received(client, until=b"/1")) == [b"/1"]

    for number in (1, 2):
        shares.of(number).show(0)
    running.server.sweep()
    assert mine.is_ahead(len(running.server))


def test_without_descriptors_nobody_asks_all_the_time(
    start: Callable[..., Running],
    shares: Shares,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: socket.socket) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    running = start(share=shares.of(0))
    for client in [running.connect() for _ in range(10)]:
        client.sendall(_GET % 1)
        received(client, until=b"/1")
    another = shares.of(1)
    shares.of(2).leave()
    another.show(99)
    assert another.is_ahead(99)

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "accept", refuse)
        waiting = running.connect()
        gevent.sleep(0.5)
        told = [each for each in caplog.messages if "are not accepted" in each]
        assert 1 <= len(told) <= 50  # a sweep is each 0.02 s here
        assert not another.is_ahead(99), "nobody leaves anything to who can take nobody"

    waiting.sendall(_GET % 2)
    assert bodies(received(waiting, until=b"/2")) == [b"/2"]
    running.server.sweep()
    another.show(99)
    assert another.is_ahead(99)


def test_a_server_stops_while_it_leaves_one(start: Callable[..., Running], shares: Shares) -> None:
    running = start(share=shares.of(0))
    for client in [running.connect() for _ in range(10)]:
        client.sendall(_GET % 1)
        received(client, until=b"/1")
    late = running.connect()
    gevent.sleep(0)
    running.server.stop()
    gevent.sleep(0.05)
    late.sendall(_GET % 3)
    assert bodies(received(late, until=b"/3")) == [b"/3"]
