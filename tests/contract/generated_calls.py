"""schemathesis' hooks: ids that no row has become those of rows that are there, so that claims succeed.

schemathesis loads this by SCHEMATHESIS_HOOKS; ``test_generated_calls.py`` says in the environment which rows
there are.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Any, Final
from uuid import UUID

import schemathesis

from coupons.eventlog.events import MAX_ID

#: Of so many calls one asks for what was generated, the others for a row that is there.
_SHARES: Final = 8


def _named(variable: str) -> list[str]:
    return os.environ[variable].split(",")


_KNOWN: Final[dict[str, list[Any]]] = {
    "coupon_id": [int(each) for each in _named("KNOWN_COUPONS")],
    "user_id": [int(each) for each in _named("KNOWN_USERS")],
    "userId": [int(each) for each in _named("KNOWN_USERS")],
    "request_id": _named("KNOWN_REQUESTS"),
}
_told: Final = {*_named("KNOWN_REQUESTS")}  #: request ids that some answer named
_turn: Final = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Not when a value is drawn: hypothesis would draw the same user again and again."""
    turn = next(_turn)
    if turn % _SHARES == 0:
        return
    is_claim = case.method == "POST"
    for values in (case.path_parameters, case.query):
        for name in list(values or ()):
            if name in _KNOWN and _is_id(name, values[name]) and (is_claim or not _is_there(name, values)):
                values[name] = _KNOWN[name][turn % len(_KNOWN[name])]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember what a chain of calls may ask for next."""
    if response.status_code == 202:
        _told.add(response.json()["requestId"])


def _is_there(name: str, values: dict[str, Any]) -> bool:
    return values[name] in (_told if name == "request_id" else _KNOWN[name])


def _is_id(name: str, value: object) -> bool:
    """Whether it is a right one: what is wrong was made so."""
    if name != "request_id":
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False
