"""A Redis of a test's own, which it may demote, kill or fill, and a name that leads to one of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from dev.embedded.stack import start_redis
from dev.processes import free_port
from tests import stack
from tests.system import eventually


@contextmanager
def own_redis(folder: Path) -> Iterator[int]:
    """A Redis of this test's own, of the stack's kind; its port."""
    folder.mkdir()
    program = shutil.which("redis-server") if stack.KIND == "services" else None
    if program is None:
        server = start_redis(directory=folder)
        try:
            yield server.port
        finally:
            server.stop()
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    command += ["--repl-diskless-sync-delay", "0"]  # else a replica is kept waiting for 5 s
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _answers(port))
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with Redis(port=port) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


class Name:
    """A name whose connections lead to the server it stands for when they are made."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


PLACES = ("coupons.gate.redis_client", "coupons.gate.pending", "coupons.issuing.locks")


@contextmanager
def redis_at(port: int, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[Redis]:
    """All of the code's connections go there."""
    pools = {"default": Redis(port=port), "locks": Redis(port=port)}
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(f"{name}.get_redis_connection", lambda alias: pools[alias])
        try:
            yield pools["default"]
        finally:
            for client in pools.values():
                client.close()
