"""People who watch an event's page, by wrk: they take far less of the machine than what they ask for."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dev.bench import wrk
from dev.processes import LOOPBACK, Process, wait_until

_SCRIPT: Final = Path(__file__).parent / "watch.lua"
_MOST_S: Final = 600  #: nobody watches for longer, whatever becomes of us
#: Snapshots a second that each gets. Fewer, and somebody's answers did not come; more, and they did not wait.
_AT_LEAST, _AT_MOST = 0.7, 1.3
_SOON: Final = 10  #: answers that no snapshot is there yet: the first ones of each worker


@contextmanager
def watching(*, port: int, path: str, count: int, log: Path, complaints: list[str]) -> Iterator[None]:
    """So many watch meanwhile. Answers that are no snapshots, and people who get few, are complaints."""
    if not wait_until(lambda: _is_there(port, path), within_s=20):
        raise RuntimeError(f"no snapshot comes from {path}")
    words = ["-t1", f"-c{count}", f"-d{_MOST_S}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    command = [str(wrk.program()), *words, f"http://{LOOPBACK}:{port}/", "--", str(count), path]
    log.unlink(missing_ok=True)
    crowd = Process(name="watchers", command=command, log=log, env=os.environ, dies_by=signal.SIGKILL).start()
    try:
        yield
        crowd.process.send_signal(signal.SIGINT)
        crowd.process.wait(30)
    finally:
        crowd.kill()
    told = json.loads(log.read_text().partition("WATCHED ")[2] or "null")
    if told is None or told["broken"] or told["others"] > _SOON or not _is_as_it_must_be(told, count):
        complaints.append(f"{count} people watched, and this came: {told}")


def _is_as_it_must_be(told: dict[str, float], count: int) -> bool:
    seconds = told["seconds"]
    fewest = _AT_LEAST * count * (seconds - 1.0)  # they begin one after the other, in the first second
    return fewest <= told["snapshots"] <= _AT_MOST * count * seconds


def _is_there(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return b'"at":' in body[:30]
