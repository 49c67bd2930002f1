"""The closed sets: the outcomes of a request, and their reasons. Pure."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why a request was refused at the API, or rejected by the consumer (docs/api.md, Refusals)."""

    INVALID_REQUEST = "INVALID_REQUEST"
    # The next ones only where identity is on (docs/integrate.md).
    TICKET_MISSING = "TICKET_MISSING"
    TICKET_MALFORMED = "TICKET_MALFORMED"
    TICKET_FOREIGN = "TICKET_FOREIGN"  # signed by another, or meant for another
    TICKET_EXPIRED = "TICKET_EXPIRED"
    TICKET_NOT_YET_VALID = "TICKET_NOT_YET_VALID"
    TICKET_OF_ANOTHER_USER = "TICKET_OF_ANOTHER_USER"
    TICKET_FOR_ANOTHER_COUPON = "TICKET_FOR_ANOTHER_COUPON"
    IDENTITY_NOT_PROVEN = "IDENTITY_NOT_PROVEN"  # by the header before tickets, X-User-Token
    OFFICE_KEY_UNKNOWN = "OFFICE_KEY_UNKNOWN"
    SCOPE_MISSING = "SCOPE_MISSING"
    SIGNER_UNAVAILABLE = "SIGNER_UNAVAILABLE"  # a key we do not have, and the shop's address is away
    USER_NOT_FOUND = "USER_NOT_FOUND"
    COUPON_NOT_FOUND = "COUPON_NOT_FOUND"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"  # the coupon is for listed users, and this one is not listed
    COUPON_CLOSED = "COUPON_CLOSED"
    CLAIMS_PAUSED = "CLAIMS_PAUSED"  # by an operator; the same claim may succeed later
    OUT_OF_STOCK = "OUT_OF_STOCK"
    ALREADY_REQUESTED = "ALREADY_REQUESTED"
    BROKER_UNAVAILABLE = "BROKER_UNAVAILABLE"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"  # only if a limit is set
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class RequestStatus(StrEnum):
    """The answers of the status route. All but PENDING are final and stored durably."""

    PENDING = "PENDING"
    ISSUED = "ISSUED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


class Decision(StrEnum):
    """The consumer's decision on one event."""

    ISSUED = "ISSUED"
    REPLAYED = "REPLAYED"  # decided before: nothing is written
    USER_NOT_FOUND = "USER_NOT_FOUND"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    COUPON_CLOSED = "COUPON_CLOSED"
    ALREADY_REQUESTED = "ALREADY_REQUESTED"
    OUT_OF_STOCK = "OUT_OF_STOCK"

    @property
    def is_rejection(self) -> bool:
        return self not in (Decision.ISSUED, Decision.REPLAYED)


class DeadLetterReason(StrEnum):
    """The reason why a request is FAILED: its event can never be decided."""

    NOT_JSON = "NOT_JSON"
    INVALID_FIELDS = "INVALID_FIELDS"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    TOO_LARGE = "TOO_LARGE"
    COUPON_NOT_FOUND = "COUPON_NOT_FOUND"
    UNSTORABLE = "UNSTORABLE"
    EVENT_LOST = "EVENT_LOST"  # accepted, and deleted before it was decided: there is no dead letter


class SteeringAction(StrEnum):
    """What an operator does to an event (``coupons/operations/steering``)."""

    OPEN = "OPEN"
    PAUSE_CLAIMS = "PAUSE_CLAIMS"
    RESUME_CLAIMS = "RESUME_CLAIMS"
    PAUSE_DECIDING = "PAUSE_DECIDING"  # claims go on
    RESUME_DECIDING = "RESUME_DECIDING"
    STOP_CLAIMS = "STOP_CLAIMS"  # what was accepted is honoured
    STOP_AT_ONCE = "STOP_AT_ONCE"  # what is undecided is rejected
    CHANGE_STOCK = "CHANGE_STOCK"
    CHANGE_WINDOW = "CHANGE_WINDOW"
    REPLAY_LETTERS = "REPLAY_LETTERS"
    DISCARD_LETTERS = "DISCARD_LETTERS"
    REMOVE_REHEARSAL = "REMOVE_REHEARSAL"
