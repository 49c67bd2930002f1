"""This machine, as a process of ours finds it: folders, disk, open files, cores."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from coupons.operations.preflight.findings import Check, Expected, Finding, Subject, note, red, yellow
from runtime import open_files
from runtime.config import Config, LogSettings
from runtime.operator_language import say

_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")
#: Bytes. Less, and the disk is full before somebody looks at it.
_ROOM_AT_LEAST: Final = 256 << 20
_SHARE_AT_LEAST: Final = 0.03
#: prometheus_client begins each of a worker's files with a MiB: counters, histograms, and gauges of some
#: kinds.
_METRICS_OF_A_WORKER: Final = 8 << 20
#: Workers to a core. More, and they take turns; the loop that answers claims waits for its turn.
_WORKERS_OF_A_CORE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """``problem``: why nothing can be written to it; empty if something was. ``free``: bytes."""

    path: Path
    problem: str = ""
    free: int = 1 << 40
    total: int = 1 << 40
    free_files: int | None = None  #: None: the file system does not count them

    @property
    def room(self) -> str:
        return say(
            "{free:,.0f} MiB of {total:,.0f}", free=self.free / (1 << 20), total=self.total / (1 << 20)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    config: Config
    logs: Folder
    metrics: Folder
    logged: int  #: bytes of our log files
    unwritable: Mapping[Path, str]  #: log files -> why no line can be added
    files: int  #: that a process may open
    backlog: int | None  #: the kernel's bound; None where it does not tell
    cores: int


def read(expected: Expected) -> Machine:
    config = settings.CONFIG
    return Machine(
        config=config,
        logs=folder(config.logs.directory),
        metrics=_temporary(),
        logged=sum(file.stat().st_size for file in config.logs.directory.glob("*/application.log*")),
        unwritable=dict(_unwritable(config.logs)),
        files=open_files.allowed(),
        backlog=int(_SOMAXCONN.read_text()) if _SOMAXCONN.exists() else None,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def _temporary() -> Folder:
    try:
        return folder(Path(tempfile.gettempdir()))
    except FileNotFoundError as error:  # of several, Python takes the first that can be written to
        return Folder(path=Path(os.environ.get("TMPDIR", "/tmp")), problem=error.strerror or str(error))


def folder(path: Path) -> Folder:
    """The folder, having written a file to it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".preflight-") as file:
            file.write(b"x" * 4096)
            file.flush()
        usage, counted = shutil.disk_usage(path), os.statvfs(path)
    except OSError as error:
        return Folder(path=path, problem=error.strerror or str(error))
    free_files = counted.f_favail if counted.f_files else None
    return Folder(path=path, free=usage.free, total=usage.total, free_files=free_files)


def _unwritable(logs: LogSettings) -> Iterator[tuple[Path, str]]:
    """Our log files that exist and take no line, having added one: a full disk shows in no other way."""
    told = "preflight: this log can be written"
    line = json.dumps({"message": told}) if logs.format == "json" else told
    for path in sorted(logs.directory.glob("*/application.log")):
        try:
            with path.open("ab", buffering=0) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:
            yield path, error.strerror or str(error)


def logs(machine: Machine) -> Iterator[Finding]:
    """Whether the log has room for as long as it grows."""
    kept, found = machine.config.logs, machine.logs
    if found.problem:
        yield red(
            say(
                "COUPON_LOG_DIR: {path} cannot be written: {problem}", path=found.path, problem=found.problem
            ),
            say("give our user the folder, or another one in COUPON_LOG_DIR"),
        )
        return
    for path, why in machine.unwritable.items():
        yield red(
            say("COUPON_LOG_DIR: {path} takes no line: {why}", path=path, why=why),
            say("room on its disk, and the file for our user"),
        )
    yield from _full(found, "COUPON_LOG_DIR")
    grows_to = kept.max_bytes * (kept.backups + 1)
    if kept.max_bytes and _ROOM_AT_LEAST <= found.free < grows_to - machine.logged:
        yield yellow(
            say(
                "COUPON_LOG_DIR: {path} has {room} free, and the log grows to {grows_to:,} MiB",
                path=found.path,
                room=found.room,
                grows_to=grows_to >> 20,
            ),
            say("room on the disk, or less in COUPON_LOG_MAX_BYTES × (COUPON_LOG_BACKUPS + 1)"),
        )
    if not kept.max_bytes:
        yield note(say("COUPON_LOG_MAX_BYTES is 0: logrotate must rename the log before the disk is full"))


