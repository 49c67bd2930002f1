"""winners: a million of them as CSV, by the page and by the command, in order and in little memory."""

from __future__ import annotations

import csv
import http.client
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User as Staff
from django.test import Client

from dev.bench import database, usage
from dev.bench.judging import Figure, Outcome
from dev.bench.measurements.stored import fill_coupon
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.processes import LOOPBACK, PROJECT

_WINNERS: Final = 1_000_000
_FEW: Final = 1_000
_PATIENCE_S: Final = 60.0  #: for the next part of an answer
_PART: Final = 65_536


def winners(run: Run) -> Outcome:
    """Memory of the API's workers before and while they are sent, of the command with few and with all."""
    count = min(_WINNERS, run.scale.users)
    complaints: list[str] = []
    told: dict[str, Any] = {"winners": count}
    with staged(run) as stage:
        few, all_of_them = database.make_coupons(2, stock=0)
        for coupon_id, number in ((few, _FEW), (all_of_them, count)):
            fill_coupon(coupon_id, number, rank=f"{number + 1} - c.user_id")
        stage.start_api()
        page_mb = _page(stage, few, all_of_them, count, complaints, told)
        command_mb = [_command(stage, few, _FEW, complaints, told)]
        command_mb.append(_command(stage, all_of_them, count, complaints, told))
    figures = [
        Figure(name="winners: API worker, sending / before", ours=page_mb[1], baseline=page_mb[0]),
        Figure(name="winners: command, a million / thousand", ours=command_mb[1], baseline=command_mb[0]),
    ]
    return Outcome(name="winners", figures=figures, complaints=complaints, details=told)


def _page(
    stage: Stage, few: int, coupon_id: int, count: int, complaints: list[str], told: dict[str, Any]
) -> tuple[float, float]:
    """Memory of all workers together, in MB: after a small file, and at its most during the large one."""
    cookie = _session()
    for _ in range(10):  # each worker has made its pages ready
        complaints += _wrong(_lines(stage, few, cookie), count=_FEW, what="page of few")
    workers = usage.workers(stage.system.api.pid)
    before = sum(map(usage.resident_mb, workers))
    began = time.monotonic()
    with usage.peak(workers) as peak:
        complaints += _wrong(_lines(stage, coupon_id, cookie), count=count, what="page")
    told["page_s"] = round(time.monotonic() - began, 1)
    told["page_mb"] = (before, peak.resident_mb)
    return before, peak.resident_mb


def _command(stage: Stage, coupon_id: int, count: int, complaints: list[str], told: dict[str, Any]) -> float:
    """Memory of `manage.py winners` at its most, in MB."""
    words = [sys.executable, "manage.py", "winners", "--coupon", str(coupon_id)]
    began = time.monotonic()
    with subprocess.Popen(
        words, cwd=PROJECT, env=dict(stage.system.api.env), stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None, "it is a pipe"
        with usage.peak([command.pid]) as peak:
            complaints += _wrong(command.stdout, count=count, what=f"command of {count:,}")
    if command.returncode:
        complaints.append(f"the command ended with {command.returncode}")
    told[f"command_{count}"] = {"mb": peak.resident_mb, "s": round(time.monotonic() - began, 1)}
    return peak.resident_mb


def _session() -> str:
    """The cookie of somebody who may look at everything."""
    staff = Staff.objects.filter(username="bench").first() or Staff.objects.create_superuser("bench")
    client = Client()
    client.force_login(staff)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def _lines(stage: Stage, coupon_id: int, cookie: str) -> Iterator[str]:
    """The file's lines, as they come."""
    connection = http.client.HTTPConnection(LOOPBACK, stage.system.api.port, timeout=_PATIENCE_S)
    with closing(connection):
        path = f"/admin/coupons/coupon/event/{coupon_id}/winners.csv"
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}")
        rest = b""
        while part := answer.read1(_PART):
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode("utf-8-sig") for line in whole)


def _wrong(lines: Iterable[str], *, count: int, what: str) -> list[str]:
    """Whether they are all there, one after the other; users were made so that the last id won first."""
    expected = 0
    for expected, row in enumerate(csv.DictReader(lines), start=1):
        if (int(row["rank"]), int(row["user_id"])) != (expected, count + 1 - expected):
            return [f"{what}: line {expected} is {row}"]
    return [] if expected == count else [f"{what}: {expected:,} of {count:,} winners"]
