"""Events that are deferred: behind the position and undecided, while the deciding of their coupon is paused.

The log's position goes on for all other coupons, so the table of deferred events holds their promise in the
log's place. docs/decisions/deferring.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db.models import F
from django.utils import timezone

from coupons import sql
from coupons.eventlog.events import SECOND_CHANCE_HEADER, IssueRequest, UndecodableEvent, decode
from coupons.eventlog.place import Place
from coupons.models import Coupon, DeferredEvent
from runtime.chunks import in_chunks

_IN_AT_ONCE: Final = 1_000  #: ids in one IN list: a bound on the statement's size
READ_AT_ONCE: Final = 5_000  #: rows of one statement: a bound on memory
#: Coupons that are found one by one. More, and the looks take longer than reading all of the index.
MOST_LOOKS: Final = 100
#: Our own keys have 26 bytes at most; of a longer one the beginning is enough for an operator.
_MOST_KEY_BYTES: Final = 1_000
#: Headers of ours have some hundred bytes. Where they are longer, the others' are not kept: they are in the
#: log, at that place.
_MOST_HEADER_BYTES: Final = 4_000
_OURS: Final = (SECOND_CHANCE_HEADER, "traceparent")  #: changes the outcome; leads to the claim's trace
#: Far below max_allowed_packet (4 MB at least). Fewer, and a batch takes more statements.
_MOST_STATEMENT_BYTES: Final = 1_000_000
_INSERT: Final = (
    f"INSERT INTO {DeferredEvent._meta.db_table} (coupon_id, request_id, kafka_partition, kafka_offset, "
    "written_ms, event_key, event_value, event_headers, deferred_at) VALUES "
)
_ROW: Final = "(%d,'%032x',%d,%d,%s,%s,%s,%s,'%s')"
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class DeferredMoved(RuntimeError):
    """These are not the first deferred events of the coupon any more: another consumer was faster."""


class DecidingPaused(RuntimeError):
    """Somebody paused the deciding of this coupon again: its deferred events wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A message as it is in the log. ``written_ms``: Unix milliseconds, as the log says."""

    key: bytes | None
    value: bytes
    written_ms: int | None
    headers: Mapping[str, bytes] = field(default_factory=dict)


Originals = Callable[[Collection[Place]], Mapping[Place, Original]]  #: the messages at these places


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A deferred event: its place in the log, and its message."""

    place: Place
    original: Original


def defer(requests: Sequence[IssueRequest], originals: Originals) -> None:
    """Defer these undecided events, given in log order, inside the transaction that moves past them.

    Their coupons' rows are locked. A request that is deferred already stays where it is. Of a request that
    stands here twice the second chance is kept, in the first one's place: alone it changes the outcome.
    """
    known = among([request.event.request_id for request in requests])
    new: dict[UUID, IssueRequest] = {}
    for request in requests:
        request_id = request.event.request_id
        if request_id not in known and (request_id not in new or request.is_second_chance):
            new[request_id] = request
    if not new:
        return
    found, now = originals([request.place for request in new.values()]), sql.moment(timezone.now())
    for rows in _in_statements(_row(request, found[request.place], now) for request in new.values()):
        sql.insert(_INSERT, rows)
    counted: dict[int, int] = {}
    for request in new.values():
        counted[request.event.coupon_id] = counted.get(request.event.coupon_id, 0) + 1
    for coupon_id, count in counted.items():
        Coupon.objects.filter(pk=coupon_id).update(deferred_count=F("deferred_count") + count)


