"""The crowd: bounded clients with keep-alive, that try again as people do, and remember every answer."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dev.processes import LOOPBACK, wait_until

AT_ONCE: Final = 16
_PATIENCE_S: Final = 90.0  #: of a user who tries again
_ANSWER_S: Final = 25.0  #: an answer takes no longer, or there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one claim was told, and when, by the monotonic clock. Status 0: no answer."""

    user_id: int
    status: int
    code: str | None = None
    request_id: str | None = None
    asked_at: float = 0.0
    took_s: float = 0.0

    @classmethod
    def of(cls, user_id: int, status: int, body: Mapping[str, object], *, asked_at: float) -> Answer:
        """Of a claim that was asked for then and has just been answered."""
        return cls(
            user_id=user_id,
            status=status,
            code=_text(body.get("code")),
            request_id=_text(body.get("requestId")),
            asked_at=asked_at,
            took_s=time.monotonic() - asked_at,
        )

    @property
    def answered_at(self) -> float:
        return self.asked_at + self.took_s

    @property
    def is_accepted(self) -> bool:
        return self.status == 202

    @property
    def is_last_word(self) -> bool:
        """Anything else makes a client try again, as the same user."""
        return self.status == 202 or 400 <= self.status < 500


class Rush:
    """Users who claim one coupon, some at the same time, ``per_s`` at most if given."""

    def __init__(
        self, *, ports: Sequence[int], coupon_id: int, users: Iterable[int], per_s: float | None = None
    ) -> None:
        self.answers: list[Answer] = []  # appended to by all threads, never changed otherwise
        self._ports = tuple(ports)
        self._coupon_id = coupon_id
        self._users = enumerate(users)
        self._next = threading.Lock()
        self._per_s = per_s
        self._stop = threading.Event()
        self._started_at = time.monotonic()
        self._threads = [threading.Thread(target=self._claim_on, daemon=True) for _ in range(AT_ONCE)]

    def start(self) -> None:
        self._started_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    def lead_to(self, *ports: int) -> None:
        """Claims from now on go to these in turn, as a balancer does with those that are ready."""
        self._ports = ports

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def accepted(self) -> list[str]:
        """The request ids that were told 202."""
        return [a.request_id for a in self.answers if a.is_accepted and a.request_id is not None]

    @property
    def told_ids(self) -> set[str]:
        """The request ids that anybody was told, whatever the answer."""
        return {a.request_id for a in list(self.answers) if a.request_id is not None}

    def wait_accepted(self, count: int, *, within_s: float = 60) -> None:
        """Until so many were accepted, or everybody has claimed."""
        wait_until(lambda: len(self.accepted) >= count or self.is_over, within_s=within_s, every_s=0.01)

    def finish(self, *, within_s: float) -> bool:
        """Wait for everybody's last word, at most so long; whether all had it."""
        deadline = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        done = self.is_over
        self.abandon()
        return done

    def abandon(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_ANSWER_S)

    def _claim_on(self) -> None:
        clients: dict[int, Client] = {}
        while not self._stop.is_set():
            with self._next:
                index, user = next(self._users, (0, None))
            if user is None:
                break
            if self._per_s is not None:
                self._stop.wait(max(0.0, self._started_at + index / self._per_s - time.monotonic()))
            self._claim_until_told(clients, user, turn=index)
        for client in clients.values():
            client.close()

    def _claim_until_told(self, clients: dict[int, Client], user: int, *, turn: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not self._stop.is_set() and time.monotonic() < deadline:
            ports = self._ports
            port = ports[turn % len(ports)]
            client = clients.setdefault(port, Client(port))
            answer = client.claim(self._coupon_id, user)
            self.answers.append(answer)
            if answer.is_last_word:
                return
            self._stop.wait(random.uniform(0.2, 0.6))


class Client:
    """One connection, kept alive; made anew after it broke."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_S)

    def claim(self, coupon_id: int, user_id: int) -> Answer:
        asked_at = time.monotonic()
        status, body = self._ask("POST", f"/api/coupons/{coupon_id}/issue?userId={user_id}")
        return Answer.of(user_id, status, body, asked_at=asked_at)

    def _ask(self, method: str, path: str) -> tuple[int, dict[str, object]]:
        """Status and decoded body; (0, {}) when there was no answer."""
        try:
            self._connection.request(method, path)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, {}
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        return response.status, body if isinstance(body, dict) else {}

    def close(self) -> None:
        self._connection.close()


def _text(value: object) -> str | None:
    return str(value) if value else None
