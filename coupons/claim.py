"""A claim: one user asks for one coupon, and the request has an id. Pure."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec


class Holding(NamedTuple):
    """A coupon that a user holds, once at most: a unique constraint of the database makes sure."""

    coupon_id: int
    user_id: int


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One user's request for one coupon, from the moment it gets its id to its outcome.

    The log holds it as a ``CouponIssueEvent`` (``coupons/eventlog/events.py``), whose JSON calls the id
    eventId.
    """

    coupon_id: int
    user_id: int
    request_id: UUID

    @property
    def holding(self) -> Holding:
        """The holding that the claim asks for."""
        return Holding(self.coupon_id, self.user_id)

    def as_request(self, request_id: UUID) -> Claim:
        """The same user's claim on the same coupon, made with another request."""
        return msgspec.structs.replace(self, request_id=request_id)
