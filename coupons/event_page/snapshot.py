"""All that an event's page shows, as JSON. Waits for servers: in the board's thread alone."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from coupons.event_page import health
from coupons.event_page.series import EventSeries
from coupons.figures.flushing import waiting_now
from coupons.figures.spread import percentile_s
from coupons.models import Coupon, IssueOutcome, Steering, User
from coupons.operations import deferring, steering
from coupons.outcomes import RequestStatus

TODAY: Final = 0  #: stands for today's events, in place of a coupon
_EVENTS: Final = 50  #: of a day. More, and their snapshot takes longer than a second
_WINNERS: Final = 10
_STEPS: Final = 8
#: An event's small chart and its rates are this old at most; its numbers are new each second. Shorter, and a
#: day of fifty events keeps a process busy; longer, and the list is no help in an emergency.
_LIST_EVERY_S: Final = 4
_SPARK_S: Final = 120  #: a small chart's seconds
#: Events whose figures a process keeps: each has 600 points, some 500 kB.
_MOST_SERIES: Final = 60
_series: OrderedDict[int, EventSeries] = OrderedDict()


def of(key: int) -> bytes:
    """The snapshot of a coupon's event, or of TODAY. Raises Coupon.DoesNotExist and database errors."""
    told = _today() if key == TODAY else _event(key)
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _event(coupon_id: int) -> dict[str, Any]:
    now = time.time()
    began = time.monotonic()
    coupon = Coupon.objects.get(pk=coupon_id)
    database_s = time.monotonic() - began
    series = _updated(coupon_id, int(now))
    found, broker_answers = health.lags()
    return {
        "at": int(now * 1000),
        "coupon": _coupon(coupon),
        **_numbers(coupon, series),
        "waiting": _waiting(coupon_id, found),
        "recent": series.recent(),
        "minutes": series.minutes(),
        "whole": series.all(),
        "partitions": [
            {"partition": each.partition, "lag": each.events, "decidedAt": each.decided_ms} for each in found
        ],
        "health": health.parts(database_s=database_s, found=found, broker_answers=broker_answers),
        "winners": _winners(coupon_id),
        "steps": _steps(coupon_id),
    }


def _waiting(coupon_id: int, found: list[health.Lag]) -> int | None:
    """As the gate counts; where it is empty and all of the log is decided, nothing waits."""
    is_all_decided = bool(found) and all(each.events == 0 for each in found)
    return waiting_now([coupon_id]).get(coupon_id, 0 if is_all_decided else None)


def _today() -> dict[str, Any]:
    now = time.time()
    begin = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    coupons = _of_day(begin)
    waiting = waiting_now([coupon.pk for coupon in coupons])
    events = []
    for coupon in coupons:
        series = _updated(coupon.pk, int(now), every_s=_LIST_EVERY_S)
        minutes = series.minutes()
        spark = (
            [sum(each) for each in zip(*minutes["answers"].values(), strict=True)]
            if minutes["answers"]
            else []
        )
        events.append(
            {
                "coupon": _coupon(coupon),
                **_numbers(coupon, series),
                "waiting": waiting.get(coupon.pk),
                "recent": series.recent(),
                "spark": spark[-_SPARK_S:],
            }
        )
    return {"at": int(now * 1000), "events": events}


def _of_day(begin: datetime) -> list[Coupon]:
    """The events that are open, begin or end on this day, or were steered on it: the newest first."""
    end = begin + timedelta(days=1)
    steered = Steering.objects.filter(created_at__gte=begin, coupon_id__isnull=False)
    ids = list(steered.order_by("-pk").values_list("coupon_id", flat=True)[:_EVENTS])
    of_day = Q(opens_at__lt=end, opens_at__gte=begin) | Q(closes_at__gte=begin, closes_at__lt=end)
    lasting = Q(coupon_status="OPENED") & (Q(closes_at__isnull=True) | Q(closes_at__gte=begin))
    begun = Q(opens_at__isnull=True) | Q(opens_at__lt=end)
    return list(Coupon.objects.filter(of_day | (lasting & begun) | Q(pk__in=ids)).order_by("-pk")[:_EVENTS])


def _updated(coupon_id: int, now: int, *, every_s: int = 1) -> EventSeries:
    series = _series.pop(coupon_id, None) or EventSeries(coupon_id=coupon_id)
    series.update(now, every_s=every_s)
    _series[coupon_id] = series
    while len(_series) > _MOST_SERIES:
        _series.popitem(last=False)
    return series


def _numbers(coupon: Coupon, series: EventSeries) -> dict[str, Any]:
    totals = series.totals()
    refused = {name: count for name, count in totals.answers.items() if name != "ACCEPTED"}
    rejected = {name: count for name, count in totals.decisions.items() if name not in ("ISSUED", "REPLAYED")}
    return {
        "took": {name: percentile_s(totals.took, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "accepted": totals.answers.get("ACCEPTED", 0),
        "issued": coupon.issued_count,
        "left": coupon.stock,
        "refused": dict(sorted(refused.items(), key=lambda item: -item[1])),
        "rejected": dict(sorted(rejected.items(), key=lambda item: -item[1])),
    }


def _coupon(coupon: Coupon) -> dict[str, Any]:
    phase = steering.phase_of(coupon, timezone.now())
    return {
        "id": coupon.pk,
        "description": coupon.description,
        "phase": phase,
        "isRehearsal": coupon.is_rehearsal,
        "opensAt": _ms(coupon.opens_at),
        "closesAt": _ms(coupon.closes_at),
        "pausedAt": _ms(coupon.claims_paused_at),
        "decidingPausedAt": _ms(coupon.deciding_paused_at),
        "decidingPausedBy": deferring.who_paused(coupon.pk) if coupon.deciding_paused_at else "",
        "deferred": coupon.deferred_count,
    }


def _winners(coupon_id: int) -> list[dict[str, Any]]:
    """The newest winners. By rank, for which there is an index, however many rows the coupon has."""
    winners = IssueOutcome.objects.filter(coupon_id=coupon_id, claim_rank__isnull=False)
    rows = list(
        winners.filter(status=RequestStatus.ISSUED)
        .order_by("-claim_rank")
        .values("claim_rank", "user_id", "processed_at")[:_WINNERS]
    )
    names: dict[int | None, str] = dict(
        User.objects.filter(pk__in=[row["user_id"] for row in rows]).values_list("pk", "name")
    )
    return [
        {
            "rank": row["claim_rank"],
            "userId": row["user_id"],
            "name": names.get(row["user_id"], ""),
            "at": _ms(row["processed_at"]),
        }
        for row in rows
    ]


def _steps(coupon_id: int) -> list[dict[str, Any]]:
    rows = Steering.objects.filter(coupon_id=coupon_id).order_by("-pk")[:_STEPS]
    return [{"action": row.action, "who": row.who, "why": row.why, "at": _ms(row.created_at)} for row in rows]


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
