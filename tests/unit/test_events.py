"""The event schema: what the Kotlin producer and ours write is read, everything else is refused by name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from coupons.eventlog import events
from coupons.eventlog.events import (
    MAX_ID,
    MAX_VALUE_BYTES,
    CouponIssueEvent,
    UndecodableEvent,
    decode,
    decode_by_field,
    encode,
    partition_key,
    partition_of,
)
from coupons.outcomes import DeadLetterReason

ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
#: As Jackson writes the reference's data class.
KOTLIN = (
    b'{"eventId":"3f2504e0-4f89-41d3-9a0c-0305e82c3301","userId":1,"couponId":7,'
    b'"timestamp":1700000000123,"version":1}'
)
EVENT = CouponIssueEvent(request_id=UUID(ID), user_id=1, coupon_id=7, timestamp_ms=1_700_000_000_123)


def value(**changes: Any) -> bytes:
    """A good event with these fields changed; ``...`` leaves a field out."""
    fields = json.loads(KOTLIN) | changes
    return json.dumps({name: field for name, field in fields.items() if field is not ...}).encode()


def refusal(raw: bytes | None) -> UndecodableEvent:
    with pytest.raises(UndecodableEvent) as refused:
        decode(raw)
    return refused.value


def test_the_kotlin_producers_event_is_read() -> None:
    assert decode(KOTLIN) == EVENT


def test_we_write_what_the_kotlin_producer_writes() -> None:
    assert encode(EVENT) == KOTLIN


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        CouponIssueEvent(request_id=UUID(int=0), user_id=MAX_ID, coupon_id=MAX_ID, timestamp_ms=0),
        CouponIssueEvent(
            request_id=UUID(int=2**128 - 1), user_id=1, coupon_id=1, timestamp_ms=253402300799999
        ),
    ],
)
def test_what_is_written_is_read_back(event: CouponIssueEvent) -> None:
    assert decode(encode(event)) == event
    assert len(encode(event)) < MAX_VALUE_BYTES


WRITTEN = [
    *("1", "0", "01", "-1", "1.0", "1e3", " 1", "1 ", "1_0", "true", "null", "", '"1"', "\u0661", "1\n"),
    *("9" * 14, "253402300799999", "253402300800000", "9" * 17, "9" * 18, "9" * 19, str(MAX_ID), "9" * 40),
    *(f'"{text}"' for text in (ID, ID.upper(), f"{ID}\n", f"{ID[:-1]}g", ID.replace("-", ""), "\\u0033")),
]


@pytest.mark.parametrize("name", ["eventId", "userId", "couponId", "timestamp", "version", "another"])
@pytest.mark.parametrize("written", WRITTEN)
def test_the_short_way_and_the_long_way_read_the_same(name: str, written: str) -> None:
    """The usual event is read straight into the struct; what anything else means is the rules' word."""
    for fields in (TEXTS | {name: written}, {name: written} | TEXTS, {"version": "1", name: written} | TEXTS):
        read_alike(b"{" + ",".join(f'"{key}":{text}' for key, text in fields.items()).encode() + b"}")
    read_alike(KOTLIN[:-1] + f',"{name}":{written}}}'.encode())
    read_alike(f'{{"{name}":{written},'.encode() + KOTLIN[1:])


