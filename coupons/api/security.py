"""What the OpenAPI document says of who may ask: the schemes, and what each route takes of them."""

from __future__ import annotations

from typing import Any, Final

from coupons.claims import identity

_USER_TOKEN: Final = "userToken"

#: SPECTACULAR_SETTINGS["APPEND_COMPONENTS"]["securitySchemes"]; descriptions: coupons/api/openapi/texts.py
SCHEMES: Final[dict[str, Any]] = {_USER_TOKEN: {"type": "apiKey", "in": "header", "name": identity.HEADER}}

CLAIM: Final[Any] = [{_USER_TOKEN: []}]
OPEN: Final[Any] = []
