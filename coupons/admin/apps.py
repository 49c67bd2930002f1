"""The admin as an application of Django's, with our site in place of Django's own."""

from __future__ import annotations

from importlib import import_module

from django.contrib.admin.apps import AdminConfig


class CouponAdminConfig(AdminConfig):
    default_site = "coupons.admin.face.CouponAdminSite"

    def ready(self) -> None:
        super().ready()  # imports each application's ``admin``; ours is a package, and these two its pages
        for pages in ("site", "staff"):
            import_module(f"coupons.admin.{pages}")
