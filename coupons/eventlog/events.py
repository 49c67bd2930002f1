"""The CouponIssueEvent, as the Kotlin producer and ours write it: encode, decode, validate. Pure.

Other systems can write to the topic too, so events are untrusted input.
"""

from __future__ import annotations

import json
import re
import struct
from functools import lru_cache
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from coupons.claim import Claim, Holding
from coupons.eventlog.place import Place
from coupons.outcomes import DeadLetterReason

VERSION = 1
MAX_ID = 2**63 - 1
#: The header of an event that an operator replayed from the dead letters.
SECOND_CHANCE_HEADER = "dead-letter-replay"
#: The end of the year 9999: the last moment that a DATETIME column holds.
LAST_TIMESTAMP_MS = 253_402_300_799_999
#: A genuine event has about 130 bytes; unknown fields may add some. More, and decoding junk takes longer;
#: less, and an event with many unknown fields is a dead letter.
MAX_VALUE_BYTES = 16_384
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
_TimestampMs = Annotated[int, msgspec.Meta(ge=0, le=LAST_TIMESTAMP_MS)]


class CouponIssueEvent(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="version",
    tag=VERSION,
    forbid_unknown_fields=True,
    rename={
        "request_id": "eventId",
        "user_id": "userId",
        "coupon_id": "couponId",
        "timestamp_ms": "timestamp",
    },
):
    """A claim in the log, and when it was accepted: Unix milliseconds, by the API's clock.

    Only the decoder checks the bounds; the constructor checks nothing. ``gc=False``: a garbage collection
    need not look at a hundred thousand undecided events.
    """

    request_id: UUID
    user_id: _Id
    coupon_id: _Id
    timestamp_ms: _TimestampMs

    @classmethod
    def of(cls, claim: Claim, *, timestamp_ms: int) -> CouponIssueEvent:
        return cls(
            request_id=claim.request_id,
            user_id=claim.user_id,
            coupon_id=claim.coupon_id,
            timestamp_ms=timestamp_ms,
        )

    @property
    def claim(self) -> Claim:
        return Claim(coupon_id=self.coupon_id, user_id=self.user_id, request_id=self.request_id)

    @property
    def holding(self) -> Holding:
        """The holding that the event asks for."""
        return Holding(self.coupon_id, self.user_id)


class IssueRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event at its place in the log.

    ``is_second_chance``: an operator replayed a dead letter; a new decision replaces its outcome FAILED.
    """

    event: CouponIssueEvent
    place: Place
    is_second_chance: bool = False


_DECODER: Final = msgspec.json.Decoder(CouponIssueEvent)
#: ValueError: msgspec fails to quote bytes that are not UTF-8 in its own error.
_ODD: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_QUOTES: Final = 12  #: of an event: see ``_has_each_field_once``
_DASHES: Final = 4


class UndecodableEvent(ValueError):
    """This event can never be issued.

    ``request_id``, ``user_id``, ``coupon_id``: what could still be read, so that the status route
    can answer with the dead letter's outcome.
    """

    def __init__(
        self, reason: DeadLetterReason, detail: str, *, readable: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        fields = readable or {}
        self.request_id = _uuid_or_none(fields.get("eventId"))
        self.user_id = _id_or_none(fields.get("userId"))
        self.coupon_id = _id_or_none(fields.get("couponId"))


def partition_key(coupon_id: int) -> bytes:
    """All of a coupon's events share a partition, so their log order is the coupon's order."""
    return b"coupon-%d" % coupon_id


@lru_cache(maxsize=16_384)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of this key in a topic of so many partitions: murmur2, as Java's and our producers.

    If the topic had fewer partitions once, older events of the key may stand in another one.
    """
    return (_murmur2(key) & 0x7FFF_FFFF) % partitions


