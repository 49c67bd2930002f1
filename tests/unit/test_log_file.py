"""The log file: many processes, rotation by size, a full disk, a folder that is gone."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.processes import PROJECT
from runtime.log_file import LogFile


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("n", logging.INFO, "f.py", 1, message, None, None)


def log_file(path: Path, *, max_bytes: int = 0, backups: int = 1) -> LogFile:
    return LogFile(str(path), max_bytes=max_bytes, backups=backups)


_WRITER = """
import logging, sys
from runtime.log_file import LogFile
log = logging.getLogger("n")
log.setLevel("INFO")
log.addHandler(LogFile(sys.argv[1], max_bytes=20_000, backups=1000))
for number in range(2000):
    log.info("%s %s %s", sys.argv[2], number, "x" * 40)
"""


def test_many_processes_rotate_one_file_and_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "application.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), f"writer{n}"], cwd=PROJECT)
        for n in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4

    files = list(tmp_path.glob("application.log*"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    wanted = [f"writer{n} {number} {'x' * 40}" for n in range(4) for number in range(2000)]
    assert sorted(lines) == sorted(wanted)
    assert len(files) > 3  # who loses the race to rename writes on where it is


def test_who_comes_too_late_to_rename_rotates_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process renames the file between this one's look at its size and its lock."""
    path = tmp_path / "a.log"
    handler = log_file(path, max_bytes=10)
    handler.emit(record("line 0"))

    with monkeypatch.context() as racing:
        racing.setattr("runtime.log_file.fcntl.flock", lambda *_: path.rename(tmp_path / "a.log.1"))
        handler.emit(record("line 1"))
    handler.emit(record("line 2"))

    assert capsys.readouterr().err == ""
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "a.log": "line 2\n",
        "a.log.1": "line 1\n",
    }


def test_the_oldest_files_are_dropped(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "a.log", max_bytes=10, backups=2)

    for number in range(6):
        handler.emit(record(f"line {number}"))

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "a.log": "line 5\n",
        "a.log.1": "line 4\n",
        "a.log.2": "line 3\n",
    }


def test_without_a_size_a_file_grows_until_logrotate_renames_it(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = log_file(path)
    handler.emit(record("before"))

    path.rename(tmp_path / "a.log.old")
    handler.emit(record("after"))

    assert (tmp_path / "a.log.old").read_text() == "before\n"
    assert path.read_text() == "after\n"


def test_a_folder_that_is_gone_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "core" / "a.log"
    handler = log_file(path)
    handler.emit(record("before"))

    path.unlink()
    path.parent.rmdir()
    handler.emit(record("after"))

    assert path.read_text() == "after\n"


def test_a_full_disk_is_one_warning_a_minute_and_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    path.symlink_to("/dev/full")
    handler = log_file(path)

    for number in range(1000):
        handler.emit(record(f"line {number}"))
    [warning] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in warning
    assert "COUPON_LOG_DIR" in warning

    monkeypatch.setattr("runtime.log_file.WARN_EVERY_S", -1.0)
    handler.emit(record("a minute later"))
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("1000 log records not written")


def test_what_is_written_after_a_full_disk_begins_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    handler = log_file(path)
    write, room = os.write, [4]

    def write_what_there_is_room_for(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: room[0]]
        room[0] -= len(part)
        return write(descriptor, part)

    with monkeypatch.context() as full:
        full.setattr("runtime.log_file.os.write", write_what_there_is_room_for)
        handler.emit(record("torn in the middle"))
    handler.emit(record("whole"))

    assert path.read_text() == "torn\nwhole\n"


def test_what_is_no_unicode_is_written_as_an_escape(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "a.log")

    handler.emit(record("쿠폰 \udc80"))

    assert (tmp_path / "a.log").read_text() == "쿠폰 \\udc80\n"


@pytest.mark.parametrize("max_bytes", [0, 1_000_000])
def test_a_record_that_cannot_be_formatted_harms_nobody(
    tmp_path: Path, max_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = log_file(tmp_path / "a.log", max_bytes=max_bytes)

    handler.emit(logging.LogRecord("n", logging.INFO, "f.py", 1, "%d", ("x",), None))
    handler.emit(record("next"))

    assert "--- Logging error ---" in capsys.readouterr().err
    assert (tmp_path / "a.log").read_text() == "next\n"
