"""Ids in paths: a path without a valid id is answered with 404 before any view runs."""

from __future__ import annotations

from uuid import UUID

from coupons.eventlog.events import MAX_ID


class IdConverter:
    """A whole number from 1 to 2^63 - 1."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if not 1 <= number <= MAX_ID:
            raise ValueError(value)
        return number

    def to_url(self, value: int) -> str:
        return str(value)


class RequestIdConverter:
    """A UUID in either case."""

    regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

    def to_python(self, value: str) -> UUID:
        return UUID(value)

    def to_url(self, value: UUID) -> str:
        return str(value)
