"""One URL, whatever the path, and a constant answer."""

from django.http import HttpRequest, JsonResponse
from django.urls import re_path

from dev.bench.sites.answer import ANSWER


def constant(request: HttpRequest) -> JsonResponse:
    answer = JsonResponse(ANSWER, json_dumps_params={"ensure_ascii": False})
    # Django's CommonMiddleware would set it; without it gunicorn answers in chunks, which is slower.
    answer["Content-Length"] = str(len(answer.content))
    return answer


urlpatterns = [re_path("", constant)]
