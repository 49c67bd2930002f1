"""The benchmark's load: every user once, every answer counted, latency from the scheduled time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dev.bench import crowd
from dev.bench.crowd import Plan, Report
from dev.bench.generator import whole_status
from dev.bench.run import Users
from dev.bench.series import series_of
from dev.bench.watching import Watch
from dev.bench.wrk import Counted


class TestWatch:
    def test_the_rate_begins_with_the_first_commit_seen(self) -> None:
        watch = Watch(1, samples=[(100.0, 0), (103.0, 500), (104.0, 3000), (105.0, 4500)])

        assert watch.per_s == 2000
        assert watch.issued_at == 105.0

    def test_what_came_between_two_looks_has_no_rate(self) -> None:
        with pytest.raises(RuntimeError, match="too small"):
            _ = Watch(1, samples=[(100.0, 0), (103.0, 500)]).per_s


class TestSeries:
    REPORT = Report(
        began_at=100.0,
        seconds=10.0,
        cpu_s=0.1,
        due=[0.0, 4.0, 8.0],
        took=[1.0, 2.0, 2.0],
        late=[0.0] * 3,
        statuses=[202, 202, 409],
        codes={"OUT_OF_STOCK": 1},
        unanswered=0,
    )

    def test_everything_lies_in_its_bin(self) -> None:
        told = series_of(self.REPORT, samples=[(99.9, 0), (103.0, 1), (110.0, 2)], last_outcome_s=10.0)

        assert told.last_answer_s == 10.0
        for rates, count in ((told.answered, 3), (told.accepted, 2), (told.issued, 2)):
            assert sum(rates) * told.bin_s == pytest.approx(count)
        assert [ms for ms in told.p99_ms if ms is not None] == [1000, 2000, 2000]

    def test_a_last_outcome_after_the_last_answer_makes_it_longer(self) -> None:
        told = series_of(self.REPORT, samples=[(99.9, 0), (120.0, 2)], last_outcome_s=20.0)

        assert told.bin_s * len(told.answered) == pytest.approx(20)
        assert sum(told.issued) * told.bin_s == pytest.approx(2)


class TestUsers:
    def test_nobody_comes_twice(self) -> None:
        users = Users(10)

        assert [list(users.take(3)), list(users.take(2)), users.next] == [[1, 2, 3], [4, 5], 6]

    def test_when_all_have_come_it_says_so(self) -> None:
        with pytest.raises(RuntimeError, match="all 10 users"):
            Users(10).take(11)


class TestCounted:
    def test_other_answers_than_expected_are_complaints(self) -> None:
        counted = Counted(seconds=2, statuses={202: 100, 503: 3}, codes={"X": 3}, used=103, errors=0)

        assert counted.per_s(202) == 50
        assert counted.complaints(status=202) == ["3 answers were HTTP 503: {'X': 3}"]

    def test_a_refusal_with_another_code_is_a_complaint(self) -> None:
        codes = {"OUT_OF_STOCK": 9, "USER_NOT_FOUND": 1}
        counted = Counted(seconds=1, statuses={409: 10}, codes=codes, used=10, errors=0)

        assert len(counted.complaints(status=409, code="OUT_OF_STOCK")) == 1


class TestGenerator:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (b"", None),
            (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n", None),
            (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{", None),
            (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", 202),
            (b"HTTP/1.1 409 Conflict\r\ncontent-length:0\r\nA: b\r\n\r\n", 409),
        ],
    )
    def test_an_answer_counts_when_it_is_all_there(self, answer: bytes, status: int | None) -> None:
        assert whole_status(answer) == status

    def test_an_answer_without_a_length_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="without a length"):
            whole_status(b"HTTP/1.1 200 OK\r\n\r\n")

    def test_every_user_asks_once(self, answering: Answering) -> None:
        plan = Plan(port=answering.port, heads=["/u="], first_user=5, count=40, connections=4, limit_s=20)

        report = crowd.run(plan)

        assert sorted(answering.users) == list(range(5, 45))
        assert report.statuses.count(202) == 39
        assert report.codes == {"OUT_OF_STOCK": 1}
        assert report.unanswered == 0

    def test_kept_connections_are_open_until_the_end(self, answering: Answering) -> None:
        plan = Plan(port=answering.port, heads=["/u="], first_user=10, count=40, connections=40, limit_s=20)
        complaints: list[str] = []

        with crowd.kept(plan, complaints):
            assert sorted(answering.users) == list(range(10, 50))
            assert not answering.one_ended.wait(0.5)

        assert complaints == []

    def test_a_kept_connection_that_the_server_closes_is_told(self, answering: Answering) -> None:
        plan = Plan(port=answering.port, heads=["/u="], first_user=10, count=4, connections=4, limit_s=20)
        complaints: list[str] = []

        with crowd.kept(plan, complaints):
            answering.connections.pop().shutdown(socket.SHUT_RDWR)

        assert complaints == ["1 kept connections were closed"]

    def test_latency_counts_from_the_scheduled_time(self, answering: Answering) -> None:
        """One connection, 20 ms an answer, a request due every 5 ms: each waits for those before it."""
        answering.delay_s = 0.02
        plan = Plan(
            port=answering.port, heads=["/u="], first_user=5, count=20, connections=1, limit_s=20, per_s=200
        )

        report = crowd.run(plan)

        assert report.due == pytest.approx([number / 200 for number in range(20)])
        assert report.took[-1] >= 20 * 0.02 - 19 / 200
        assert report.late[-1] > 0.2


class Answering:
    """Answers 202, to user 7 a refusal; remembers who asked."""

    def __init__(self) -> None:
        self.users: list[int] = []
        self.connections: list[socket.socket] = []
        self.one_ended = threading.Event()  #: the client closed a connection
        self.delay_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096):
                user = int(request.split(b" ")[1].removeprefix(b"/u="))
                self.users.append(user)
                self._stop.wait(self.delay_s)
                status, body = (409, b'{"code":"OUT_OF_STOCK"}') if user == 7 else (202, b"{}")
                connection.sendall(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
                )
        self.one_ended.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    server = Answering()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join(5)
