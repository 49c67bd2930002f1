"""A whole answer, and its bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

_STATUS_LINES: Final = {each: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"


@dataclass(slots=True)
class Reply:
    """An answer. ``fields``: the header lines, each with its line end, but for Date and Connection."""

    status: HTTPStatus
    fields: bytes
    body: bytes

    @classmethod
    def of(cls, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Reply:
        return cls(HTTPStatus(status), fields_of([*headers, ("Content-Length", str(len(body)))]), body)

    @property
    def headers(self) -> dict[str, str]:
        lines = self.fields.decode("latin1").splitlines()
        return {name: value for name, _, value in (line.partition(": ") for line in lines)}

    def wire(self, *, closes: bool, has_no_body: bool = False, more: bytes = b"") -> bytes:
        """The bytes for the client. ``has_no_body``: it asked for the head alone. ``more``: header lines."""
        connection = _CLOSE if closes else _KEEP
        parts = (_STATUS_LINES[self.status], _date(), connection, self.fields, more, b"\r\n")
        return b"".join(parts) if has_no_body else b"".join((*parts, self.body))


def fields_of(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines. Raises ValueError for a value that would begin another line."""
    lines = [f"{name}: {value}\r\n".encode("latin1") for name, value in headers]
    fields = b"".join(lines)
    if not fields.count(b"\r") == fields.count(b"\n") == len(lines) or b"\0" in fields:
        raise ValueError(f"a header with a line end in it: {fields!r}")
    return fields


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
    return _dated[1]
