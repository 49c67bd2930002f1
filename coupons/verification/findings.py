"""What verify can find wrong. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Check(StrEnum):
    """Every invariant, by name."""

    STOCK_NOT_NEGATIVE = "STOCK_NOT_NEGATIVE"
    ONE_CLAIM_PER_USER = "ONE_CLAIM_PER_USER"
    ISSUED_COUNT = "ISSUED_COUNT"
    RANKS_WITHOUT_GAPS = "RANKS_WITHOUT_GAPS"
    WINNER_HAS_COUPON = "WINNER_HAS_COUPON"
    COUPON_HAS_OUTCOME = "COUPON_HAS_OUTCOME"
    OUTCOME_IS_WHOLE = "OUTCOME_IS_WHOLE"
    NOBODY_SKIPPED = "NOBODY_SKIPPED"
    STOCK_ADDS_UP = "STOCK_ADDS_UP"
    EVERY_EVENT_DECIDED = "EVERY_EVENT_DECIDED"
    DEAD_LETTER_KEPT = "DEAD_LETTER_KEPT"
    WINNERS_IN_LOG_ORDER = "WINNERS_IN_LOG_ORDER"
    OUTCOME_MATCHES_EVENT = "OUTCOME_MATCHES_EVENT"
    GATE_COUNTS = "GATE_COUNTS"
    NO_STALE_RESERVATION = "NO_STALE_RESERVATION"
    NO_LEAKED_RESERVATION = "NO_LEAKED_RESERVATION"
    EVERY_REQUEST_RESERVED = "EVERY_REQUEST_RESERVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    check: Check
    message: str
    coupon_id: int | None = None
    request_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """``looked_at`` counts what was read, so that a clean report is not an empty one.

    ``unchecked``: what could not be looked at. ``notes``: what is worth knowing and not wrong.
    """

    findings: list[Finding] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing wrong, and all of it looked at."""
        return not self.findings and not self.unchecked

    def count(self, what: str, number: int = 1) -> None:
        self.looked_at[what] = self.looked_at.get(what, 0) + number

    def as_json(self) -> dict[str, Any]:
        return {
            "clean": self.is_clean,
            "findings": [asdict(finding) for finding in self.findings],
            "lookedAt": self.looked_at,
            "unchecked": self.unchecked,
            "notes": self.notes,
        }
