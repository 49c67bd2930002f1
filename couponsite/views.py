"""The actuator's routes on the API's port."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from coupons import health as components
from couponsite import actuator, metrics


@csrf_exempt
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    status, body = components.api.health()
    return JsonResponse(body, status=status)


@csrf_exempt
@require_safe
def liveness(request: HttpRequest) -> HttpResponse:
    status, body = components.api.live()
    return JsonResponse(body, status=status)


@csrf_exempt
@require_safe
def readiness(request: HttpRequest) -> HttpResponse:
    status, body = components.api.readiness()
    return JsonResponse(body, status=status)


@csrf_exempt
@require_safe
def info(request: HttpRequest) -> HttpResponse:
    return JsonResponse(actuator.info())


@csrf_exempt
@require_safe
def prometheus(request: HttpRequest) -> HttpResponse:
    return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)
