"""Drives the whole system from outside: gunicorn and consumers as processes, HTTP, SIGTERM, SIGKILL."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.services.own import PROJECT, free_port

_START_S = 40.0
_PYTHON = (sys.executable,)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: Any  #: decoded JSON, or the text where it is none

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass(slots=True, kw_only=True)
class Server:
    """One process of ours."""

    command: list[str]
    env: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=PROJECT, env=dict(self.env), stdout=log, stderr=log, start_new_session=True
            )

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"exit {self.process.returncode}: {self.output()[-3000:]}")
            return ask(self.port, "GET", "/actuator/health/readiness", patience_s=5).status == 200

        eventually(is_ready, within_s=_START_S, what=lambda: f"not ready: {self.output()[-3000:]}")

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP meanwhile: it is there and does nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM to the main process; returns its exit code. SIGKILL after 30 s."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL to the process and its workers."""
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class System:
    """An API and consumers on one topic. Use as a context manager; everything started is stopped."""

    def __init__(self, *, topic: str, consumers: int = 1, env: Mapping[str, str] | None = None) -> None:
        self.topic = topic
        self.folder = Path(os.environ["COUPON_LOG_DIR"]) / topic
        self.folder.mkdir(parents=True)
        self._env = {
            **os.environ,
            "COUPON_TOPIC": topic,
            "COUPON_DEAD_LETTER_TOPIC": f"{topic}.DLT",
            "COUPON_CONSUMER_GROUP_ID": f"group-{topic}",
            "COUPON_LOG_DIR": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self.api = self.new_api()
        self.consumers = [self.new_consumer() for _ in range(consumers)]

    def new_api(self, **env: str) -> Server:
        port = free_port()
        return Server(
            command=[
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                "couponsite/gunicorn_conf.py",
                "couponsite.wsgi",
            ],
            env={**self._env, "COUPON_API_PORT": str(port), **env},
            port=port,
            log=self.folder / f"api-{port}.out",
        )

    def new_consumer(self, *arguments: str, **env: str) -> Server:
        port = free_port()
        return Server(
            command=[
                sys.executable,
                "manage.py",
                "run_coupon_consumer",
                "--health-port",
                str(port),
                *arguments,
            ],
            env={**self._env, **env},
            port=port,
            log=self.folder / f"consumer-{port}.out",
        )

    def lead_to(self, servers: Mapping[str, str]) -> None:
        """Other servers, by variable, for what is started from now on."""
        self._env |= servers

    def __enter__(self) -> Self:
        servers = [self.api, *self.consumers]
        try:
            for server in servers:
                server.start()
            for server in servers:
                server.wait_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for server in [self.api, *self.consumers]:
            if hasattr(server, "process"):
                server.kill()

    def manage(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_PYTHON, "manage.py", *words],
            cwd=PROJECT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def claim(self, coupon_id: object, user_id: object, **headers: str) -> HttpAnswer:
        return ask(self.api.port, "POST", f"/api/coupons/{coupon_id}/issue?userId={user_id}", headers=headers)

    def claim_all(
        self, coupon_id: int, user_ids: Iterable[int], *, at_once: int = 20
    ) -> dict[int, HttpAnswer]:
        """Every user claims, ``at_once`` at the same time; answers by user."""
        users = list(user_ids)
        with ThreadPoolExecutor(at_once) as crowd:
            return dict(zip(users, crowd.map(lambda user: self.claim(coupon_id, user), users), strict=True))

    def get(self, path: str, **headers: str) -> HttpAnswer:
        return ask(self.api.port, "GET", path, headers=headers)

    def status(self, request_id: str) -> HttpAnswer:
        return self.get(f"/api/coupons/requests/{request_id}")

    def wait_decided(self, request_ids: Sequence[str], *, within_s: float = 30) -> list[dict[str, Any]]:
        """Wait until none of the requests is PENDING; returns their statuses, in order."""
        statuses: list[dict[str, Any]] = []

        def is_decided() -> bool:
            statuses[:] = [self.status(request_id).body for request_id in request_ids]
            return all(status.get("status") in ("ISSUED", "REJECTED", "FAILED") for status in statuses)

        eventually(is_decided, within_s=within_s, what=lambda: f"undecided: {statuses}")
        return statuses

    def log_text(self, role: str) -> str:
        return (self.folder / role / "application.log").read_text()


def ask(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    patience_s: float = 15,
) -> HttpAnswer:
    """One request on a connection of its own. Status 0 and the error as body when there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience_s)
    sent = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        text = response.read().decode()
        answered = dict(response.getheaders())
    except (OSError, http.client.HTTPException) as error:
        return HttpAnswer(status=0, headers={}, body=repr(error))
    finally:
        connection.close()
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = text
    return HttpAnswer(status=response.status, headers=answered, body=decoded)


def eventually(
    condition: Callable[[], bool],
    *,
    within_s: float = 15,
    what: Callable[[], str] = lambda: "it did not become true",
) -> None:
    """Wait for a condition, with an end."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within_s} s: {what()}")
        time.sleep(0.05)