def _in_statements(rows: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for row in rows:
        if some and size + len(row) > _MOST_STATEMENT_BYTES:
            yield some
            some, size = [], 0
        some.append(row)
        size += len(row)
    if some:
        yield some


def _packed(headers: Mapping[str, bytes]) -> bytes | None:
    packed = _pack(headers) if headers else None
    if packed is not None and len(packed) > _MOST_HEADER_BYTES:
        ours = {name: value for name, value in headers.items() if name in _OURS}
        packed = _pack({name: value[:_MOST_KEY_BYTES] for name, value in ours.items()}) if ours else None
    return packed


def _row(request: IssueRequest, original: Original, now: str) -> str:
    return _ROW % (
        request.event.coupon_id,
        request.event.request_id.int,
        *request.place,
        "NULL" if original.written_ms is None else f"{original.written_ms:d}",
        _literal(None if original.key is None else original.key[:_MOST_KEY_BYTES]),
        _literal(original.value),
        _literal(_packed(original.headers)),
        now,
    )


def _literal(value: bytes | None) -> str:
    return "NULL" if value is None else f"X'{value.hex()}'"


def take(coupon: Coupon, places: Collection[Place]) -> None:
    """Take these out of the deferred events of a coupon whose row is locked: they are decided here and now.

    They must be its first ones, so that nothing is decided out of order, or twice. Raises DecidingPaused,
    DeferredMoved.
    """
    if coupon.deciding_paused_at is not None:
        raise DecidingPaused(f"the deciding of coupon {coupon.pk} is paused")
    rows = DeferredEvent.objects.filter(coupon_id=coupon.pk).order_by("pk")
    found = list(rows.values_list("pk", "kafka_partition", "kafka_offset")[: len(places)])
    if sorted((partition, offset) for _, partition, offset in found) != sorted(places):
        raise DeferredMoved(f"the deferred events of coupon {coupon.pk} are not those that were read")
    if found:
        # By key: a range would lock, or wait for, rows of other coupons that are resumed at the same time.
        DeferredEvent.objects.filter(pk__in=[pk for pk, *_ in found]).delete()
        Coupon.objects.filter(pk=coupon.pk).update(deferred_count=F("deferred_count") - len(found))


def coupons() -> set[int]:
    """The coupons that have deferred events. A look at an index for each, whatever number of rows it has.

    DISTINCT reads all of the index (80 ms of a million rows), unless the database knows better.
    """
    found: set[int] = set()
    rows = DeferredEvent.objects.order_by("coupon_id").values_list("coupon_id", flat=True)
    while (following := rows.filter(coupon_id__gt=max(found, default=0)).first()) is not None:
        found.add(following)
        if len(found) == MOST_LOOKS:
            return found.union(rows.filter(coupon_id__gt=following).distinct())
    return found


def oldest() -> datetime | None:
    """When the deferred event that was put aside first was so, of all coupons; None if there is none."""
    rows = DeferredEvent.objects.order_by("pk").values_list("deferred_at", flat=True)
    firsts = (rows.filter(coupon_id=coupon_id).first() for coupon_id in coupons())
    return min((each for each in firsts if each is not None), default=None)


def first(coupon_id: int, *, most: int) -> list[Deferred]:
    """The first deferred events of a coupon, in the order in which they are to be decided."""
    return [_deferred(row) for row in DeferredEvent.objects.filter(coupon_id=coupon_id).order_by("pk")[:most]]


def requests(coupon_ids: Iterable[int]) -> list[IssueRequest]:
    """The deferred events of these coupons, in the order in which they are to be decided."""
    found = (request_of(row) for coupon_id in sorted(coupon_ids) for row in _rows(coupon_id))
    return [request for request in found if request is not None]


def _rows(coupon_id: int) -> Iterator[DeferredEvent]:
    """In steps, by the index: MySQL's client takes all rows of one statement into memory."""
    rows, last = DeferredEvent.objects.filter(coupon_id=coupon_id).order_by("pk"), 0
    while some := list(rows.filter(pk__gt=last)[:READ_AT_ONCE]):
        yield from some
        last = some[-1].pk


def find(request_id: UUID) -> IssueRequest | None:
    row = DeferredEvent.objects.filter(request_id=request_id).first()
    return None if row is None else request_of(row)


def among(request_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the requests that are deferred."""
    found: set[UUID] = set()
    for some in in_chunks(request_ids, _IN_AT_ONCE):
        rows = DeferredEvent.objects.filter(request_id__in=some)
        found.update(rows.values_list("request_id", flat=True))
    return found


def count(coupon_id: int) -> int:
    """How many events of the coupon are deferred."""
    return counts([coupon_id]).get(coupon_id, 0)


def counts(coupon_ids: Iterable[int]) -> dict[int, int]:
    """How many events are deferred, by coupon. Their rows are not looked at."""
    found: dict[int, int] = {}
    for some in in_chunks(coupon_ids, _IN_AT_ONCE):
        found.update(Coupon.objects.filter(pk__in=some).values_list("pk", "deferred_count"))
    return found


def request_of(row: DeferredEvent) -> IssueRequest | None:
    """None for an event that cannot be read, which becomes a dead letter in its turn."""
    deferred = _deferred(row)
    try:
        event = decode(deferred.original.value)
    except UndecodableEvent:
        return None
    return IssueRequest(
        event=event,
        place=deferred.place,
        is_second_chance=SECOND_CHANCE_HEADER in deferred.original.headers,
    )


def _deferred(row: DeferredEvent) -> Deferred:
    original = Original(
        key=_bytes(row.event_key),
        value=bytes(row.event_value),
        written_ms=row.written_ms,
        headers={} if row.event_headers is None else _unpack(bytes(row.event_headers)),
    )
    return Deferred(place=Place(row.kafka_partition, row.kafka_offset), original=original)


def _bytes(stored: Any) -> bytes | None:
    return None if stored is None else bytes(stored)
