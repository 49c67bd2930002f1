"""A crowd that comes at its own pace, whether or not those before were answered.

It is a process of its own (``python -m dev.faults.stream``): in one interpreter with the suite's own work it
stood still for up to 1.4 s, and its claims seemed to have waited so long.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from dev.faults.rush import Answer, Rush
from dev.processes import LOOPBACK, PROJECT

_PATIENCE_S: Final = 90.0  #: of a user who tries again
_ANSWER_S: Final = 25.0  #: an answer takes no longer, or there is none
#: Later than the API's Retry-After (2 s): the crowd shares its cores with three brokers that start.
_TRIES_AGAIN_S: Final = (4.0, 8.0)
_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stream(Rush):
    """Users who claim one coupon, ``per_s`` of them, each on a connection of its own or one that is idle."""

    def __init__(self, *, port: int, coupon_id: int, users: Iterable[int], per_s: float) -> None:
        super().__init__(ports=[port], coupon_id=coupon_id, users=[])
        self._asked = json.dumps(
            {"port": port, "coupon_id": coupon_id, "users": list(users), "pace_s": 1 / per_s}
        )
        self._crowd: subprocess.Popen[str] | None = None
        self._threads = [threading.Thread(target=self._follow, daemon=True)]

    def finish(self, *, within_s: float) -> bool:
        done = super().finish(within_s=within_s)
        return done and self._crowd is not None and self._crowd.returncode == 0

    def abandon(self) -> None:
        self._stop.set()
        if self._crowd is not None:
            self._crowd.terminate()
        super().abandon()

    def _follow(self) -> None:
        """Keep its answers as they come."""
        with subprocess.Popen(
            [sys.executable, "-m", "dev.faults.stream"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as self._crowd:
            assert self._crowd.stdin is not None
            assert self._crowd.stdout is not None
            self._crowd.stdin.write(self._asked)
            self._crowd.stdin.close()
            if self._stop.is_set():
                self._crowd.terminate()
            for line in self._crowd.stdout:
                self.answers.append(Answer(**json.loads(line)))


class _Crowd:
    def __init__(self, *, port: int, coupon_id: int, users: Sequence[int], pace_s: float) -> None:
        self._port, self._coupon_id, self._users, self._pace_s = port, coupon_id, users, pace_s
        self._idle: list[_Pipe] = []

    async def run(self) -> None:
        started = time.monotonic()
        claiming = set()
        for index, user in enumerate(self._users):
            await asyncio.sleep(max(0.0, started + index * self._pace_s - time.monotonic()))
            claiming.add(asyncio.create_task(self._claim_until_last_word(user)))
        await asyncio.gather(*claiming)

    async def _claim_until_last_word(self, user: int) -> None:
        """Until there is a last word."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            answer = await self._claim(user)
            print(json.dumps(asdict(answer)), flush=True)
            if answer.is_last_word:
                return
            await asyncio.sleep(random.uniform(*_TRIES_AGAIN_S))

    async def _claim(self, user: int) -> Answer:
        asked_at = time.monotonic()
        status: int = 0
        body: dict[str, object] = {}
        with suppress(OSError, ValueError, EOFError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_ANSWER_S):
                status, body = await self._ask(f"/api/coupons/{self._coupon_id}/issue?userId={user}")
        return Answer.of(user, status, body, asked_at=asked_at)

    async def _ask(self, path: str) -> tuple[int, dict[str, object]]:
        reader, writer = await self._pipe()
        try:
            writer.write(f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        decoded = json.loads(body)
        return int(head[0].split()[1]), decoded if isinstance(decoded, dict) else {}

    async def _pipe(self) -> _Pipe:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(LOOPBACK, self._port)


if __name__ == "__main__":
    asyncio.run(_Crowd(**json.load(sys.stdin)).run())
