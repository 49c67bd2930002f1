"""What one user asked for, what they were told, and why: the page for support."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from coupons.admin.events import words
from coupons.admin.lists import zone
from coupons.admin.names import text
from coupons.figures import refusals
from coupons.models import Coupon, User
from coupons.operations import support
from coupons.operations.support import Entry, Told

_TOLD: Final = {
    Told.ISSUED: text(en="got the coupon", ko="발급됨"),
    Told.REJECTED: text(en="accepted, then rejected", ko="접수 후 거절"),
    Told.REFUSED: text(en="refused", ko="접수 거절"),
    Told.PENDING: text(en="accepted, waits to be decided", ko="접수됨, 처리 대기 중"),
}
_KEPT: Final = text(
    en="Refusals are a sample: up to {second} a second and {coupon} of a coupon in each process, for "
    "{days} days. "
    "Somebody whose refusal is not here may still have been refused; the event's page counts them "
    "all. Malformed and "
    "repeated claims are not listed. Times: {zone}.",
    ko="거절 이력은 표본입니다. 프로세스마다 1초에 {second}건, 쿠폰당 {coupon}건까지, {days}일 동안 "
    "보관합니다. 여기에 없어도 거절되었을 수 "
    "있으며, 이벤트 화면은 모두 셉니다. 잘못된 요청과 반복된 요청은 나오지 않습니다. 시각: {zone}.",
)
_HEADS: Final = (
    text(en="When", ko="시각"),
    text(en="Event", ko="이벤트"),
    text(en="Told", ko="결과"),
    text(en="Why", ko="사유"),
    text(en="Rank", ko="순위"),
    text(en="Request", ko="요청 ID"),
)


def urls() -> list[URLPattern]:
    """Below /admin/coupons/user/."""
    return [path("<int:user_id>/told/", admin.site.admin_view(told), name="coupons_support")]


def told(request: HttpRequest, user_id: int) -> HttpResponse:
    if not request.user.has_perms(["coupons.view_user", "coupons.view_issueoutcome"]):
        raise PermissionDenied
    user = get_object_or_404(User, pk=user_id)
    found = support.entries(user_id)
    coupons = Coupon.objects.in_bulk({each.coupon_id for each in found})
    return TemplateResponse(
        request,
        "admin/coupons/told.html",
        {
            **admin.site.each_context(request),
            "title": f"{user}: {text(en='what they were told', ko='요청 이력')}",
            "heads": _HEADS,
            "rows": [_row(each, coupons) for each in found],
            "none": text(en="Nothing is known of a request.", ko="알려진 요청이 없습니다."),
            "kept": str(_KEPT).format(
                second=refusals.MOST_A_SECOND,
                coupon=f"{refusals.MOST_OF_COUPON:,}",
                days=refusals.KEPT.days,
                zone=zone(),
            ),
            "opts": User._meta,
        },
    )


def _row(entry: Entry, coupons: dict[int, Coupon]) -> dict[str, Any]:
    coupon = coupons.get(entry.coupon_id)
    return asdict(entry) | {
        "at": f"{timezone.localtime(entry.at):%Y-%m-%d %H:%M:%S}" if entry.at else "",
        "coupon": coupon or entry.coupon_id,
        "has_page": coupon is not None,
        "told": _TOLD[entry.told],
        "why": words.code(entry.code) if entry.code else "",
        "rank": f"{entry.rank:,}" if entry.rank else "",
    }
