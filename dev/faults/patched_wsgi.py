"""The API with the changes of COUPON_FAULTS_PATCH."""

from __future__ import annotations

import os

from couponsite.wsgi import application
from dev.faults import patching

__all__ = ["application"]

patching.apply(os.environ["COUPON_FAULTS_PATCH"])
