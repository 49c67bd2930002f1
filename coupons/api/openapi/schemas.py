"""Schemas that no serializer says exactly: refusals, and each status of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from coupons.api.openapi import texts
from coupons.api.openapi.parameters import ID
from coupons.outcomes import Code, DeadLetterReason, Decision, RequestStatus

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_TIME: Final[Schema] = {"type": "integer", "format": "int64"}
_COUNT: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0}
_NOTHING: Final[Schema] = {"type": "null"}
#: A slot that was taken and whose event never came to the log is answered with the last one.
_REJECTED_BECAUSE: Final = [
    *[decision.value for decision in Decision if decision.is_rejection],
    Code.BROKER_UNAVAILABLE.value,
]


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Schema) -> Schema:
    """All of its fields are always there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def refusal() -> Schema:
    return _object(
        {
            "success": {"const": False},
            "code": {"type": "string", "enum": [code.value for code in Code]},
            "message": _STRING,
            "requestId": {"anyOf": [_UUID, {"const": ""}], "description": texts.REQUEST_ID},
        }
    )


def refusal_with(codes: Iterable[Code]) -> Schema:
    """A refusal of one status, which has a few of the codes."""
    which = {"properties": {"code": {"enum": [code.value for code in codes]}}}
    return {"allOf": [{"$ref": "#/components/schemas/Refusal"}, which]}


def statuses() -> dict[str, Schema]:
    """By the component's name. Null is what is not known yet, or never comes."""
    pending, issued, rejected, failed = RequestStatus
    return {
        "PendingRequest": _status(
            pending,
            position={**_or_null(_COUNT), "description": texts.POSITION},
            etaSeconds={"type": ["number", "null"], "minimum": 0, "description": texts.ETA},
        ),
        "IssuedRequest": _status(
            issued, userCouponId=ID, rank=ID, processedAt=_TIME, partition=_COUNT, offset=_COUNT
        ),
        "RejectedRequest": _status(
            rejected, reason={"type": "string", "enum": _REJECTED_BECAUSE}, processedAt=_TIME
        ),
        "FailedRequest": _status(
            failed,
            # What could not be read is not known, and need not be an id.
            couponId=_or_null(_TIME),
            userId=_or_null(_TIME),
            reason={"type": "string", "enum": [reason.value for reason in DeadLetterReason]},
            processedAt=_TIME,
        ),
    }


def request_status() -> Schema:
    mapping = dict(zip([status.value for status in RequestStatus], map(_reference, statuses()), strict=True))
    return {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "status", "mapping": mapping},
    }


def _reference(component: str) -> str:
    return f"#/components/schemas/{component}"


def _status(status: RequestStatus, **known: Schema) -> Schema:
    fields: Schema = {
        "requestId": _UUID,
        "couponId": ID,
        "userId": ID,
        "status": {"type": "string", "const": status.value},
        "reason": _NOTHING,
        "userCouponId": _NOTHING,
        "rank": _NOTHING,
        "requestedAt": _TIME,
        "processedAt": _NOTHING,
        "partition": _or_null(_COUNT),
        "offset": _or_null(_COUNT),
    }
    return _object(fields | known)
