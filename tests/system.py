"""Drives the whole system from outside: gunicorn and consumers as processes, HTTP, SIGTERM, SIGKILL."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.processes import LOOPBACK, PROJECT, free_port, wait_until
from dev.processes import Process as Process


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: Any  #: decoded JSON, or the text where it is none

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


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
        self.others: list[Process] = []  #: whatever else is to be stopped at the end

    def new_api(self, **env: str) -> Process:
        port = free_port()
        gunicorn = ["-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"]
        return self._new("api", gunicorn, port, {"COUPON_API_PORT": str(port), **env})

    def new_consumer(self, *arguments: str, **env: str) -> Process:
        port = free_port()
        words = ["manage.py", "run_coupon_consumer", "--health-port", str(port), *arguments]
        return self._new("consumer", words, port, env)

    def _new(self, name: str, words: Sequence[str], port: int, env: Mapping[str, str]) -> Process:
        return Process(
            name=name,
            command=[sys.executable, *words],
            log=self.folder / f"{name}-{port}.out",
            env={**self._env, **env},
            port=port,
        )

    def lead_to(self, servers: Mapping[str, str]) -> None:
        """Other servers, by variable, for what is started from now on."""
        self._env |= servers

    def __enter__(self) -> Self:
        processes = [self.api, *self.consumers]
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.wait_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in [self.api, *self.consumers, *self.others]:
            process.kill()

    def manage(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
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
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=patience_s)
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
    assert wait_until(condition, within_s=within_s), f"after {within_s} s: {what()}"
