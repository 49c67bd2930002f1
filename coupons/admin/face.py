"""The admin's site: django-unfold's, with our title, our menu and our files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.views.i18n import JavaScriptCatalog
from unfold.sites import UnfoldAdminSite

from coupons.admin.names import text

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    _Site = admin.AdminSite
else:
    _Site = UnfoldAdminSite

_TITLE: Final = text(en="Coupons", ko="선착순 쿠폰 관리")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line of the menu, for those who may open it."""

    title: _StrPromise
    icon: str  #: a name of the Material Symbols font
    url: str  #: of the admin's routes
    permission: str


def _list(model: str, permission: str, icon: str, *, en: str, ko: str) -> _Entry:
    return _Entry(
        title=text(en=en, ko=ko),
        icon=icon,
        url=f"admin:{model}_changelist",
        permission=permission,
    )


#: Events apart from customers, and customers apart from those who log in here.
_MENU: Final = (
    (
        text(en="Events", ko="이벤트"),
        (
            _Entry(
                title=text(en="Today’s events", ko="오늘의 이벤트"),
                icon="monitoring",
                url="admin:coupons_events",
                permission="coupons.view_coupon",
            ),
            _list("coupons_coupon", "coupons.view_coupon", "confirmation_number", en="Coupons", ko="쿠폰"),
            _list(
                "coupons_usercoupon",
                "coupons.view_usercoupon",
                "redeem",
                en="Issued coupons",
                ko="발급된 쿠폰",
            ),
            _list(
                "coupons_issueoutcome",
                "coupons.view_issueoutcome",
                "fact_check",
                en="Outcomes of requests",
                ko="요청 결과",
            ),
            _list(
                "coupons_deadletter",
                "coupons.view_deadletter",
                "report",
                en="Dead letters",
                ko="처리 불가 이벤트",
            ),
        ),
    ),
    (
        text(en="Customers", ko="고객"),
        (
            _list("coupons_user", "coupons.view_user", "group", en="Customers", ko="고객"),
            _list("coupons_point", "coupons.view_point", "paid", en="Points", ko="포인트"),
        ),
    ),
    (
        text(en="Staff", ko="직원"),
        (
            _list("auth_user", "auth.view_user", "badge", en="Staff accounts", ko="직원 계정"),
            _list("auth_group", "auth.view_group", "shield_person", en="Staff groups", ko="직원 그룹"),
        ),
    ),
)


class CouponAdminSite(_Site):
    """What unfold would read from settings.UNFOLD stands here, for it has words in both languages."""

    site_title = site_header = _TITLE
    index_template = "admin/coupons/index.html"
    site_url = "/api/docs"  # "view site": the documentation is the only page

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            **super().each_context(request),
            "site_title": _TITLE,
            "site_header": _TITLE,
            "site_symbol": "confirmation_number",
            "site_url": self.site_url,
            "show_history": True,
            "show_view_on_site": True,
            "styles": [static("coupons/face.css")],
        }

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """unfold's hook: the menu, without what the reader may not open."""
        return [
            {"title": title, "separator": False, "items": [_shown(entry, request) for entry in entries]}
            for title, entries in _MENU
        ]

    def i18n_javascript(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The words of Django's scripts (calendar, filters), with our Korean in place of theirs."""
        catalog = JavaScriptCatalog.as_view(packages=["django.contrib.admin", "coupons"])
        return cast("HttpResponse", catalog(request))

    def _get_colors(self, key: str, *args: Any) -> dict[str, Any]:
        return {}  # unfold would write them into each page; they are in face.css


def _shown(entry: _Entry, request: HttpRequest) -> dict[str, Any]:
    link = reverse(entry.url)
    today = reverse("admin:coupons_events")
    is_event = request.path.startswith(today)
    return {
        "title": entry.title,
        "icon": entry.icon,
        "link": link,
        "active": link == today if is_event else request.path.startswith(link),
        "has_permission": request.user.has_perm(entry.permission),
    }
