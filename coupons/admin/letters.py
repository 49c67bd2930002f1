"""Dead letters in the admin: replay or discard those that are ticked, after a page that says what follows."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from coupons.admin.events import words
from coupons.admin.events.steps import WhyForm
from coupons.admin.names import text
from coupons.models import DeadLetter, DeadLetterState
from coupons.operations import dead_letters, steering
from coupons.operations.dead_letters import NotReplayed, Selection
from coupons.operations.steering import Step
from coupons.outcomes import SteeringAction as Action

#: Letters that a page acts on: a replay waits for the broker with each 200. More, and a proxy gives up before
#: the page answers; `manage.py dead_letters` has no such bound, and a progress bar.
MOST: Final = 1_000

_CONSEQUENCES: Final = {
    Action.REPLAY_LETTERS: text(
        en="{count} events are sent to the log again, in their order, behind all that waits there. Each gets "
        "a second chance: a request that FAILED may be issued now, if stock is left and its user has "
        "no coupon. "
        "An event that is still wrong becomes a dead letter again. Mend the cause first.",
        ko="이벤트 {count}건을 원래 순서대로 로그 맨 뒤에 다시 보냅니다. 실패(FAILED)한 요청은 "
        "재고가 남아 있고 "
        "쿠폰이 없는 사용자라면 이번에 발급될 수 있습니다. 여전히 잘못된 이벤트는 다시 처리 불가가 됩니다. "
        "원인을 먼저 해결하세요.",
    ),
    Action.DISCARD_LETTERS: text(
        en="{count} events are marked as discarded. Their requests stay FAILED, and their users get "
        "no coupon "
        "from them. The copies in the dead letter topic stay.",
        ko="이벤트 {count}건을 폐기로 표시합니다. 해당 요청은 실패(FAILED)로 남고 쿠폰은 발급되지 않습니다. "
        "처리 불가 토픽의 사본은 그대로 남습니다.",
    ),
}


@admin.action(description=words.ACTIONS[Action.REPLAY_LETTERS], permissions=["steer"])
def replay(model_admin: Any, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> HttpResponse | None:
    return _act(model_admin, request, chosen, Action.REPLAY_LETTERS)


@admin.action(description=words.ACTIONS[Action.DISCARD_LETTERS], permissions=["steer"])
def discard(model_admin: Any, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> HttpResponse | None:
    return _act(model_admin, request, chosen, Action.DISCARD_LETTERS)


def _act(
    model_admin: Any, request: HttpRequest, chosen: QuerySet[DeadLetter], action: Action
) -> HttpResponse | None:
    """The first time, show what follows; with a reason, do it. None leads back to the list."""
    waiting = chosen.filter(state=DeadLetterState.WAITING).order_by("pk")
    ids = list(waiting.values_list("pk", flat=True)[: MOST + 1])
    if not ids or len(ids) > MOST:
        model_admin.message_user(request, _not_these(len(ids)), messages.WARNING)
        return None
    form = WhyForm(request.POST if "why" in request.POST else None)
    if not form.is_valid():
        return _shown(model_admin, request, action, ids, form)
    try:
        done = _do(action, ids, who=request.user.get_username(), why=form.cleaned_data["why"])
    except NotReplayed as error:
        model_admin.message_user(request, str(error), messages.ERROR)
    else:
        said = text(en="{what}: {done} done", ko="{what}: {done}건 완료")
        model_admin.message_user(request, said.format(what=words.ACTIONS[action], done=done))
    return None


def _do(action: Action, ids: list[int], *, who: str, why: str) -> int:
    """Written down first: what is done in part, because the broker went away, was begun by somebody."""
    act = dead_letters.replay if action is Action.REPLAY_LETTERS else dead_letters.discard
    step = Step(action=action, who=who, why=why, seen="")
    steering.write_down(step, coupon_id=None, change={"letters": ids})
    return act(Selection(ids=ids), on_progress=lambda count: None)


def _not_these(count: int) -> str:
    if count:
        return str(
            text(
                en="At most {most} at once here; `manage.py dead_letters` takes any number.",
                ko="한 번에 {most}건까지 가능합니다. 더 많으면 `manage.py dead_letters`를 사용하세요.",
            )
        ).format(most=MOST)
    return str(text(en="None of these waits.", ko="대기 중인 항목이 없습니다."))


def _shown(
    model_admin: Any, request: HttpRequest, action: Action, ids: list[int], form: WhyForm
) -> HttpResponse:
    return TemplateResponse(
        request,
        "admin/coupons/event/step.html",
        {
            **admin.site.each_context(request),
            "title": words.ACTIONS[action],
            "consequence": str(_CONSEQUENCES[action]).format(count=f"{len(ids):,}"),
            "is_harsh": action is Action.DISCARD_LETTERS,
            "form": form,
            "hidden": [
                ("action", request.POST["action"]),
                *((ACTION_CHECKBOX_NAME, str(each)) for each in ids),
            ],
            "back": request.get_full_path(),
            "opts": model_admin.model._meta,
        },
    )
