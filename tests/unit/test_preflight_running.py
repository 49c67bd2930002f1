"""How the preflight runs: subjects side by side, one that hangs, what is chosen, and the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from coupons.operations.preflight import clocks, report, running
from coupons.operations.preflight.catalogue import SUBJECTS
from coupons.operations.preflight.clocks import Reading
from coupons.operations.preflight.findings import (
    Check,
    Expected,
    Level,
    Result,
    Subject,
    Unanswered,
    red,
    yellow,
)
from dev.processes import PROJECT


def subject(name: str, *checks: Check[int], read: Any = lambda expected: 7) -> Subject[int]:
    return Subject(name=name, read=read, checks=checks, told=lambda facts: f"told {facts}")


FINE: Check[int] = Check(name="fine", right="all is right", look=lambda facts: [])
BAD: Check[int] = Check(name="bad", right="", look=lambda facts: [yellow(f"{facts} is odd", "6")])
BLIND: Check[int] = Check(name="blind", right="", look=lambda facts: 1 / 0, blind=lambda facts: "no light")  # type: ignore[arg-type,return-value]


def looked(*subjects: Subject[int], only: tuple[str, ...] = (), patience_s: float = 10) -> list[Result]:
    return [
        result
        for found in running.look(subjects, Expected(), only=only, patience_s=patience_s)
        for result in found
    ]


def test_each_check_is_told() -> None:
    assert looked(subject("a", FINE, BAD, BLIND)) == [
        Result(check="a.answers", level=Level.GREEN, what="told 7"),
        Result(check="a.fine", level=Level.GREEN, what="all is right"),
        Result(check="a.bad", level=Level.YELLOW, what="7 is odd", mend="6"),
        Result(check="a.blind", level=Level.NOTE, what="not looked at: no light"),
    ]


def test_what_is_chosen_alone() -> None:
    both = subject("a", FINE, BAD), subject("b", FINE)

    assert [each.check for each in looked(*both, only=("b",))] == ["b.answers", "b.fine"]
    assert [each.check for each in looked(*both, only=("a.bad",))] == ["a.bad"]
    assert running.names(both) == ["a", "a.answers", "a.fine", "a.bad", "b", "b.answers", "b.fine"]


def test_a_subject_that_is_away_or_hangs_is_one_red_line_and_the_rest_goes_on() -> None:
    def away(expected: Expected) -> int:
        raise Unanswered(red("nobody is there", "start it"))

    done = threading.Event()

    def hangs(expected: Expected) -> int:
        done.wait(30)
        return 1

    found = looked(
        subject("a", FINE, read=away), subject("h", FINE, read=hangs), subject("b", FINE), patience_s=0.3
    )
    done.set()

    assert [(each.check, each.level) for each in found] == [
        ("a.answers", Level.RED),
        ("h.answers", Level.RED),
        ("b.answers", Level.GREEN),
        ("b.fine", Level.GREEN),
    ]


def test_our_own_error_is_not_passed_over() -> None:
    def wrong(expected: Expected) -> int:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        looked(subject("a", read=wrong))


def test_names_are_of_one_kind_and_no_two_the_same() -> None:
    names = running.names(SUBJECTS)

    assert len(set(names)) == len(names)
    assert len(names) > 50
    assert all(each.right and not each.right.endswith(".") for one in SUBJECTS for each in one.checks)


@pytest.mark.parametrize(
    ("server", "ahead_s"), [(100.5, 0.0), (102.0, 1.0), (98.0, -2.0), (100.0, 0.0), (101.0, 0.0)]
)
def test_a_clock_is_read_between_two_readings_of_ours(server: float, ahead_s: float) -> None:
    ticks: Iterator[float] = iter([100.0, 101.0])

    reading = clocks.read(lambda: server, now=lambda: next(ticks))

    assert reading == Reading(before=100.0, server=server, after=101.0)
    assert reading.ahead_s == ahead_s


def test_lines_and_codes() -> None:
    bad = Result(check="a.b", level=Level.YELLOW, what="odd\nor so.", mend="do")
    fine = Result(check="a.c", level=Level.GREEN, what="right")

    assert report.line(bad) == "YELLOW a.b: odd or so. Mend: do"
    assert report.line(fine, coloured=True) == "\033[32mGREEN \033[0m a.c: right"
    assert report.summary([fine, bad, bad]) == "yellow: 2 yellow, 1 green"
    codes = [report.exit_code(level) for level in Level]
    assert codes == [0, 0, 4, 1]
    assert [report.exit_code(level, red_only=True) for level in Level] == [0, 0, 0, 1]
    assert report.worst([]) is Level.GREEN
    told = report.as_json([fine, bad])
    assert (told["level"], told["exitCode"], told["counts"]["yellow"]) == ("yellow", 4, 1)


def manage(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "preflight", *words],
        cwd=PROJECT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_settings_with_which_nothing_starts_are_reported_too() -> None:
    done = manage("--json", COUPON_API_WORKERS="0")

    told = json.loads(done.stdout)
    assert done.returncode == told["exitCode"] == 1
    assert told["checks"][0]["check"] == "settings.usable"
    assert "COUPON_API_WORKERS" in told["checks"][0]["what"]
    log = manage(COUPON_LOG_DIR="/proc/none")
    assert log.returncode == 1
    assert log.stdout.startswith("RED    settings.usable: COUPON_LOG_DIR: cannot write /proc/none")
    acks = manage(KAFKA_CLIENT_CONFIG="acks=1")
    assert "what the system promises rests on our value" in acks.stdout


def test_a_wrong_call_is_told() -> None:
    unknown = manage("--only", "redis.nonsense")
    assert unknown.returncode == 1
    assert "there is no such check. There are settings," in unknown.stderr
    assert manage("--users", "none").returncode == 2
