"""The pages of events. Views of the admin, for staff who may look at coupons."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from coupons.admin.events import route, steps, words
from coupons.event_page import snapshot
from coupons.event_page.board import board
from coupons.models import Coupon
from coupons.operations import steering, winners
from coupons.outcomes import SteeringAction as Action

#: Without it Excel reads Korean names as something else.
_EXCELS_MARK: Final = "\N{BYTE ORDER MARK}"
_ORDER: Final = (
    Action.OPEN,
    Action.RESUME_CLAIMS,
    Action.PAUSE_CLAIMS,
    Action.PAUSE_DECIDING,
    Action.RESUME_DECIDING,
    Action.STOP_CLAIMS,
    Action.STOP_AT_ONCE,
    Action.CHANGE_STOCK,
    Action.CHANGE_WINDOW,
)


def urls() -> list[URLPattern]:
    """Below /admin/coupons/coupon/."""
    site = admin.site
    return [
        path("event/", site.admin_view(today), name="coupons_events"),
        path("event/<int:key>/snapshot/", site.admin_view(figures), name="coupons_event_snapshot"),
        path("event/<int:key>/pass/", site.admin_view(new_pass), name="coupons_event_pass"),
        path("event/<int:coupon_id>/", site.admin_view(event), name="coupons_event"),
        path("event/<int:coupon_id>/winners.csv", site.admin_view(winners_file), name="coupons_winners"),
        path("event/<int:coupon_id>/removal/", site.admin_view(steps.removal), name="coupons_removal"),
        path("event/<int:coupon_id>/<str:action>/", site.admin_view(steps.step), name="coupons_event_step"),
    ]


def today(request: HttpRequest) -> HttpResponse:
    """Today's events, with a small chart each."""
    _refuse_strangers(request)
    title = words.label("today")
    return _page(request, "today.html", key=snapshot.TODAY, title=title, events_url=_event_url())


def event(request: HttpRequest, coupon_id: int) -> HttpResponse:
    """One event: watch it and steer it."""
    _refuse_strangers(request)
    coupon = get_object_or_404(Coupon, pk=coupon_id)
    may_steer = request.user.has_perm("coupons.change_coupon")
    possible = steering.possible(coupon, timezone.now()) if may_steer else frozenset()
    return _page(
        request,
        "event.html",
        key=coupon_id,
        title=str(coupon),
        coupon=coupon,
        may_remove=coupon.is_rehearsal and request.user.has_perm("coupons.delete_coupon"),
        remove=words.ACTIONS[Action.REMOVE_REHEARSAL],
        actions=[
            {
                "value": action.value,
                "label": words.ACTIONS[action],
                "url": reverse("admin:coupons_event_step", args=[coupon_id, action.value.lower()]),
                "is_possible": action in possible,
            }
            for action in (_ORDER if may_steer else ())
        ],
    )


def figures(request: HttpRequest, key: int) -> HttpResponse:
    """The snapshot by session, where no loop answers ahead of Django (``route.py``), as under runserver."""
    _refuse_strangers(request)
    try:
        body = board.now(key) or b'{"error":"soon"}'  # the page asks again
    except Coupon.DoesNotExist:
        body = b'{"gone":true}'
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})


def winners_file(request: HttpRequest, coupon_id: int) -> StreamingHttpResponse:
    """The winners by rank. Streamed: a million rows take a minute and no memory."""
    _refuse_strangers(request)
    coupon = get_object_or_404(Coupon, pk=coupon_id)
    lines = winners.as_csv(winners.of(coupon))
    return StreamingHttpResponse(
        chain([_EXCELS_MARK], lines),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="winners-{coupon_id}.csv"'},
    )


def new_pass(request: HttpRequest, key: int) -> HttpResponse:
    _refuse_strangers(request)
    return JsonResponse({"pass": route.new_pass(key)}, headers={"Cache-Control": "no-store"})


def _refuse_strangers(request: HttpRequest) -> None:
    if not request.user.has_perm("coupons.view_coupon"):
        raise PermissionDenied


def _event_url() -> str:
    return reverse("admin:coupons_event", args=[0]).replace("/0/", "/{id}/")


def _page(request: HttpRequest, template: str, *, key: int, title: str, **context: Any) -> HttpResponse:
    said = words.for_script()
    config = {
        "key": key,
        "pass": route.new_pass(key),
        "snapshotUrl": reverse("admin:coupons_event_snapshot", args=[key]),
        "passUrl": reverse("admin:coupons_event_pass", args=[key]),
        "eventUrl": _event_url(),
        "words": said,
        "locale": request.LANGUAGE_CODE if hasattr(request, "LANGUAGE_CODE") else "ko",
    }
    return TemplateResponse(
        request,
        f"admin/coupons/event/{template}",
        {
            **admin.site.each_context(request),
            "title": title,
            "config": config,
            "words": said["labels"],
            "opts": Coupon._meta,
            **context,
        },
    )
