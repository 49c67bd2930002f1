"""The admin: seed and edit coupons, users and points; look at claims and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps as django_apps
from django.contrib import admin
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import StackedInline

from coupons.admin import import_words, imports, letters, progress, support
from coupons.admin.events import pages, words
from coupons.admin.forms import CouponForm, PointForm, UserCouponForm
from coupons.admin.lists import LargeTableAdmin, LiveTableAdmin, NamedChangeList, OwnedChangeList, labelled
from coupons.admin.names import name_tables, text
from coupons.models import (
    Coupon,
    CouponStatus,
    DeadLetter,
    EligibleUser,
    IssueOutcome,
    Point,
    User,
    UserCoupon,
)
from coupons.operations import steering
from coupons.operations.importing.rows import Kind
from coupons.outcomes import SteeringAction as Action

if TYPE_CHECKING:
    _StackedInline = admin.StackedInline[Model, Model]
else:
    _StackedInline = StackedInline

name_tables()
django_apps.get_app_config("coupons").verbose_name = text(en="Coupon events", ko="쿠폰 이벤트")
django_apps.get_app_config("auth").verbose_name = text(en="Staff", ko="직원")

_WHEN = text(en="When", ko="기간")
_CLOSED_AT_FIRST = text(
    en="Without a start it is closed until somebody opens it on its event page.",
    ko="시작 시각을 비우면 이벤트 화면에서 열 때까지 닫혀 있습니다.",
)
_STOCK = text(en="Stock", ko="재고")
_LOOK = text(en="see", ko="보기")
#: unfold's kind of label for each phase and each result.
_KINDS = {
    "OPEN": "success",
    "PLANNED": "info",
    "PAUSED": "warning",
    "ISSUED": "success",
    "REJECTED": "warning",
    "FAILED": "danger",
}


def _rows(model: str, query: str, label: object) -> SafeString:
    """A link to a list of the admin."""
    url = reverse(f"admin:coupons_{model}_changelist")
    return format_html('<a href="{}?{}">{}</a>', url, query, label)


class NewPoint(_StackedInline):
    """A new user's points, in the form that makes the user."""

    model = Point
    form = PointForm
    can_delete = False


