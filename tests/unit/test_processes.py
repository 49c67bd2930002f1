"""Processes: how they start, become ready, end, and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from dev.embedded.stack import fresh
from dev.embedded.supervisor import RESTARTS, RestartedConsumer
from dev.processes import PROJECT, Process, ProcessFailed, last_lines, wait_until


def child(tmp_path: Path, code: str, *, name: str = "a child", **more: Any) -> Process:
    """A Python process that runs ``code``."""
    command = [sys.executable, "-c", code]
    return Process(name=name, command=command, log=tmp_path / "child.log", env=os.environ, **more).start()


def wait_for_log(process: Process, text: str) -> None:
    assert wait_until(lambda: text in process.output(), within_s=10), process.output()


def wait_until_gone(pid: int) -> None:
    """A killed process is gone a moment later; somebody else's child may stay as a zombie for a while."""

    def is_gone() -> bool:
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    assert wait_until(is_gone, within_s=5)


class TestProcess:
    def test_its_end_and_last_lines_are_told(self, tmp_path: Path) -> None:
        process = child(tmp_path, "print('one'); print('two'); raise SystemExit(3)")
        assert process.wait(within_s=10) == 3
        assert process.how_it_ended() == "exit code 3"
        assert last_lines(process.log, count=1) == "  two"

    def test_a_command_that_does_not_exist_says_so_in_the_log(self, tmp_path: Path) -> None:
        process = child(tmp_path, "", dies_by=signal.SIGKILL)
        process.wait(within_s=10)
        process.command = ["/no/such/program"]
        assert process.start().wait(within_s=10) == 1
        assert "cannot run /no/such/program: No such file or directory" in process.output()

    def test_it_is_ready_when_it_is_and_a_failure_tells_why(self, tmp_path: Path) -> None:
        process = child(tmp_path, "print('up', flush=True); import time; time.sleep(60)")
        try:
            assert process.wait_ready(lambda: "up" in process.output(), within_s=10) is process
            with pytest.raises(ProcessFailed, match=r"a child was not ready in time; .*\n  up"):
                process.wait_ready(lambda: False, within_s=0.1)
        finally:
            process.kill()
        with pytest.raises(ProcessFailed, match=r"a child ended at once \(killed by SIGKILL\)"):
            process.wait_ready(lambda: True, within_s=10)

    def test_one_that_must_run_to_its_end_is_an_error_if_it_fails(self, tmp_path: Path) -> None:
        process = child(tmp_path, "print('why'); raise SystemExit(4)")
        process.wait(within_s=10)
        with pytest.raises(ProcessFailed, match=r"^nothing was made \(exit code 4\); .* ends:\n  why$"):
            process.run(within_s=10, failing="nothing was made")
        process.command = [sys.executable, "-c", "import time; time.sleep(60)"]
        with pytest.raises(ProcessFailed, match=r"^nothing was made \(took too long\)"):
            process.run(within_s=0.1, failing="nothing was made")
        assert not process.running

    def test_a_kill_takes_grandchildren_along(self, tmp_path: Path) -> None:
        process = child(
            tmp_path,
            "import signal, subprocess, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
            "signal.pause()",
        )
        wait_for_log(process, "\n")
        grandchild = int(process.output())
        assert process.stop(grace_s=10) == 7
        process.kill()
        wait_until_gone(grandchild)

    def test_what_does_not_listen_is_killed_and_that_is_told(self, tmp_path: Path) -> None:
        process = child(
            tmp_path,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
            "time.sleep(60)",
        )
        wait_for_log(process, "up")
        with pytest.raises(ProcessFailed, match="did not stop within 0 s and was killed"):
            process.stop(grace_s=0.1)
        assert process.how_it_ended() == "killed by SIGKILL"

    def test_the_log_of_the_last_one_is_kept(self, tmp_path: Path) -> None:
        for word in ("first", "second"):
            fresh(tmp_path / "child.log")
            child(tmp_path, f"print('{word}')").wait(within_s=10)
        assert (tmp_path / "child.log").read_text() == "second\n"
        assert (tmp_path / "child.log.1").read_text() == "first\n"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
    def test_it_does_not_outlive_a_killed_parent(self, tmp_path: Path) -> None:
        parent_code = (
            "import os, pathlib, signal, sys\n"
            "from dev.processes import Process\n"
            "code = 'import time; print(1, flush=True); time.sleep(60)'\n"
            "child = Process(name='it', command=[sys.executable, '-c', code], env=os.environ,\n"
            "                log=pathlib.Path(sys.argv[1]), dies_by=signal.SIGKILL).start()\n"
            "while not child.output(): pass\n"  # a child that is still starting leaves by itself
            "print(child.pid, flush=True); signal.pause()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", parent_code, str(tmp_path / "log")],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert psutil.pid_exists(pid)
            parent.kill()
        wait_until_gone(pid)


def test_the_consumer_is_replaced_a_few_times_and_then_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Process] = []

    def start() -> Process:
        started.append(child(tmp_path, "raise SystemExit(5)", name="the consumer"))
        return started[-1]

    consumer = RestartedConsumer(start=start)
    for _ in range(RESTARTS):
        consumer.process.wait(within_s=10)
        consumer.restart_if_ended()
    consumer.process.wait(within_s=10)
    with pytest.raises(ProcessFailed, match=r"the consumer has ended \(exit code 5\)"):
        consumer.restart_if_ended()
    assert len(started) == RESTARTS + 1
    assert capsys.readouterr().out.count("It starts again") == RESTARTS
