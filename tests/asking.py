"""Requests without a connection: what an application answers is kept."""

from __future__ import annotations

from typing import cast

from runtime.http.connection import Connection
from runtime.http.reply import Reply
from runtime.http.request import Request


class Client:
    """Stands in for a connection. ``reply``: the answer, once there is one."""

    def __init__(self, *, address: tuple[str, int] = ("127.0.0.1", 8080), is_trusted: bool = False) -> None:
        self.address = address
        self.peer = ("127.0.0.1", 50_000)
        self.is_trusted = is_trusted
        self.replies: list[Reply] = []

    def answer(self, request: Request, reply: Reply) -> None:
        self.replies.append(reply)

    @property
    def reply(self) -> Reply:
        [reply] = self.replies
        return reply


def request_of(
    client: Client,
    method: str,
    target: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    is_too_long: bool = False,
) -> Request:
    named = {name.lower().encode(): value.encode("latin1") for name, value in (headers or {}).items()}
    request = Request(cast(Connection, client), method, target.encode("latin1"), "1.1", named, keeps=True)
    request.body, request.is_too_long = body, is_too_long
    return request
