"""Errors that a service raises for its caller to answer. Pure."""

from __future__ import annotations

from uuid import UUID

from coupons.outcomes import Code


class RefusedError(Exception):
    """A request is refused, with this code. ``names`` fill the gaps of the code's message."""

    def __init__(self, code: Code, *, request_id: UUID | None = None, **names: object) -> None:
        super().__init__(code.value)
        self.code = code
        self.request_id = request_id
        self.names = names