def metrics(machine: Machine) -> Iterator[Finding]:
    found, needed = machine.metrics, machine.config.api.workers * _METRICS_OF_A_WORKER
    if found.problem:
        yield red(
            say(
                "{path}, for the workers' metrics, cannot be written: {problem}",
                path=found.path,
                problem=found.problem,
            ),
            say("a folder that our user may write to in TMPDIR"),
        )
    elif found.free < needed:
        yield yellow(
            say(
                "{path}, for the workers' metrics, has {room} free, and {needed:,} MiB are used",
                path=found.path,
                room=found.room,
                needed=needed >> 20,
            ),
            say("room there, or another folder in TMPDIR"),
        )


def _full(found: Folder, name: str) -> Iterator[Finding]:
    if found.free < _ROOM_AT_LEAST or found.free_files == 0:
        yield red(
            say(
                "{name}: the disk of {path} is full: {room} free", name=name, path=found.path, room=found.room
            ),
            say("room on the disk"),
        )
    elif found.free < _SHARE_AT_LEAST * found.total:
        yield yellow(
            say(
                "{name}: the disk of {path} is nearly full: {room} free",
                name=name,
                path=found.path,
                room=found.room,
            ),
            say("room on the disk"),
        )


def files(machine: Machine) -> Iterator[Finding]:
    has = open_files.connections(machine.files, threads=machine.config.api.threads)
    if has < open_files.MOST_CONNECTIONS:
        finding = red if has < 500 else yellow
        yield finding(
            say(
                "{files} open files are allowed (ulimit -n): a worker has {has} clients at "
                "most, not {most:,}",
                files=machine.files,
                has=has,
                most=open_files.MOST_CONNECTIONS,
            ),
            "ulimit -Hn 65536 (LimitNOFILE= of systemd, ulimits: of Compose)",
        )


def backlog(machine: Machine) -> Iterator[Finding]:
    if machine.backlog is not None and machine.backlog < open_files.BACKLOG:
        yield yellow(
            say(
                "net.core.somaxconn is {backlog}: of a crowd that comes at once so many wait, not {wanted:,}",
                backlog=machine.backlog,
                wanted=open_files.BACKLOG,
            ),
            f"sysctl -w net.core.somaxconn={2 * open_files.BACKLOG}",
        )


def cores(machine: Machine) -> Iterator[Finding]:
    workers = machine.config.api.workers
    if workers > _WORKERS_OF_A_CORE * machine.cores:
        yield yellow(
            say(
                "COUPON_API_WORKERS is {workers}, and this machine has {cores} cores: workers take turns",
                workers=workers,
                cores=machine.cores,
            ),
            f"COUPON_API_WORKERS={machine.cores}",
        )


SUBJECT: Final = Subject(
    name="machine",
    read=read,
    told=lambda machine: say(
        "{cores} cores, {files} open files, logs: {room} free",
        cores=machine.cores,
        files=machine.files,
        room=machine.logs.room,
    ),
    checks=(
        Check(name="logs", right="the log can be written, and has room to grow", look=logs),
        Check(name="metrics", right="the workers' metrics can be written", look=metrics),
        Check(name="files", right="as many open files as a worker's clients are allowed", look=files),
        Check(name="backlog", right="the kernel lets a crowd wait to be accepted", look=backlog),
        Check(name="cores", right="no more workers than the cores carry", look=cores),
    ),
)
