"""The benchmark's pure parts: what counts, what is good enough, what is printed, what the model says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import catalogue, crowd, model, table
from bench.__main__ import main
from bench.capacity import Measured, Scenario, plan, sub_stocks_needed
from bench.generator import Plan, whole_status
from bench.judging import Figure, Outcome, Target, Verdict, exit_code, lines
from bench.percentiles import binned_rate, percentile
from bench.run import Users
from bench.targets import TARGETS
from bench.watching import Watch
from bench.wrk import Counted
from deploy.services.own import PROJECT

HALF = Target(reach=0.6, floor=0.25)
AT_MOST = Target(reach=5.0, floor=40.0, smaller_is_better=True)
FIGURE = Figure(name="accept / plain view", unit="/s", ours=700, baseline=1000, baseline_name="plain view")
GOOD = Outcome(name="accept", figures=[FIGURE])


def verdict(ours: float, *, complaints: tuple[str, ...] = (), target: Target = HALF) -> Verdict:
    figure = replace(FIGURE, ours=ours)
    return Outcome(name="accept", figures=[figure], complaints=complaints).verdict(figure, target)


def judged(outcome: Outcome, target: Target = HALF) -> list[Any]:
    return lines([outcome], {FIGURE.name: target})


class TestVerdicts:
    @pytest.mark.parametrize(
        ("ours", "expected"),
        [(700, "met"), (600, "met"), (599, "missed"), (250, "missed"), (249, "BELOW FLOOR")],
    )
    def test_a_ratio_is_held_against_its_target_and_its_floor(self, ours: float, expected: str) -> None:
        assert verdict(ours) == expected

    @pytest.mark.parametrize(("ours", "expected"), [(5000, "met"), (5001, "missed"), (40_001, "BELOW FLOOR")])
    def test_where_smaller_is_better_both_are_upper_limits(self, ours: float, expected: str) -> None:
        assert verdict(ours, target=AT_MOST) == expected

    @pytest.mark.parametrize("ours", [1, 700])
    def test_a_figure_with_a_dirty_verify_does_not_count(self, ours: float) -> None:
        assert verdict(ours, complaints=("verify: issued count: ...",)) is Verdict.RED

    def test_an_absolute_target_does_not_count_on_a_slow_machine(self) -> None:
        figure = replace(FIGURE, ours=1, counts=False)

        assert GOOD.verdict(figure, HALF) is Verdict.REPORTED

    def test_without_a_target_a_ratio_is_reported_and_still_has_its_floor(self) -> None:
        target = Target(reach=None, floor=0.25)

        assert (verdict(300, target=target), verdict(100, target=target)) == ("-", "BELOW FLOOR")

    def test_a_baseline_of_nothing_is_no_division_by_zero(self) -> None:
        assert replace(FIGURE, baseline=0).ratio == float("inf")


class TestExitCode:
    def test_clean_and_good_is_0(self) -> None:
        assert exit_code(judged(GOOD), with_floors=True) == 0

    def test_a_missed_target_is_told_and_not_punished(self) -> None:
        missed = judged(Outcome(name="accept", figures=[replace(FIGURE, ours=300)]))

        assert missed[0].verdict is Verdict.MISSED
        assert exit_code(missed, with_floors=True) == 0

    def test_a_ratio_below_its_floor_is_1_where_floors_count(self) -> None:
        below = judged(Outcome(name="accept", figures=[replace(FIGURE, ours=100)]))

        assert (exit_code(below, with_floors=True), exit_code(below, with_floors=False)) == (1, 0)

    @pytest.mark.parametrize("with_floors", [True, False])
    def test_a_dirty_verify_is_1_always(self, with_floors: bool) -> None:
        dirty = judged(replace(GOOD, complaints=["verify: one claim per user: ..."]))

        assert exit_code(dirty, with_floors=with_floors) == 1

    def test_what_could_not_be_measured_is_1_and_has_a_line(self) -> None:
        failed = judged(Outcome(name="accept", complaints=["not measured: RuntimeError: ..."]))

        assert exit_code(failed, with_floors=False) == 1
        assert "not measured" in table.as_text(failed)


class TestTargets:
    def test_every_floor_is_on_the_bad_side_of_its_target(self) -> None:
        for name, target in TARGETS.items():
            if target.reach is not None and target.floor is not None:
                assert not target.is_floor_broken_by(target.reach), name
                assert not target.is_met_by(target.floor), name

    def test_every_target_is_of_a_figure_that_is_measured(self) -> None:
        written = "".join(path.read_text() for path in (PROJECT / "bench/measurements").glob("*.py"))

        assert [name for name in TARGETS if f'"{name}"' not in written] == []


class TestTable:
    def test_there_is_a_line_per_figure(self) -> None:
        head, line = table.as_text(judged(GOOD)).splitlines()

        assert head.split() == ["what", "ours", "baseline", "ratio", "target", "verdict"]
        assert line.split("  ") == [
            "accept / plain view",
            "700/s",
            "1,000/s plain view",
            " 0.70",
            ">= 0.60",
            "met",
        ]

    def test_markdown_has_the_same_cells(self) -> None:
        assert table.as_markdown(judged(GOOD)).splitlines()[2] == (
            "| accept / plain view | 700/s | 1,000/s plain view | 0.70 | >= 0.60 | met |"
        )

    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [(12345.6, "/s", "12,346/s"), (12.34, "ms", "12.3 ms"), (0.567, "s", "0.57 s")],
    )
    def test_three_figures_are_enough(self, value: float, unit: str, text: str) -> None:
        assert table.number(value, unit) == text


class TestPercentiles:
    @pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
    def test_nearest_rank(self, percent: float, expected: int) -> None:
        assert percentile(list(range(100, 0, -1)), percent) == expected

    def test_of_one_value(self) -> None:
        assert [percentile([7.0], percent) for percent in (0, 50, 100)] == [7.0, 7.0, 7.0]

    def test_of_none_it_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no values"):
            percentile([], 50)

    def test_rates_by_bin(self) -> None:
        assert binned_rate([0.1, 0.2, 0.6, 1.0], bin_s=0.5, until=1.0) == [4.0, 4.0]


class TestWatch:
    def test_the_rate_begins_with_the_first_commit_seen(self) -> None:
        watch = Watch(1, samples=[(100.0, 0), (103.0, 500), (104.0, 3000), (105.0, 4500)])

        assert watch.per_s == 2000
        assert watch.issued_at == 105.0

    def test_what_came_between_two_looks_has_no_rate(self) -> None:
        with pytest.raises(RuntimeError, match="too small"):
            _ = Watch(1, samples=[(100.0, 0), (103.0, 500)]).per_s


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
        plan = Plan(port=answering.port, head="/u=", first_user=5, count=40, connections=4, limit_s=20)

        report = crowd.run(plan)

        assert sorted(answering.users) == list(range(5, 45))
        assert report.statuses.count(202) == 39
        assert report.codes == {"OUT_OF_STOCK": 1}
        assert report.unanswered == 0

    def test_latency_counts_from_the_scheduled_time(self, answering: Answering) -> None:
        """One connection, 20 ms an answer, a request due every 5 ms: each waits for those before it."""
        answering.delay_s = 0.02
        plan = Plan(
            port=answering.port, head="/u=", first_user=5, count=20, connections=1, limit_s=20, per_s=200
        )

        report = crowd.run(plan)

        assert report.due == pytest.approx([number / 200 for number in range(20)])
        assert report.took[-1] >= 20 * 0.02 - 19 / 200
        assert report.late[-1] > 0.2


class Answering:
    """Answers 202, to user 7 a refusal; remembers who asked."""

    def __init__(self) -> None:
        self.users: list[int] = []
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


class TestCommand:
    def test_the_list_names_every_measurement(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list"]) == 0

        shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert shown == [each.name for each in catalogue.ALL]

    def test_an_unknown_name_is_refused_before_anything_starts(self) -> None:
        with pytest.raises(SystemExit, match="there is no measurement nothing"):
            main(["--only", "nothing"])

    def test_the_short_form_leaves_out_the_millions(self) -> None:
        names = [each.name for each in catalogue.chosen([], short=True)]

        assert "issue-large" not in names
        assert len(names) == len(catalogue.ALL) - 1

    def test_every_measurement_has_its_function(self) -> None:
        from bench.measuring import function_of

        assert all(callable(function_of(each)) for each in catalogue.ALL)


MEASURED = Measured(
    api_us_accepted=500,
    api_us_refused=250,
    redis_us_accepted=35,
    redis_us_refused=7,
    kafka_us_accepted=100,
    consumer_per_s=10_000,
    database_us=70,
    redis_bytes=100,
)


class TestCapacity:
    def test_cores_and_machines_follow_from_the_cpu_time_of_a_claim(self) -> None:
        planned = plan(MEASURED, Scenario(people=100_000, seconds=10, coupons=1, stock=100_000), cores=8)

        assert planned.claims_per_s == 10_000
        assert planned.api_cores == 8  # 10,000/s x 500 us = 5 cores, at 70 % of each
        assert planned.api_machines == 1
        assert planned.gate_share == pytest.approx(0.35)
        assert planned.redis_mb == pytest.approx(10)

    def test_one_coupon_has_one_partition_and_its_sub_stocks_more(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=10, coupons=1, stock=1_000_000)

        alone = plan(MEASURED, scenario, cores=8)
        cut = plan(MEASURED, replace(scenario, sub_stocks=4), cores=8)

        assert (alone.partitions, alone.issued_s, alone.limited_by) == (1, 100.0, "partitions")
        assert (cut.partitions, cut.issued_s) == (4, 25.0)

    def test_the_database_ends_the_gain(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=1, coupons=1, stock=1_000_000, sub_stocks=64)

        planned = plan(MEASURED, scenario, cores=8)

        assert planned.limited_by == "database"
        assert planned.partitions == 8
        assert planned.issued_s == pytest.approx(12.5)  # 0.7 x 8 cores at 70 us an event: 80,000/s

    def test_nothing_is_issued_before_people_come(self) -> None:
        planned = plan(MEASURED, Scenario(people=1000, seconds=60, coupons=1, stock=1000), cores=8)

        assert (planned.issued_s, planned.limited_by) == (60, "people coming")

    def test_a_gate_that_is_too_busy_is_cut(self) -> None:
        scenario = Scenario(people=1_000_000, seconds=1, coupons=1, stock=10_000)

        needed = sub_stocks_needed(MEASURED, scenario)

        assert not plan(MEASURED, scenario, cores=8).fits
        assert plan(MEASURED, replace(scenario, sub_stocks=needed), cores=8).fits
        assert not plan(MEASURED, replace(scenario, sub_stocks=needed - 1), cores=8).fits

    def test_a_run_with_a_dirty_verify_feeds_nothing(self) -> None:
        with pytest.raises(LookupError, match="no good accept"):
            Measured.of({"measurements": {"accept": {"complaints": ["verify: ..."]}}})

    def test_the_tables_are_printed_from_a_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cpu = {"api": 500, "redis": 35, "kafka": 100}
        claims = {"complaints": [], "slices": [{"cpu_us_per_claim": cpu}]}
        runs = {
            "accept": claims,
            "refuse": claims,
            "issue-hot": {"complaints": [], "per_s": 10_000, "cpu_us_per_event": {"db": 70}},
            "memory": {"complaints": [], "redis_bytes_per_claimant": 100},
        }
        file = tmp_path / "run.json"
        file.write_text(json.dumps({"measurements": runs}))

        assert model.main(["--json", str(file)]) == 0

        shown = capsys.readouterr().out
        assert all(name in shown for name in model.SCENARIOS)
        assert "Assumptions:" in shown
