"""The application's settings, with the linter, on MySQL without a server."""

from couponsite.settings import *  # noqa: F403
from couponsite.settings import INSTALLED_APPS as _ours

INSTALLED_APPS = [*_ours, "django_migration_linter"]
DATABASES = {"default": {"ENGINE": "dev.migration_lint", "NAME": "nowhere"}}
