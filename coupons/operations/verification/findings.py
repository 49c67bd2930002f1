"""The invariants that verify checks, and its report. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from runtime.operator_language import marked, say

#: An error in one of these is not found. Each line says why nothing about it is certain.
NOT_LOOKED_AT: Final = (
    marked(
        "coupon: description, discount_amount, coupon_status, opens_at, closes_at, claims_paused_at, "
        "deciding_paused_at, updated_at (operators change them at any time), is_rehearsal, eligible_only, "
        "reset_at (whether there was a reset)"
    ),
    marked(
        "coupon: a stock that was changed and is the same again, or of a coupon whose events are in several"
        " partitions"
    ),
    marked(
        "user_coupon: status, used_at (whoever redeems writes them), created_at, updated_at, and rows of "
        "another application, which have no request_id"
    ),
    marked(
        "coupon_issue_outcome: detail; coupon_epoch and processed_at of a dead letter; ids, epoch and times"
        " of what never was in the log (BROKER_UNAVAILABLE)"
    ),
    marked(
        "coupon_issue_outcome: whether the coupon was sold out or closed, or the user there, at a moment "
        "that nothing else tells of"
    ),
    marked(
        "coupon_issue_outcome: rows whose event retention has deleted, but for what the database alone shows"
    ),
    marked(
        "coupon_dead_letter: error, original_key, original_value, created_at, updated_at, the time of a "
        "message that could be read or has no request id, and whether a letter that waits was discarded; "
        "the dead letter topic"
    ),
    marked(
        "coupon_log_position: rows of other groups, updated_at, and topic_id where the broker knows no ids"
    ),
    marked("coupon_deferred_event: written_ms, event_key, event_headers, deferred_at"),
    marked("coupon_eligible_user, and whether a user was on a coupon's list at the time (lists may change)"),
    marked("user, point, and Django's own tables"),
    marked(
        "coupon_disclosed_request: whether rows are missing, or left over from requests that were decided"
    ),
    marked(
        "Redis: an empty gate (it is loaded when it is needed), what a gate remembers for two minutes, "
        "tracked requests, progress, locks, expiry times"
    ),
)
WITHOUT_LOG: Final = marked("the log, and all that only it can show: --from-topic reads it")


class Check(StrEnum):
    """Every invariant, by name."""

    STOCK_NOT_NEGATIVE = "STOCK_NOT_NEGATIVE"
    ONE_CLAIM_PER_USER = "ONE_CLAIM_PER_USER"
    ISSUED_COUNT = "ISSUED_COUNT"
    RANKS_WITHOUT_GAPS = "RANKS_WITHOUT_GAPS"
    WINNER_HAS_COUPON = "WINNER_HAS_COUPON"
    COUPON_HAS_OUTCOME = "COUPON_HAS_OUTCOME"
    ISSUED_WHEN_DECIDED = "ISSUED_WHEN_DECIDED"
    OUTCOME_IS_WHOLE = "OUTCOME_IS_WHOLE"
    FAILURE_HAS_LETTER = "FAILURE_HAS_LETTER"
    LETTER_IS_WHOLE = "LETTER_IS_WHOLE"
    NOBODY_SKIPPED = "NOBODY_SKIPPED"
    STOCK_ADDS_UP = "STOCK_ADDS_UP"
    EVERY_EVENT_DECIDED = "EVERY_EVENT_DECIDED"
    DEAD_LETTER_KEPT = "DEAD_LETTER_KEPT"
    WINNERS_IN_LOG_ORDER = "WINNERS_IN_LOG_ORDER"
    OUTCOME_MATCHES_EVENT = "OUTCOME_MATCHES_EVENT"
    OUTCOME_HAS_EVENT = "OUTCOME_HAS_EVENT"
    GIVEN_UP_HAS_NO_EVENT = "GIVEN_UP_HAS_NO_EVENT"
    TRANSACTIONS_IN_LOG_ORDER = "TRANSACTIONS_IN_LOG_ORDER"
    DEFERRED_COUNT = "DEFERRED_COUNT"
    DEFERRED_IS_WHOLE = "DEFERRED_IS_WHOLE"
    DEFERRED_IN_ORDER = "DEFERRED_IN_ORDER"
    POSITION_IN_LOG = "POSITION_IN_LOG"
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


def finding(check: Check, coupon_id: int | None, message: str, request_id: UUID | None = None) -> Finding:
    return Finding(
        check=check,
        message=message,
        coupon_id=coupon_id,
        request_id=None if request_id is None else str(request_id),
    )


@dataclass(slots=True, kw_only=True)
class Report:
    """``looked_at`` counts the rows and events that were read, so that a clean report is not an empty one.

    ``unchecked``: checks that were not possible. ``notes``: facts worth knowing and not wrong.
    ``not_looked_at``: columns that no check looks at, and checks that were not asked for.
    """

    findings: list[Finding] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=lambda: [say(what) for what in NOT_LOOKED_AT])

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, and every check was possible."""
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
            "notLookedAt": self.not_looked_at,
        }