@admin.register(User)
class UserAdmin(LiveTableAdmin):
    list_display = ("user_id", "name", "told", "created_at")
    search_help_text = text(en="A customer's ID, exactly.", ko="고객 ID (정확히 일치)")
    readonly_fields = ("user_id", "belongings", "created_at", "updated_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("name",) if obj is None else ("name", *self.readonly_fields)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return [NewPoint] if obj is None else []

    def get_urls(self) -> list[Any]:
        return [*support.urls(), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"import_title": import_words.TITLES[Kind.USERS], **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=text(en="requests", ko="요청 이력"))
    def told(self, user: User) -> SafeString:
        return format_html('<a href="{}">{}</a>', reverse("admin:coupons_support", args=[user.pk]), _LOOK)

    @admin.display(description=_LOOK)
    def belongings(self, user: User) -> SafeString:
        points = _rows("point", f"user_id={user.pk}", text(en="points", ko="포인트"))
        claims = _rows("usercoupon", f"user_id={user.pk}", text(en="coupons", ko="발급된 쿠폰"))
        return format_html("{} · {} · {}", points, claims, self.told(user))


@admin.register(Point)
class PointAdmin(LiveTableAdmin):
    form = PointForm
    list_display = ("point_id", "owner", "left", "updated_at")
    search_columns = {"": "user_id"}
    search_help_text = text(en="A customer's ID, exactly.", ko="고객 ID (정확히 일치)")
    raw_id_fields = ("user",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else ("user", "created_at", "updated_at")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[OwnedChangeList]:
        return OwnedChangeList

    @admin.display(description=text(en="customer", ko="고객"))
    def owner(self, point: Any) -> str:
        named: str = point.named_user
        return named

    @admin.display(description=text(en="balance", ko="잔액"))
    def left(self, point: Point) -> str:
        return f"{point.balance:,}"


@admin.register(Coupon)
class CouponAdmin(LiveTableAdmin):
    """What an event looks like is edited here; stock, window and status are steered, with a reason.

    Saving writes none of these, nor ``issued_count``.
    """

    form = CouponForm

    list_display = (
        "coupon_id",
        "description",
        "page",
        "discount",
        "left",
        "issued",
        "phase",
        "opens_at",
        "closes_at",
    )
    list_display_links = ("coupon_id", "description")
    search_help_text = text(en="A coupon's ID, exactly.", ko="쿠폰 ID (정확히 일치)")

    def get_urls(self) -> list[Any]:
        upload = path("import/<str:kind>/", admin.site.admin_view(imports.page), name="coupons_import")
        asked = admin.site.admin_view(progress.asked)
        told = path("progress/<str:number>/", asked, name="coupons_progress")
        return [*pages.urls(), upload, told, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"today": words.label("today"), "imports": imports.offered(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=text(en="discount amount", ko="할인 금액"))
    def discount(self, coupon: Coupon) -> str:
        return f"{coupon.discount_amount:,}"

    @admin.display(description=text(en="left", ko="남은 재고"))
    def left(self, coupon: Coupon) -> str:
        return f"{coupon.stock:,}"

    @admin.display(description=text(en="issued", ko="발급 수량"))
    def issued(self, coupon: Coupon) -> str:
        return f"{coupon.issued_count:,}"

    @labelled(description=text(en="state", ko="상태"), kinds=_KINDS)
    def phase(self, coupon: Coupon) -> tuple[str, str]:
        phase = steering.phase_of(coupon, timezone.now())
        return phase.value, words.phase(phase)

    @admin.display(description=text(en="event", ko="이벤트"))
    def page(self, coupon: Coupon) -> SafeString:
        return format_html('<a href="{}">{}</a>', reverse("admin:coupons_event", args=[coupon.pk]), _LOOK)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        what, kinds = ("description", "discount_amount", "coupon_status"), ("is_rehearsal", "eligible_only")
        if obj is None:
            new = (None, {"fields": ("description", "discount_amount", "stock", *kinds)})
            return [new, (_WHEN, {"fields": ("opens_at", "closes_at"), "description": _CLOSED_AT_FIRST})]
        steer = ("steer",) if self.has_change_permission(request, obj) else ()
        return [
            (None, {"fields": ("coupon_id", *what, *kinds, *steer)}),
            (_STOCK, {"fields": ("left", "issued", "claims")}),
            (_WHEN, {"fields": ("opens_at", "closes_at", "created_at", "updated_at")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        steered = ("coupon_status", "left", "opens_at", "closes_at", "steer")
        made = ("coupon_id", "is_rehearsal", "eligible_only", "issued", "created_at", "updated_at")
        return (*made, *steered, "claims")

    @admin.display(description=text(en="Steer, with a reason", ko="제어 (사유 기록)"))
    def steer(self, coupon: Coupon) -> SafeString:
        """Links to the steps that this form does not take: each says what it leads to, and asks why."""
        links = [(reverse("admin:coupons_event", args=[coupon.pk]), words.label("steer"))]
        for action in (Action.CHANGE_STOCK, Action.CHANGE_WINDOW):
            step = reverse("admin:coupons_event_step", args=[coupon.pk, action.value.lower()])
            links.append((step, str(words.ACTIONS[action])))
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a coupon that no user has; others are closed. (The page would also list every user coupon.)"""
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not (obj.user_coupons.exists() or obj.defers))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """The list of who may have it goes too, which has no foreign key."""
        with transaction.atomic():
            EligibleUser.objects.filter(coupon_id=obj.pk).delete()
            super().delete_model(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.coupon_status = CouponStatus.CLOSED if obj.opens_at is None else CouponStatus.OPENED
        super().save_model(request, obj, form, change)

    @admin.display(description=_LOOK)
    def claims(self, coupon: Coupon) -> SafeString:
        query = f"coupon_id={coupon.pk}"
        issued = _rows("usercoupon", query, text(en="issued coupons", ko="발급된 쿠폰"))
        outcomes = _rows("issueoutcome", query, text(en="outcomes of requests", ko="요청 결과"))
        return format_html("{} · {} · {}", self.page(coupon), issued, outcomes)


@admin.register(UserCoupon)
class UserCouponAdmin(LiveTableAdmin):
    """Only the consumer makes user coupons, because it takes the stock too; only their use can be edited."""

    form = UserCouponForm
    list_display = ("user_coupon_id", "of_coupon", "of_user", "status", "issued_at", "used_at")
    narrow_filters = ("status",)
    search_columns = {"": "pk", "coupon": "coupon_id", "user": "user_id"}
    search_help_text = text(
        en="The ID of an issued coupon, or coupon:1, user:5, or both: coupon:1 user:5.",
        ko="발급 쿠폰 ID, 또는 coupon:1, user:5, 또는 둘 다: coupon:1 user:5",
    )
    fields = (
        "user_coupon_id",
        "coupon",
        "user",
        "status",
        "used_at",
        "issued_at",
        "request_id",
        "created_at",
        "updated_at",
    )
    readonly_fields = (
        "user_coupon_id",
        "coupon",
        "user",
        "issued_at",
        "request_id",
        "created_at",
        "updated_at",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NamedChangeList]:
        return NamedChangeList

    @admin.display(description=text(en="coupon", ko="쿠폰"))
    def of_coupon(self, user_coupon: Any) -> str:
        named: str = user_coupon.named_coupon
        return named

    @admin.display(description=text(en="customer", ko="고객"))
    def of_user(self, user_coupon: Any) -> str:
        named: str = user_coupon.named_user
        return named


class ReadOnlyAdmin(LargeTableAdmin):
    """Tables that only the consumer and commands write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """To look at, to replay and to discard; `manage.py dead_letters` does the same for any number."""

    actions: Any = (letters.replay, letters.discard)

    list_display = ("dead_letter_id", "state", "why", "error", "request_id", "created_at")
    list_filter = ("state", "reason")
    search_help_text = text(en="A dead letter's ID, exactly.", ko="번호 (정확히 일치)")
    fields = (
        "dead_letter_id",
        "state",
        "why",
        "error",
        "request_id",
        "original_topic",
        "original_partition",
        "original_offset",
        "value",
        "created_at",
        "updated_at",
    )

    def get_list_filter(self, request: HttpRequest) -> tuple[str, ...]:
        return self.list_filter  # an index serves them

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Whether this person may replay and discard, although nobody edits letters."""
        return request.user.has_perm("coupons.change_deadletter")

    @admin.display(description=text(en="reason", ko="사유"))
    def why(self, letter: DeadLetter) -> str:
        said = words.code(letter.reason)
        return letter.reason if said == letter.reason else f"{said} ({letter.reason})"

    @admin.display(description=text(en="value", ko="내용"))
    def value(self, letter: DeadLetter) -> str:
        return bytes(letter.original_value or b"")[:2000].decode("utf-8", "backslashreplace")


@admin.register(IssueOutcome)
class IssueOutcomeAdmin(ReadOnlyAdmin):
    """The final word on each request: read, never written."""

    list_display = (
        "request_id",
        "of_coupon",
        "of_user",
        "result",
        "why",
        "rank",
        "processed_at",
    )
    narrow_filters = ("status",)
    search_columns = {"": "pk", "coupon": "coupon_id"}
    search_help_text = text(
        en="A request ID, or coupon:1.",
        ko="요청 ID 또는 coupon:1",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NamedChangeList]:
        return NamedChangeList

    @admin.display(description=text(en="coupon", ko="쿠폰"))
    def of_coupon(self, outcome: Any) -> str:
        named: str = outcome.named_coupon
        return named

    @admin.display(description=text(en="customer", ko="고객"))
    def of_user(self, outcome: Any) -> str:
        named: str = outcome.named_user
        return named

    @labelled(description=text(en="result", ko="결과"), kinds=_KINDS)
    def result(self, outcome: IssueOutcome) -> tuple[str, str]:
        return outcome.status, words.code(outcome.status)

    @admin.display(description=text(en="rank", ko="순위"))
    def rank(self, outcome: IssueOutcome) -> str:
        return "-" if outcome.claim_rank is None else f"{outcome.claim_rank:,}"

    @admin.display(description=text(en="reason", ko="사유"))
    def why(self, outcome: IssueOutcome) -> str:
        return words.code(outcome.reason) if outcome.reason else "-"
