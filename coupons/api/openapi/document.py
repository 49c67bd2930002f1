"""Puts the document together: once for each language, because making it takes the interpreter from claims."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from rest_framework.utils.encoders import JSONEncoder

from coupons.api import security
from coupons.api.messages import Language
from coupons.api.openapi import answers, schemas, texts
from coupons.api.openapi.describing import REFUSES, SECURITY
from coupons.outcomes import Code

_OF_REQUEST: Final = {"operationId": "getRequest", "parameters": {"request_id": "$response.body#/requestId"}}
#: By operation and status: what to ask next.
_LINKS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("claimCoupon", "202"): {
        "request": _OF_REQUEST,
        "userCoupons": {"operationId": "getUserCoupons", "parameters": {"user_id": "$request.query.userId"}},
        "queueSize": {"operationId": "getQueueSize", "parameters": {"coupon_id": "$request.path.coupon_id"}},
    },
    ("getRequest", "200"): {
        "coupon": {"operationId": "getCoupon", "parameters": {"coupon_id": "$response.body#/couponId"}},
        "userCoupons": {"operationId": "getUserCoupons", "parameters": {"user_id": "$response.body#/userId"}},
    },
}


@cache
def document(language: Language) -> Any:
    """The document as JSON has it."""
    with translation.override(language):
        made = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
        return json.loads(json.dumps(made, cls=JSONEncoder))  # the texts are chosen here


def complete(result: dict[str, Any], generator: object, request: object, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: add what it does not know."""
    result["info"] |= {"title": texts.TITLE, "description": texts.DESCRIPTION}
    components = result["components"]
    components["schemas"] |= {
        "Refusal": schemas.refusal(),
        "RequestStatus": schemas.request_status(),
        **schemas.statuses(),
    }
    components["securitySchemes"] = {
        name: {**scheme, "description": texts.SECURITY[name]} for name, scheme in security.SCHEMES.items()
    }
    for path, methods in result["paths"].items():
        for operation in methods.values():
            _complete(operation, has_id="{" in path)
    return result


def _complete(operation: dict[str, Any], *, has_id: bool) -> None:
    name, responses = operation["operationId"], operation["responses"]
    [(good, response)] = responses.items()
    response["description"] = texts.OPERATIONS[name][0]
    response["content"]["application/json"]["examples"] = answers.examples(name)
    response["headers"] = dict(answers.RATE_LIMITS)
    if good == "202":
        schema = {"type": "string", "format": "uri-reference"}
        response["headers"]["Location"] = {
            "description": texts.LOCATION,
            "required": True,
            "schema": schema,
        }
    refused = [Code(value) for value in operation.pop(REFUSES)]
    responses |= answers.refusals([*refused, *([Code.NOT_FOUND] if has_id else [])])
    for status, response in responses.items():
        if links := _LINKS.get((name, status)):
            response["links"] = links
    operation["security"] = _security(operation.pop(SECURITY))


def _security(asked: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    """What an operation asks for on this server; an empty entry means that it may be left out."""
    is_asked = settings.CONFIG.identity.is_on
    return asked if asked and is_asked else [{}, *asked]
