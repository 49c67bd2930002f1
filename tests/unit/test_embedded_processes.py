"""The supervisor's child processes: how they start, end, and never stay behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dev.embedded.errors import ProcessFailed
from dev.embedded.process import ChildProcess
from dev.embedded.restarting import RESTARTS, RestartedConsumer
from dev.embedded.settings import PROJECT


def child(tmp_path: Path, code: str, *, name: str = "a child") -> ChildProcess:
    """A Python process that runs ``code``."""
    return ChildProcess(
        name=name, command=[sys.executable, "-c", code], log=tmp_path / "child.log", environment=os.environ
    )


def wait_for_log(process: ChildProcess, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in process.log.read_text():
        assert time.monotonic() < deadline, process.last_lines()
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    """A killed process is gone a moment later; somebody else's child may stay as a zombie for a while."""
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestChildProcess:
    def test_its_end_and_last_lines_are_told(self, tmp_path: Path) -> None:
        process = child(tmp_path, "print('one'); print('two'); raise SystemExit(3)")
        assert process.wait(timeout_s=10) == 3
        assert process.how_it_ended() == "exit code 3"
        assert process.last_lines(1) == "    two"

    def test_a_command_that_does_not_exist_says_so_in_the_log(self, tmp_path: Path) -> None:
        process = ChildProcess(
            name="it", command=["/no/such/program"], log=tmp_path / "log", environment=os.environ
        )
        assert process.wait(timeout_s=10) == 1
        assert "cannot run /no/such/program: No such file or directory" in process.last_lines()

    def test_stop_asks_first_and_takes_grandchildren_along(self, tmp_path: Path) -> None:
        process = child(
            tmp_path,
            "import signal, subprocess, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
            "signal.pause()",
        )
        wait_for_log(process, "\n")
        grandchild = int(process.log.read_text())
        process.stop(grace_s=10)
        assert process.how_it_ended() == "exit code 7"
        wait_until_gone(grandchild)

    def test_stop_kills_what_does_not_listen(self, tmp_path: Path) -> None:
        process = child(
            tmp_path,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
            "time.sleep(60)",
        )
        wait_for_log(process, "up")
        process.stop(grace_s=0.1)
        assert process.how_it_ended() == "killed by SIGKILL"

    def test_the_log_of_the_last_one_is_kept(self, tmp_path: Path) -> None:
        for word in ("first", "second"):
            child(tmp_path, f"print('{word}')").wait(timeout_s=10)
        assert (tmp_path / "child.log").read_text() == "second\n"
        assert (tmp_path / "child.log.1").read_text() == "first\n"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
    def test_it_does_not_outlive_a_killed_parent(self, tmp_path: Path) -> None:
        parent_code = (
            "import os, pathlib, signal, sys\n"
            "from dev.embedded.process import ChildProcess\n"
            "code = 'import time; print(1, flush=True); time.sleep(60)'\n"
            "child = ChildProcess(name='it', command=[sys.executable, '-c', code],\n"
            "                     log=pathlib.Path(sys.argv[1]), environment=os.environ)\n"
            "while not child.log.read_text(): pass\n"  # a child that is still starting leaves by itself
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
    started: list[ChildProcess] = []

    def start() -> ChildProcess:
        started.append(child(tmp_path, "raise SystemExit(5)", name="the consumer"))
        return started[-1]

    consumer = RestartedConsumer(start=start)
    for _ in range(RESTARTS):
        consumer.process.wait(timeout_s=10)
        consumer.restart_if_ended()
    consumer.process.wait(timeout_s=10)
    with pytest.raises(ProcessFailed, match=r"the consumer has ended \(exit code 5\)"):
        consumer.restart_if_ended()
    assert len(started) == RESTARTS + 1
    assert capsys.readouterr().out.count("It starts again") == RESTARTS
