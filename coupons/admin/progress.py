"""A bar for work of some seconds in the admin.

The page that was sent is still there, and asks each half second how far it is (``progress.js``), whichever
process it reaches. ``admin/coupons/progress.html`` is the bar, for a form with ``data-progress``.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, Final

from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from coupons.admin.names import text
from coupons.gate import work_shown
from coupons.gate.work_shown import WorkDone

_NUMBER: Final = re.compile(r"[0-9a-f]{32}")
#: After so many rows the thread lets others have the interpreter: claims are answered by the same process.
_REST_EVERY: Final = 100
REST_S: Final = 0.002
#: Shorter, and Redis is told more often than the page asks; longer, and the bar jumps.
TOLD_EVERY_S: Final = 0.3
_TOLD: Final = {
    "CHECK": text(en="{done} of {whole} rows checked.", ko="{whole}행 중 {done}행을 검사했습니다."),
    "IMPORT": text(en="{done} of {whole} rows imported.", ko="{whole}행 중 {done}행을 등록했습니다."),
    "REMOVE": text(en="{done} of {whole} rows removed.", ko="{whole}행 중 {done}행을 삭제했습니다."),
}


def offered(begins: str) -> dict[str, str]:
    """What the form needs to show a bar. ``begins``: what it says before anything is done."""
    number = uuid.uuid4().hex
    return {"number": number, "asked": reverse("admin:coupons_progress", args=[number]), "begins": begins}


class Progress:
    """Tells now and then how many rows are done, under the number that came with the form.

    ``stage``: CHECK, IMPORT or REMOVE. Rests now and then: while this thread works, claims of this process
    wait for the interpreter.
    """

    def __init__(self, request: HttpRequest, *, stage: str, whole: int) -> None:
        self._name = _name(request, request.POST.get("number", ""))
        self._stage, self._whole = stage, whole
        self._done, self._left = 0, _REST_EVERY
        self._tell()

    def __call__(self, count: int) -> None:
        self._done += count
        self._left -= count
        if self._left <= 0:
            self._left = _REST_EVERY
            time.sleep(REST_S)
            if time.monotonic() - self._told_at >= TOLD_EVERY_S or self._done >= self._whole:
                self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        if self._name:
            done = min(self._done, self._whole)
            work_shown.tell(self._name, WorkDone(stage=self._stage, done=done, whole=self._whole))


def _name(request: HttpRequest, number: str) -> str:
    """What somebody does is told to them alone. Empty where the number is not one of ours."""
    return f"work:{request.user.pk}:{number}" if _NUMBER.fullmatch(number) else ""


def asked(request: HttpRequest, number: str) -> JsonResponse:
    """How far the work of this number is, for the page that waits for it."""
    name = _name(request, number)
    work = work_shown.ask(name) if name else None
    told: dict[str, Any] = {}
    if work is not None and work.stage in _TOLD:
        said = str(_TOLD[work.stage]).format(done=f"{work.done:,}", whole=f"{work.whole:,}")
        told = {"done": work.done, "whole": work.whole, "told": said}
    return JsonResponse(told, headers={"Cache-Control": "no-store"})
