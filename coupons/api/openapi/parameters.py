"""What operations are asked with. An id out of its bounds is no id: it is answered with 404, or 400."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter

from coupons.api.openapi import texts
from coupons.eventlog.events import MAX_ID

ID: Final[dict[str, Any]] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}
_UUID: Final[dict[str, Any]] = {"type": "string", "format": "uuid"}

COUPON_ID: Final = OpenApiParameter("coupon_id", ID, OpenApiParameter.PATH)
USER_ID: Final = OpenApiParameter("user_id", ID, OpenApiParameter.PATH)
REQUEST_ID: Final = OpenApiParameter("request_id", _UUID, OpenApiParameter.PATH)
CLAIMING_USER_ID: Final = OpenApiParameter("userId", ID, OpenApiParameter.QUERY, required=True)
ACCEPT_LANGUAGE: Final = OpenApiParameter(
    "Accept-Language",
    {"type": "string", "examples": ["en"]},
    OpenApiParameter.HEADER,
    description=texts.ACCEPT_LANGUAGE,
)
