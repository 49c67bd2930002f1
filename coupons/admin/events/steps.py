"""The page of one step: what it leads to, a form for why, and the step itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from coupons.admin import progress
from coupons.admin.events import words
from coupons.admin.forms import out_of_range
from coupons.admin.lists import zone
from coupons.admin.names import text
from coupons.admin.progress import Progress
from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon
from coupons.operations import rehearsals, steering, stock
from coupons.operations.rehearsals import NotRemoved, NotRemovedWhole
from coupons.operations.steering import NotPossible, Step
from coupons.outcomes import SteeringAction as Action

_NOT_NOW: Final = text(
    en="This is not possible now: the event was changed, or is in another state. Nothing was done.",
    ko="지금은 할 수 없습니다. 이벤트가 그사이 변경되었거나 상태가 다릅니다. 아무것도 바뀌지 않았습니다.",
)
_DONE: Final = text(en="Done: {action}", ko="완료: {action}")


_NOT_REMOVED: Final = text(
    en="The rehearsal is not removed: stop it at once first, and wait until nothing of it is undecided.",
    ko="리허설을 삭제하지 않았습니다. 먼저 즉시 중지하고, 처리되지 않은 요청이 없을 때까지 기다리세요.",
)
#: Rows that a page removes, half a minute of a worker's thread. More, and a proxy gives up before the page
#: comes; `manage.py rehearsal --remove` has no such bound.
MOST_REMOVED: Final = 100_000
_TOO_LARGE: Final = text(
    en="The rehearsal has {rows} rows, and at most {most} are removed here: run "
    "`manage.py rehearsal --remove {id}`.",
    ko="리허설의 데이터가 {rows}행입니다. 여기서는 {most}행까지만 삭제하니 "
    "`manage.py rehearsal --remove {id}`를 실행하세요.",
)
_NOT_REMOVED_WHOLE: Final = text(
    en="Somebody opened it meanwhile: what is left of the rehearsal stays. Stop it at once, and remove it "
    "again.",
    ko="그사이 누군가 열었으므로 리허설의 나머지는 그대로 남습니다. 즉시 중지한 뒤 다시 삭제하세요.",
)


class WhyForm(forms.Form):
    why = forms.CharField(
        max_length=255,
        label=text(en="Why", ko="사유"),
        help_text=text(en="Kept with your name.", ko="이름과 함께 기록됩니다."),
    )


class StepForm(WhyForm):
    seen = forms.CharField(widget=forms.HiddenInput)


class StockForm(StepForm):
    amount = forms.IntegerField(
        min_value=-stock.MOST,
        max_value=stock.MOST,
        label=text(en="By how many", ko="증감 수량"),
        help_text=text(en="50 adds fifty, -20 takes twenty.", ko="50은 50장 추가, -20은 20장 감소."),
    )
    field_order = ("amount", "why")

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError(text(en="0 changes nothing.", ko="0은 아무것도 바꾸지 않습니다."))
        return amount


class WindowForm(StepForm):
    opens_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime, label=text(en="Opens", ko="시작")
    )
    closes_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime, label=text(en="Closes", ko="종료")
    )
    field_order = ("opens_at", "closes_at", "why")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("opens_at", "closes_at"):
            self.fields[name].help_text = text(
                en="Time zone: {zone}. Empty: no bound.", ko="시간대: {zone}. 비우면 제한 없음."
            ).format(zone=zone())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        opens_at, closes_at = cleaned.get("opens_at"), cleaned.get("closes_at")
        if opens_at and closes_at and opens_at >= closes_at:
            self.add_error(
                "closes_at",
                text(en="It must close after it opens.", ko="종료 시각은 시작 시각보다 늦어야 합니다."),
            )
        return cleaned


_FORMS: Final[dict[Action, type[StepForm]]] = {
    Action.CHANGE_STOCK: StockForm,
    Action.CHANGE_WINDOW: WindowForm,
}


def step(request: HttpRequest, coupon_id: int, action: str) -> HttpResponse:
    """GET shows what the step leads to; POST takes it, if the event is still as it was shown."""
    if not request.user.has_perm("coupons.change_coupon"):
        raise PermissionDenied
    coupon = get_object_or_404(Coupon, pk=coupon_id)
    wanted = _action(action)
    back = HttpResponseRedirect(reverse("admin:coupons_event", args=[coupon_id]))
    try:
        outlook = steering.outlook(coupon, wanted)
    except NotPossible:
        messages.warning(request, _NOT_NOW)
        return back
    form_class = _FORMS.get(wanted, StepForm)
    if request.method != "POST":
        given = {"seen": outlook.seen, "opens_at": coupon.opens_at, "closes_at": coupon.closes_at}
        return _shown(request, coupon, outlook, form_class(initial=given))
    form = form_class(request.POST)
    if not form.is_valid():
        return _shown(request, coupon, outlook, form)
    try:
        steering.take(_as_step(wanted, form, request), coupon_id=coupon_id)
    except NotPossible:
        messages.warning(request, _NOT_NOW)
    except stock.StockOutOfRange as error:
        messages.error(request, out_of_range(error))
    else:
        messages.success(request, str(_DONE).format(action=words.ACTIONS[wanted]))
    return back


def removal(request: HttpRequest, coupon_id: int) -> HttpResponse:
    """GET shows what removing a rehearsal takes away; POST removes it."""
    if not request.user.has_perm("coupons.delete_coupon"):
        raise PermissionDenied
    coupon = get_object_or_404(Coupon, pk=coupon_id, is_rehearsal=True)
    form = WhyForm(request.POST or None)
    back = HttpResponseRedirect(reverse("admin:coupons_event", args=[coupon_id]))
    left = rehearsals.traces(coupon_id)
    if left.whole > MOST_REMOVED:
        told = {"rows": f"{left.whole:,}", "most": f"{MOST_REMOVED:,}", "id": coupon_id}
        messages.warning(request, str(_TOO_LARGE).format(**told))
        return back
    try:
        rehearsals.refuse(coupon)
        if form.is_valid():
            who, why = request.user.get_username(), form.cleaned_data["why"]
            removing = Progress(request, stage="REMOVE", whole=left.whole)
            rehearsals.remove(coupon_id, who=who, why=why, on_progress=removing)
            done = str(_DONE).format(action=words.ACTIONS[Action.REMOVE_REHEARSAL])
            messages.success(request, f"{done}: {coupon}")
            return HttpResponseRedirect(reverse("admin:coupons_events"))
    except NotRemovedWhole:
        messages.warning(request, _NOT_REMOVED_WHOLE)
        return back
    except (NotRemoved, LogUnavailable):
        messages.warning(request, _NOT_REMOVED)
        return back
    except Coupon.DoesNotExist as error:  # somebody else removed it meanwhile
        raise Http404 from error
    rows = {name: f"{count:,}" for name, count in asdict(left).items()}
    context = {
        "title": words.ACTIONS[Action.REMOVE_REHEARSAL],
        "consequence": str(words.REMOVAL).format(**rows),
        "is_harsh": True,
        "progress": progress.offered(str(words.REMOVING)),
    }
    return _page(request, coupon, form, context)


def _action(name: str) -> Action:
    try:
        action = Action(name.upper())
    except ValueError as error:
        raise Http404 from error
    if action in (Action.REPLAY_LETTERS, Action.DISCARD_LETTERS, Action.REMOVE_REHEARSAL):
        raise Http404
    return action


def _as_step(action: Action, form: StepForm, request: HttpRequest) -> Step:
    given = {name: value for name, value in form.cleaned_data.items() if name not in ("seen", "why")}
    return Step(
        action=action,
        who=request.user.get_username(),
        why=form.cleaned_data["why"],
        seen=form.cleaned_data["seen"],
        **given,
    )


def _shown(request: HttpRequest, coupon: Coupon, outlook: steering.Outlook, form: StepForm) -> HttpResponse:
    ends_at = f"{timezone.localtime(outlook.ends_at):%H:%M:%S} ({zone()})"
    context = {
        "title": words.ACTIONS[outlook.action],
        "consequence": words.consequence(outlook, ends_at=ends_at),
        "is_harsh": outlook.action is Action.STOP_AT_ONCE,
    }
    return _page(request, coupon, form, context)


def _page(request: HttpRequest, coupon: Coupon, form: forms.Form, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(
        request,
        "admin/coupons/event/step.html",
        {
            **admin.site.each_context(request),
            "coupon": coupon,
            "form": form,
            "media": form.media,
            "back": reverse("admin:coupons_event", args=[coupon.pk]),
            "opts": Coupon._meta,
            **context,
        },
    )
