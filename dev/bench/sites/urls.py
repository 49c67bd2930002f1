"""One URL, whatever the path, and a constant answer: the same bytes as an accepted claim's body."""

from typing import Final

from django.http import HttpRequest, JsonResponse
from django.urls import re_path

_ANSWER: Final = {
    "success": True,
    "message": "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다.",
    "requestId": "0199d3a1-5b7e-7c3a-9f21-3d5e8a4b6c70",
}


def constant(request: HttpRequest) -> JsonResponse:
    answer = JsonResponse(_ANSWER, json_dumps_params={"ensure_ascii": False})
    # Django's CommonMiddleware would set it; without it gunicorn answers in chunks, which is slower.
    answer["Content-Length"] = str(len(answer.content))
    return answer


urlpatterns = [re_path("", constant)]
