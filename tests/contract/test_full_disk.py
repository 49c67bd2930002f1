"""The logs' disk is full, or their folder gone: claims are answered, and it is said once a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.processes import PROJECT
from tests.factories import make_coupon, make_users
from tests.system import Process, System


@pytest.fixture
def full(transactional_db: None, topic: str) -> Iterator[System]:
    """Both log files are where nothing can be written."""
    system = System(topic=topic)
    for role in ("core", "consumer"):
        (system.folder / role).mkdir()
        (system.folder / role / "application.log").symlink_to("/dev/full")
    with system:
        yield system


def warnings(server: Process) -> list[str]:
    return [line for line in server.output().splitlines() if "not written" in line]


def test_claims_are_answered_and_decided_on_a_full_disk(full: System) -> None:
    coupon, users = make_coupon(), make_users(30)

    answers = full.claim_all(coupon.pk, users)
    full.wait_decided([answer.body["requestId"] for answer in answers.values()])

    assert {answer.status for answer in answers.values()} == {202}
    assert 1 <= len(warnings(full.api)) <= 2  # a line of each worker
    assert len(warnings(full.consumers[0])) == 1
    for server in (full.api, *full.consumers):
        assert "Traceback" not in server.output()


def test_claims_are_answered_where_the_logs_folder_was_deleted(system: System) -> None:
    coupon, users = make_coupon(), make_users(10)
    shutil.rmtree(system.folder / "core")

    answers = system.claim_all(coupon.pk, users)

    assert {answer.status for answer in answers.values()} == {202}
    assert system.log_text("core").count("쿠폰 발급 이벤트 발행") == 10


def test_logs_rotate_by_size_and_lose_no_line(transactional_db: None, topic: str) -> None:
    env = {"COUPON_LOG_MAX_BYTES": "4000", "COUPON_LOG_BACKUPS": "1000"}
    with System(topic=topic, env=env) as system:
        answers = system.claim_all(make_coupon().pk, make_users(100), at_once=8)

        files = list((system.folder / "core").glob("application.log*"))
        text = "".join(file.read_text() for file in files)

    assert len(files) > 1
    for answer in answers.values():
        assert text.count(answer.body["requestId"]) == 1


_COUNTS: str = """
import errno, os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
def fallocate(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.posix_fallocate = fallocate
from runtime import metrics
metrics.CLAIMS.labels(outcome="ACCEPTED").inc()
metrics.restore()
metrics.restore()
print(metrics.CLAIMS.labels(outcome="ACCEPTED")._value.get())
"""


def test_metrics_without_room_end_no_process(tmp_path: Path) -> None:
    """A file without its room would end it (SIGBUS) at the first page that the disk has none for."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNTS, str(tmp_path)],
        cwd=PROJECT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "1.0\n"
    assert len(done.stderr.splitlines()) == 4  # counters, two kinds of gauges, histograms
    assert "not kept" in done.stderr
    assert not list(tmp_path.iterdir())