TEXTS = {"eventId": f'"{ID}"', "userId": "1", "couponId": "7", "timestamp": "17", "version": "1"}
NO_DASHES = ID.replace("-", "")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xef\xbb\xbf" + KOTLIN, id="a byte order mark"),
        pytest.param(KOTLIN + b"\x00", id="a trailing NUL"),
        pytest.param(KOTLIN + b" \t\r\n", id="trailing spaces"),
        pytest.param(b" \t\r\n" + KOTLIN.replace(b":", b" :\n"), id="spaces"),
        pytest.param(b"\x0b" + KOTLIN, id="a space that is none in JSON"),
        pytest.param(KOTLIN + KOTLIN, id="two events"),
        pytest.param(KOTLIN + b" " * MAX_VALUE_BYTES, id="an event, and too large"),
        pytest.param(b'{"version":1,' + KOTLIN[1 : -len(b',"version":1}')] + b"}", id="the version first"),
        pytest.param(KOTLIN.replace(ID.encode(), NO_DASHES.encode()), id="no dashes"),
        pytest.param(
            KOTLIN[:-1].replace(ID.encode(), NO_DASHES.encode()) + b',"x":"----"}', id="the dashes elsewhere"
        ),
        pytest.param(KOTLIN[:-1] + b',"eventId":"%s"}' % NO_DASHES.encode(), id="dashes, and then none"),
        pytest.param(b'{"eventId":"%s",' % NO_DASHES.encode() + KOTLIN[1:], id="no dashes, and then some"),
        pytest.param(KOTLIN.replace(b',"version":1', b',"userId":1'), id="a field twice and no version"),
        pytest.param(KOTLIN.replace(b'"version"', b'"v\\u0065rsion"'), id="an escaped name"),
        pytest.param(KOTLIN.replace(b"3f25", b"\\u0033f25"), id="an escaped id"),
        pytest.param(KOTLIN.replace(b"04e0-4f", b"04e04-f"), id="a dash in the wrong place"),
        pytest.param(KOTLIN[:-1] + b',"x":"\\ud800"}', id="a lone surrogate, escaped"),
        pytest.param(KOTLIN[:-1] + b',"x":"\xed\xa0\x80"}', id="a lone surrogate"),
        pytest.param(KOTLIN[:-1] + b',"\xff":1}', id="a name that is no UTF-8"),
        pytest.param(KOTLIN.replace(b"userId", b"user\xffd"), id="a broken name"),
        pytest.param(KOTLIN.replace(b"3f25", b"\xff\xfe25"), id="an id that is no UTF-8"),
        pytest.param(KOTLIN[:-1] + b',"x":NaN,"y":-Infinity,"z":1e999}', id="numbers that JSON has not"),
        pytest.param(KOTLIN[:-1] + b',"x":' + b"9" * 5000 + b"}", id="more digits than Python reads"),
        pytest.param(KOTLIN.replace(b'"userId":1', b'"userId":' + b"9" * 5000), id="an id of 5000 digits"),
        pytest.param(KOTLIN[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", id="nested too deep"),
        pytest.param(KOTLIN[:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}", id="nested"),
        pytest.param(KOTLIN.replace(b'"userId":1', b'"userId":' + b"[" * 16_000), id="an id nested too deep"),
        pytest.param(KOTLIN.replace(b"1,", b"1\xd9\xa1,"), id="a digit of another script"),
    ],
)
def test_what_is_odd_is_read_the_same_both_ways(raw: bytes) -> None:
    read_alike(raw)


def test_what_is_broken_at_random_is_read_the_same_both_ways() -> None:
    chance = random.Random(7)
    pieces = [
        *(f'"{name}":'.encode() for name in TEXTS),
        *(text.encode() for text in WRITTEN),
        *(
            KOTLIN,
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b"-",
            b"--",
            b"\x00",
            b"\xff",
            b" ",
            b"NaN",
        ),
    ]
    read = 0
    for _ in range(5_000):
        raw = KOTLIN
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(raw) + 1)
            end = min(len(raw), start + chance.choice([0, 0, 1, 1, 2, 11]))
            raw = raw[:start] + chance.choice([b"", chance.choice(pieces), chance.randbytes(1)]) + raw[end:]
        read += isinstance(read_alike(raw), CouponIssueEvent)
    assert 100 < read < 4_900


def test_fields_at_random_are_read_the_same_both_ways() -> None:
    """Whole objects: names in any order, missing or twice, and values that are nearly right."""
    chance = random.Random(8)
    read = 0
    for _ in range(5_000):
        names = chance.choices([*TEXTS], k=chance.choice([0, 0, 0, 1, 2])) + [
            name for name in TEXTS if chance.random() < 0.95
        ]
        chance.shuffle(names)
        fields = [
            f'"{name}":{chance.choice(WRITTEN) if chance.random() < 0.1 else TEXTS[name]}' for name in names
        ]
        raw = ("{" + ",".join(fields) + "}").encode()
        read += isinstance(read_alike(raw), CouponIssueEvent)
    assert 100 < read < 4_900


def test_the_usual_event_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(events, "decode_by_field")

    assert decode(KOTLIN) == EVENT
    assert decode(value(eventId=ID.upper())) == EVENT


def read_alike(raw: bytes) -> object:
    """What is read, or why not; the same with msgspec and without."""
    told = outcome(decode_by_field, raw)
    assert outcome(decode, raw) == told
    return told


def outcome(read: Callable[[bytes], CouponIssueEvent], raw: bytes) -> object:
    try:
        return read(raw)
    except UndecodableEvent as refused:
        return refused.reason, refused.detail, refused.request_id, refused.user_id, refused.coupon_id


def test_unknown_fields_order_and_spaces_do_not_matter() -> None:
    fields = json.loads(KOTLIN) | {"traceId": "abc", "nested": {"userId": 99}, "couponName": "쿠폰 🎫"}
    shuffled = dict(reversed(fields.items()))

    assert decode(json.dumps(shuffled, indent=2, ensure_ascii=False).encode()) == EVENT


