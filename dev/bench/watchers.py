"""People who watch an event's page, by wrk: they take far less of the machine than what they ask for."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dev.bench import wrk
from dev.processes import LOOPBACK

_SCRIPT: Final = Path(__file__).parent / "watch.lua"
#: Before the load: everybody has begun, and the event's first snapshot, which costs more, is made.
BEFORE_S: Final = 2.0
_MOST_S: Final = 600  #: nobody watches for longer, whatever becomes of us


@contextmanager
def watching(*, port: int, path: str, count: int, complaints: list[str]) -> Iterator[None]:
    """So many watch meanwhile. An answer that is no snapshot is a complaint, but for the first second's."""
    words = ["-t1", f"-c{count}", f"-d{_MOST_S}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    command = [str(wrk.program()), *words, f"http://{LOOPBACK}:{port}{path}", "--", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as crowd:
        try:
            time.sleep(BEFORE_S)
            yield
            crowd.send_signal(signal.SIGINT)
            printed, _ = crowd.communicate(timeout=30)
        finally:
            crowd.kill()
    told = json.loads(printed.partition("WATCHED ")[2] or "null")
    if told is None or told["broken"] or told["others"] > count or not told["snapshots"]:
        complaints.append(f"{count} people watched, and this came: {told}")
