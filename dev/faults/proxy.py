"""A network that can be broken: a TCP proxy in front of one server.

Kafka tells its clients the broker's own address, so its answers are read frame by frame and that
address is replaced by the proxy's (of the same length); else only the first connection would come
this way. A Metadata answer that names one broker can be made to name none, as that of a broker that
has just come back.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

_CHUNK: Final = 65_536
_HOST: Final = "127.0.0.1"
#: Metadata's answer from version 9 on: correlation id, no tags, throttle time; one broker: its id, host
#: (length and one), port, no rack, no tags. https://kafka.apache.org/protocol#The_Messages_Metadata
_ONE_BROKER: Final = re.compile(
    rb"(.{4}\x00.{4})\x02.{4}%c%b.{4}\x00\x00" % (len(_HOST) + 1, re.escape(_HOST.encode())), re.DOTALL
)
_NO_BROKER: Final = b"\x01"


class Link:
    """Listens on ``port`` once started. The four faults may be set from any thread."""

    def __init__(self, *, to_port: int, is_kafka: bool) -> None:
        self.latency_s = 0.0  #: added to each way
        self.lost_replies = 0.0  #: share of replies that vanish, and their connection with them
        self.names_no_brokers = False  #: in Kafka's answers
        self.hits = 0  #: how often a fault struck
        self.port = 0
        self._to_port = to_port
        self._is_kafka = is_kafka
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        starting = asyncio.start_server(self._serve, _HOST, 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Every connection breaks, and no new one lives."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._break_all)

    def lead_to(self, port: int, *, breaks: bool = True) -> None:
        """To another server from now on, as after a failover; old connections break, or live on."""
        self._to_port = port
        if breaks:
            self._loop.call_soon_threadsafe(self._break_all)

    def mend(self) -> None:
        self._is_cut = False
        self.latency_s = self.lost_replies = 0.0
        self.names_no_brokers = False

    def _break_all(self) -> None:
        self.hits += len(self._open)
        for writer in self._open:
            writer.transport.abort()

    async def _end_tasks(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self.hits += 1
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(_HOST, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        # At the end of the case it is cancelled, which asyncio would report as an error of the server's.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pump(lambda: reader.read(_CHUNK), far_writer, writer, are_replies=False),
                self._pump(lambda: self._reply(far_reader), writer, far_writer, are_replies=True),
            )
        self._open -= {writer, far_writer}

    async def _pump(
        self,
        read: Callable[[], Awaitable[bytes]],
        target: asyncio.StreamWriter,
        source: asyncio.StreamWriter,
        *,
        are_replies: bool,
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await read():
                if self.latency_s:
                    self.hits += 1
                    await asyncio.sleep(self.latency_s)
                if are_replies and random.random() < self.lost_replies:
                    self.hits += 1
                    break
                target.write(data)
                await target.drain()
        target.transport.abort() if self.lost_replies else target.close()
        source.close()

    async def _reply(self, reader: asyncio.StreamReader) -> bytes:
        if not self._is_kafka:
            return await reader.read(_CHUNK)
        [length] = struct.unpack(">i", await reader.readexactly(4))
        frame = (await reader.readexactly(length)).replace(_address(self._to_port), _address(self.port))
        if self.names_no_brokers and (found := _ONE_BROKER.match(frame)):
            self.hits += 1
            frame = found[1] + _NO_BROKER + frame[found.end() :]
        return struct.pack(">i", len(frame)) + frame


def _address(port: int) -> bytes:
    """A broker as Kafka's answers name it: host, then port."""
    return _HOST.encode() + struct.pack(">i", port)