def test_an_upper_case_request_id_is_the_same_id() -> None:
    assert decode(value(eventId=ID.upper())) == EVENT


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="no value"),
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="text"),
        pytest.param(KOTLIN[:-1], id="cut short"),
        pytest.param(KOTLIN + b"x", id="something behind it"),
        pytest.param(b"\xff\xfe" + KOTLIN, id="no UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + KOTLIN, id="a byte order mark"),
        pytest.param(b"\x00\x00\x00\x00\x01" + KOTLIN, id="a schema registry's prefix"),
        pytest.param(KOTLIN.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" + KOTLIN + b"]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"1", id="a number"),
        pytest.param(b"[" * 16_000, id="nested too deep"),
        pytest.param(b'{"a":' * 3000, id="objects nested too deep"),
        pytest.param(b'{"userId":' + b"9" * 5000 + b"}", id="more digits than Python reads"),
        pytest.param(b"\xed\xa0\x80", id="a lone surrogate"),
    ],
)
def test_what_is_no_json_object_is_told_so(raw: bytes | None) -> None:
    refused = refusal(raw)

    assert refused.reason is DeadLetterReason.NOT_JSON
    assert 0 < len(refused.detail) <= 200


@pytest.mark.parametrize("version", [0, 2, -1, "1", 1.0, True, None, ..., [], {}, 10**400, "x" * 5000])
def test_another_version_is_told_so(version: object) -> None:
    refused = refusal(value(version=version))

    assert refused.reason is DeadLetterReason.UNKNOWN_VERSION
    assert len(refused.detail) < 150


NO_ID = [0, -1, 2**63, 10**400, 1.0, 1.5, "1", "", "abc", True, False, None, ..., [1], {}, float("nan")]


@pytest.mark.parametrize("field", ["userId", "couponId"])
@pytest.mark.parametrize("wrong", NO_ID)
def test_a_wrong_id_is_told_by_name(field: str, wrong: object) -> None:
    refused = refusal(value(**{field: wrong}))

    assert refused.reason is DeadLetterReason.INVALID_FIELDS
    assert refused.detail.startswith(f"{field} must be")
    assert len(refused.detail) < 200


@pytest.mark.parametrize(
    "wrong", ["", "abc", ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", ID + "\n", ID[:-1], 1, None, ...]
)
def test_a_wrong_request_id_is_told_by_name(wrong: object) -> None:
    refused = refusal(value(eventId=wrong))

    assert refused.reason is DeadLetterReason.INVALID_FIELDS
    assert refused.detail.startswith("eventId must be a UUID")
    assert refused.request_id is None


@pytest.mark.parametrize("wrong", [-1, 253402300800000, 10**18, 1.5, "1700000000123", True, None, ..., []])
def test_a_wrong_timestamp_is_told_by_name(wrong: object) -> None:
    refused = refusal(value(timestamp=wrong))

    assert refused.reason is DeadLetterReason.INVALID_FIELDS
    assert refused.detail.startswith("timestamp must be")


def test_a_huge_value_is_not_parsed() -> None:
    largest = KOTLIN[:-1] + b',"x":"' + b"x" * (MAX_VALUE_BYTES - len(KOTLIN) - 7) + b'"}'
    assert len(largest) == MAX_VALUE_BYTES
    assert decode(largest) == EVENT

    assert refusal(largest.replace(b'"x":"', b'"x":"x')).reason is DeadLetterReason.TOO_LARGE


def test_what_could_be_read_of_a_bad_event_is_kept() -> None:
    refused = refusal(value(version=2))
    assert (refused.request_id, refused.user_id, refused.coupon_id) == (UUID(ID), 1, 7)

    refused = refusal(value(userId=True, couponId="7"))
    assert (refused.request_id, refused.user_id, refused.coupon_id) == (UUID(ID), None, None)

    refused = refusal(b"hello")
    assert (refused.request_id, refused.user_id, refused.coupon_id) == (None, None, None)


def test_a_coupons_events_share_a_key() -> None:
    assert partition_key(7) == b"coupon-7"
    assert partition_key(MAX_ID) == b"coupon-9223372036854775807"


def test_murmur2_is_javas() -> None:
    """The values of Kafka's own test of it."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"abc": 479470107,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }

    in_a_huge_topic = {key: partition_of(key, 2**31) for key in known}
    assert in_a_huge_topic == {key: value & 0x7FFF_FFFF for key, value in known.items()}


def test_a_partition_is_one_of_the_topics_and_never_negative() -> None:
    assert partition_of(b"21", 3) == (-973932308 & 0x7FFF_FFFF) % 3
    assert {partition_of(partition_key(coupon_id), 3) for coupon_id in range(50)} == {0, 1, 2}
    assert partition_of(b"", 1) == 0
