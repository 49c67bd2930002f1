"""Where accepted requests stand in the log, kept in Redis until they are decided.

The status route finds PENDING requests here; the consumer removes decided ones and writes how fast it
decides. Losing all of this data loses nothing: the status route reads the log instead
(``coupons/claims/request_status.py``).
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
from django.conf import settings
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.claim import Claim
from coupons.eventlog.events import CouponIssueEvent
from coupons.eventlog.place import Place
from coupons.gate.admission import (
    gate,
)
from runtime.redis_roles import leave_if_demoted

log = logging.getLogger(__name__)

#: Longer than events are undecided as a rule. Shorter, and status requests of a slow partition read the log;
#: longer, and requests that the consumer could not remove fill Redis.
_KEPT_S: Final = 3600
#: Longer, and clients get an ETA from a consumer that has stopped; shorter, and the ETA is missing between
#: two batches.
_RATE_LASTS_S: Final = 10


#: An undecided request's event and its place; None while it is uncertain whether the event is in the log.
Undecided = tuple[CouponIssueEvent, Place | None]


def note(requests: Sequence[Undecided]) -> None:
    """Remember undecided requests for an hour. Best effort: the log knows them too. Never in the loop."""
    if not requests or gate.is_away:
        return
    noted: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
    for event, place in requests:
        noted[_key(event.request_id)][_field(event.request_id)] = _packed(event, place)
    client = get_redis_connection("default")
    pipeline = client.pipeline(transaction=False)
    for key, fields in noted.items():
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, _KEPT_S)
    try:
        pipeline.execute()
    except RedisError as error:
        leave_if_demoted(client, error)
        log.warning("%d requests not tracked, the log knows them: %s", len(requests), error)


def find(request_id: UUID) -> Undecided | None:
    """The request if it is noted here. Raises RedisError."""
    value = get_redis_connection("default").hget(_key(request_id), _field(request_id))
    return None if value is None else _unpacked(request_id, value)


def acknowledged(request_ids: Collection[UUID]) -> set[UUID]:
    """The requests that are noted with a place in the log. Raises RedisError."""
    ids = list(request_ids)
    pipeline = get_redis_connection("default").pipeline(transaction=False)
    for request_id in ids:
        pipeline.hget(_key(request_id), _field(request_id))
    found = zip(ids, pipeline.execute(), strict=True)
    noted = [_unpacked(request_id, value) for request_id, value in found if value is not None]
    return {each[0].request_id for each in noted if each is not None and each[1] is not None}


class _Noted(msgspec.Struct, array_like=True, frozen=True):
    """A request as Redis keeps it, in MessagePack: short, because there is one for every claimant."""

    coupon_id: int
    user_id: int
    after_ms: int  #: counts from the request id's own time
    partition: int | None = None
    offset: int | None = None


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Noted).decode


def _unpacked(request_id: UUID, value: bytes) -> Undecided | None:
    """The request in a stored value; None if ``_packed`` cannot have written it: the log is read then."""
    try:
        noted = _unpack(value)
    except msgspec.MsgspecError:
        return None
    claim = Claim(coupon_id=noted.coupon_id, user_id=noted.user_id, request_id=request_id)
    event = CouponIssueEvent.of(claim, timestamp_ms=_time_ms(request_id) + noted.after_ms)
    if noted.partition is None or noted.offset is None:
        return event, None
    return event, Place(noted.partition, noted.offset)


def _packed(event: CouponIssueEvent, place: Place | None) -> bytes:
    after_ms = event.timestamp_ms - _time_ms(event.request_id)
    return _pack(_Noted(event.coupon_id, event.user_id, after_ms, *(place or ())))


def rate(partition: int) -> float | None:
    """How many events a second were decided lately; None if there were none. Raises RedisError."""
    stored = get_redis_connection("default").get(_rate_key(partition))
    try:
        events_per_s = float(stored or 0)
    except ValueError:
        return None
    # float() takes "nan" and "inf", which no client does; the consumer writes one decimal, so 0.1 is the
    # least.
    return events_per_s if 0.1 <= events_per_s < math.inf else None


def forget(request_ids: Iterable[UUID], rates: Mapping[int, float]) -> None:
    """Forget decided requests and note how fast they were decided, by partition. Raises RedisError.

    Frees before it writes: a full Redis takes HDEL, and refuses the rest.
    """
    client = get_redis_connection("default")
    pipeline = client.pipeline(transaction=False)
    decided: defaultdict[str, list[bytes]] = defaultdict(list)
    for request_id in request_ids:
        decided[_key(request_id)].append(_field(request_id))
    for key, fields in decided.items():
        pipeline.hdel(key, *fields)
    for partition, events_per_s in rates.items():
        pipeline.set(_rate_key(partition), f"{events_per_s:.1f}", ex=_RATE_LASTS_S)
    try:
        pipeline.execute()
    except RedisError as error:
        leave_if_demoted(client, error)
        raise


def _rate_key(partition: int) -> str:
    # By group: a second group that reads everything again has another pace.
    kafka = settings.CONFIG.kafka
    return f"coupon-consumer-rate:{kafka.topic}:{kafka.group_id}:{partition}"


def _time_ms(request_id: UUID) -> int:
    """The time in a version 7 id, which begins with it, in Unix milliseconds."""
    return request_id.int >> 80


def _key(request_id: UUID) -> str:
    # Requests of the same 8 ms share a hash: Redis packs a hash of up to 128 fields tightly, in a fifth of
    # the memory that separate keys take. That holds up to 16,000 requests a second; beyond that it takes
    # more.
    return f"coupon-requests:{_time_ms(request_id) >> 3:x}"


def _field(request_id: UUID) -> bytes:
    """The id's last 8 bytes: 62 random bits, no other request of the same 8 ms has them."""
    return request_id.bytes[8:]
