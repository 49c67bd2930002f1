"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")

django = get_wsgi_application()

from coupons.api.claims_first import ClaimsFirst  # noqa: E402 - needs Django set up

application = ClaimsFirst(django)
