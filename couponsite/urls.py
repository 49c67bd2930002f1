"""Django's routes; health, info and metrics come before them (couponsite/doors.py)."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from coupons.api import errors

handler400 = "coupons.api.errors.bad_request"
handler403 = "couponsite.error_pages.permission_denied"
handler404 = "couponsite.error_pages.page_not_found"
handler500 = "couponsite.error_pages.server_error"

urlpatterns = [
    path("api/", include("coupons.api.urls")),
    # JSON even where DEBUG would show a page; without a session there is nothing that a token would protect.
    re_path(r"^api/", csrf_exempt(errors.page_not_found)),
    path("admin/", admin.site.urls),
]
