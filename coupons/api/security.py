"""What the OpenAPI document says of who may ask: the schemes, and what each route takes of them."""

from __future__ import annotations

from typing import Any, Final

from coupons.api import callers
from coupons.tickets.office_keys import Scope

_TICKET: Final = "ticket"
_OFFICE_KEY: Final = "officeKey"
_USER_TOKEN: Final = "userToken"

#: SPECTACULAR_SETTINGS["APPEND_COMPONENTS"]["securitySchemes"]; descriptions: coupons/api/openapi/texts.py
SCHEMES: Final[dict[str, Any]] = {
    _TICKET: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    _OFFICE_KEY: {"type": "apiKey", "in": "header", "name": callers.OFFICE_KEY},
    _USER_TOKEN: {"type": "apiKey", "in": "header", "name": callers.OLD_HEADER},
}


def _with(scope: Scope) -> list[dict[str, list[str]]]:
    """OpenAPI 3.1 has roles for schemes other than OAuth too: the scope that the key must have."""
    return [{_TICKET: []}, {_OFFICE_KEY: [scope.value]}, {_USER_TOKEN: []}]


#: Routes that are for one user.
CLAIM: Final[Any] = _with(Scope.CLAIMS_WRITE)
USERS: Final[Any] = _with(Scope.USERS_READ)
REQUESTS: Final[Any] = _with(Scope.REQUESTS_READ)
OPEN: Final[Any] = []
