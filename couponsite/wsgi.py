"""The WSGI application that gunicorn serves."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")

django.setup(set_prefix=False)

from coupons.api.hosts import OurRequest  # noqa: E402 - needs Django set up
from couponsite.doors import Doors  # noqa: E402


class Pages(WSGIHandler):
    request_class = OurRequest


application = Doors(Pages())
