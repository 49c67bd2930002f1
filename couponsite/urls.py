"""All routes."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from coupons.api import errors
from couponsite import views

handler400 = "coupons.api.errors.bad_request"
handler404 = "coupons.api.errors.page_not_found"
handler500 = "coupons.api.errors.server_error"

urlpatterns = [
    path("api/", include("coupons.api.urls")),
    # JSON even where DEBUG would show a page; no session, so nothing that a token would protect.
    re_path(r"^api/", csrf_exempt(errors.page_not_found)),
    path("actuator/health", views.health),
    path("actuator/health/liveness", views.liveness),
    path("actuator/health/readiness", views.readiness),
    path("actuator/info", views.info),
    path("actuator/prometheus", views.prometheus),
    path("admin/", admin.site.urls),
]