def _murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils): 32 bits, here without a sign."""
    mixed = 0x9747_B28C ^ len(data)
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = _times(word)
        mixed = _times(mixed) ^ _times(word ^ word >> 24)
    if whole < len(data):
        mixed = _times(mixed ^ int.from_bytes(data[whole:], "little"))
    mixed = _times(mixed ^ mixed >> 13)
    return mixed ^ mixed >> 15


def _times(number: int) -> int:
    return number * 0x5BD1_E995 & 0xFFFF_FFFF


def encode(event: CouponIssueEvent) -> bytes:
    """The event as JSON (docs/api.md, Kafka), UTF-8."""
    return b'{"eventId":"%s","userId":%d,"couponId":%d,"timestamp":%d,"version":%d}' % (
        str(event.request_id).encode(),
        event.user_id,
        event.coupon_id,
        event.timestamp_ms,
        VERSION,
    )


def decode(value: bytes | None) -> CouponIssueEvent:
    """Read an event. Unknown fields are ignored. Raises UndecodableEvent."""
    if value is not None and _has_each_field_once(value):
        try:
            return _DECODER.decode(value)
        except _ODD:
            pass  # decoding by field finds that it is an event all the same, or says what is wrong
    return decode_by_field(value)


def _has_each_field_once(value: bytes) -> bool:
    """Whether msgspec's rules are enough: an event that msgspec accepts is then an event by our rules, too.

    Twelve quotes: five names and the id. So no name comes twice, of which msgspec takes the last one. Four
    dashes: the id's, without which msgspec accepts an id, while a timestamp of -0 has one more. The version
    must be there, because msgspec checks it only if it is.
    """
    return (
        len(value) <= MAX_VALUE_BYTES
        and value.count(b'"') == _QUOTES
        and value.count(b"-") == _DASHES
        and b'"version"' in value
    )


def decode_by_field(value: bytes | None) -> CouponIssueEvent:
    """Decode as ``decode`` does, by the rules one by one: slower, and says what is wrong."""
    fields = _json_object(value)
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        raise UndecodableEvent(
            DeadLetterReason.UNKNOWN_VERSION,
            f"version is {_shown(version)}, this consumer knows {VERSION}",
            readable=fields,
        )
    request_id, timestamp = _uuid_or_none(fields.get("eventId")), fields.get("timestamp")
    user_id, coupon_id = _id_or_none(fields.get("userId")), _id_or_none(fields.get("couponId"))
    if request_id is None:
        raise _invalid("eventId", "a UUID", fields)
    if user_id is None:
        raise _invalid("userId", f"a whole number from 1 to {MAX_ID}", fields)
    if coupon_id is None:
        raise _invalid("couponId", f"a whole number from 1 to {MAX_ID}", fields)
    if type(timestamp) is not int or not 0 <= timestamp <= LAST_TIMESTAMP_MS:
        raise _invalid("timestamp", "Unix milliseconds", fields)
    return CouponIssueEvent(
        request_id=request_id, user_id=user_id, coupon_id=coupon_id, timestamp_ms=timestamp
    )


def _json_object(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise UndecodableEvent(DeadLetterReason.NOT_JSON, "the message has no value")
    if len(value) > MAX_VALUE_BYTES:
        raise UndecodableEvent(
            DeadLetterReason.TOO_LARGE,
            f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES} are read",
        )
    try:
        fields = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # json's errors and UTF-8's are ValueErrors
        raise UndecodableEvent(DeadLetterReason.NOT_JSON, f"{type(error).__name__}: {error}"[:200]) from error
    if not isinstance(fields, dict):
        raise UndecodableEvent(DeadLetterReason.NOT_JSON, f"a {type(fields).__name__}, not an object")
    return fields


def _uuid_or_none(value: object) -> UUID | None:
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else None


def _id_or_none(value: object) -> int | None:
    # True is an int to Python, and a careless producer writes 1.0 or "1": none of them is an id.
    return value if type(value) is int and 1 <= value <= MAX_ID else None


def _invalid(field: str, expected: str, fields: dict[str, Any]) -> UndecodableEvent:
    detail = f"{field} must be {expected}, not {_shown(fields.get(field))}"
    return UndecodableEvent(DeadLetterReason.INVALID_FIELDS, detail, readable=fields)


def _shown(value: object) -> str:
    return repr(value)[:60] if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
