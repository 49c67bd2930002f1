"""The groups that most teams want, made by one button: who watches, who steers, who answers customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.contrib import admin, messages
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from coupons.admin.names import text

_SEE: Final = ("view",)
#: Tables of ``coupons`` and what may be done with them.
_WATCHED: Final[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
    ("coupon", "usercoupon", "issueoutcome", "deadletter"), _SEE
)
_STEERED: Final[Mapping[str, tuple[str, ...]]] = {
    **_WATCHED,
    "coupon": ("view", "add", "change", "delete"),
    "deadletter": ("view", "change"),
    "user": _SEE,
}
_ANSWERED: Final[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
    ("coupon", "user", "point", "usercoupon", "issueoutcome"), _SEE
)
_USUAL: Final = (
    (text(en="Observers", ko="이벤트 참관"), _WATCHED),
    (text(en="Event operators", ko="이벤트 운영"), _STEERED),
    (text(en="Customer support", ko="고객 지원"), _ANSWERED),
)
_MADE: Final = text(en="Made: {names}", ko="추가한 그룹: {names}")
_THERE: Final = text(en="All of them are there already.", ko="이미 모두 있습니다.")
BUTTON: Final = text(en="Add the usual groups", ko="기본 그룹 추가")


def urls() -> list[URLPattern]:
    """Below /admin/auth/group/."""
    return [path("usual/", admin.site.admin_view(require_POST(add_usual)), name="coupons_usual_groups")]


def add_usual(request: HttpRequest) -> HttpResponse:
    """Make those that are missing, by name in the reader's language. One that is there is left as it is."""
    if not request.user.has_perm("auth.add_group"):
        raise PermissionDenied
    made = [str(name) for name, tables in _USUAL if _make(str(name), tables)]
    said = str(_MADE).format(names=", ".join(made)) if made else str(_THERE)
    messages.info(request, said)
    return HttpResponseRedirect(reverse("admin:auth_group_changelist"))


def _make(name: str, tables: Mapping[str, tuple[str, ...]]) -> bool:
    group, is_new = Group.objects.get_or_create(name=name)
    if is_new:
        wanted = Q()
        for table, verbs in tables.items():
            wanted |= Q(codename__in=[f"{verb}_{table}" for verb in verbs])
        group.permissions.set(Permission.objects.filter(wanted, content_type__app_label="coupons"))
    return is_new
