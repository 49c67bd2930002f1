"""A claim: one user asks for one coupon, and the request has an id. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID


class Holding(NamedTuple):
    """Of a coupon by a user: there is one at most, of which the database makes sure."""

    coupon_id: int
    user_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One user's request for one coupon, from the answer that tells its id to the outcome.

    In the log it is a ``CouponIssueEvent`` (``coupons/eventlog/events.py``), whose JSON calls the id eventId.
    """

    coupon_id: int
    user_id: int
    request_id: UUID

    @property
    def holding(self) -> Holding:
        """What it asks for."""
        return Holding(self.coupon_id, self.user_id)

    def as_request(self, request_id: UUID) -> Claim:
        """The same user's claim on the same coupon, made with another request."""
        return replace(self, request_id=request_id)
