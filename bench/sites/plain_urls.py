"""One URL, whatever the path, and a constant answer."""

from django.http import HttpRequest, JsonResponse
from django.urls import re_path

from bench.sites.answer import ANSWER


def constant(request: HttpRequest) -> JsonResponse:
    return JsonResponse(ANSWER, json_dumps_params={"ensure_ascii": False})


urlpatterns = [re_path("", constant)]
