"""People who watch an event's page: `python -m dev.bench.watchers PORT PATH COUNT`, until its stdin ends.

Each asks once a second on a connection of its own, as the page's script does. In a process of its own, which
prints how many snapshots came and how many answers were something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dev.processes import LOOPBACK, PROJECT

_EVERY_S: Final = 1.0


async def _watch(number: int, of: int, port: int, path: str, told: dict[str, int]) -> None:
    await asyncio.sleep(_EVERY_S * number / of)  # people do not ask in the same moment
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=1 << 20)
    asked = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\n\r\n".encode()
    while True:
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        is_snapshot = head.startswith(b"HTTP/1.1 200 ") and b'"at":' in body[:30]
        told["snapshots" if is_snapshot else "others"] += 1
        await asyncio.sleep(_EVERY_S)


async def _crowd(port: int, path: str, count: int) -> dict[str, int]:
    told = {"snapshots": 0, "others": 0}
    watching = [asyncio.create_task(_watch(each, count, port, path, told)) for each in range(count)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in watching:
        task.cancel()
    failed = await asyncio.gather(*watching, return_exceptions=True)
    told["broken"] = sum(not isinstance(each, asyncio.CancelledError) for each in failed)
    return told


@contextmanager
def watching(*, port: int, path: str, count: int, complaints: list[str]) -> Iterator[None]:
    """So many watch meanwhile. An answer that is no snapshot is a complaint, but for the first second's."""
    command = [sys.executable, "-m", "dev.bench.watchers", str(port), path, str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as crowd:
        try:
            yield
            answered, _ = crowd.communicate("", timeout=30)
        finally:
            crowd.kill()
    told = json.loads(answered)
    if told["broken"] or told["others"] > count or not told["snapshots"]:
        complaints.append(f"{count} people watched, and this came: {told}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(asyncio.run(_crowd(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
