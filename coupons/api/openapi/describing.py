"""What a view says of itself. ``document.py`` turns the codes into statuses, examples and headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from drf_spectacular.utils import OpenApiParameter, extend_schema

from coupons.api.openapi import texts
from coupons.api.openapi.parameters import ACCEPT_LANGUAGE
from coupons.outcomes import Code

F = TypeVar("F", bound=Callable[..., Any])
#: Extensions of the document while it is made; gone when it is complete.
REFUSES: Final = "x-refuses"
SECURITY: Final = "x-security"


def described(
    operation: str,
    *,
    answers: object,
    status: int = 200,
    parameters: Sequence[OpenApiParameter] = (),
    refuses: Sequence[Code] = (),
    security: Sequence[dict[str, list[str]]] = (),
) -> Callable[[F], F]:
    """``answers``: the serializer or schema of ``status``. ``refuses``: beside what any route refuses with.

    ``security``: one of coupons/api/security.py.
    """
    summary, description = texts.OPERATIONS[operation]
    return extend_schema(
        operation_id=operation,
        tags=["coupons"],
        summary=summary,
        description=description,
        parameters=[*parameters, ACCEPT_LANGUAGE],
        request=None,
        responses={status: answers},
        extensions={REFUSES: [code.value for code in refuses], SECURITY: [*security]},
    )
