"""A crowd that comes at its own pace, whether or not those before were answered."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from dev.faults.rush import Answer, Rush
from dev.processes import LOOPBACK

_PATIENCE_S: Final = 90.0  #: of a user who tries again
_ANSWER_S: Final = 25.0  #: an answer takes no longer, or there is none
#: Later than the API's Retry-After (2 s): the crowd shares its cores with three brokers that start.
_TRIES_AGAIN_S: Final = (4.0, 8.0)
_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stream(Rush):
    """Users who claim one coupon, ``per_s`` of them, each on a connection of its own or one that is idle."""

    def __init__(self, *, port: int, coupon_id: int, users: Iterable[int], per_s: float) -> None:
        super().__init__(ports=[port], coupon_id=coupon_id, users=[])
        self._port, self._pace_s, self._all = port, 1 / per_s, list(users)
        self._idle: list[_Pipe] = []
        self._threads = [threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)]

    async def _run(self) -> None:
        started = time.monotonic()
        claiming = set()
        for index, user in enumerate(self._all):
            if self._stop.is_set():
                break
            await asyncio.sleep(max(0.0, started + index * self._pace_s - time.monotonic()))
            claiming.add(asyncio.create_task(self._claim_until_last_word(user)))
        while claiming and not self._stop.is_set():
            _, claiming = await asyncio.wait(claiming, timeout=0.2)
        for task in claiming:
            task.cancel()
        for _, writer in self._idle:
            writer.close()

    async def _claim_until_last_word(self, user: int) -> None:
        """Until there is a last word."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            answer = await self._claim(user)
            self.answers.append(answer)
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
