"""Real answers are as the OpenAPI document says, in status, code, headers and every field."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator

from coupons.api.errors import HTTP_STATUS
from coupons.api.messages import Language
from coupons.api.openapi.document import document
from coupons.models import IssueOutcome
from coupons.outcomes import Code, DeadLetterReason, RequestStatus
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System

LANGUAGES: tuple[Language, ...] = ("ko", "en")
_CLAIM = "claimCoupon"


def operations(language: Language) -> dict[str, dict[str, Any]]:
    paths = document(language)["paths"].values()
    return {each["operationId"]: each for path in paths for each in path.values()}


def violations(value: object, schema: dict[str, Any], language: Language) -> list[str]:
    """What the schema does not allow, and the fields that it does not know."""
    components = document(language)["components"]
    validator = Draft202012Validator(
        {"components": components, "allOf": [schema], "unevaluatedProperties": False},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    return [error.message for error in validator.iter_errors(value)]


def hold(answer: HttpAnswer, operation: str) -> None:
    """Fail unless the answer is one that the operation documents, in both languages."""
    for language in LANGUAGES:
        response = operations(language)[operation]["responses"][str(answer.status)]
        schema = response["content"]["application/json"]["schema"]
        assert violations(answer.body, schema, language) == [], answer
        for name, header in response.get("headers", {}).items():
            assert not header.get("required") or name in answer.headers


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_example_is_as_its_schema_says(language: Language) -> None:
    for operation in operations(language).values():
        for status, response in operation["responses"].items():
            content = response["content"]["application/json"]
            assert content["examples"]
            for name, example in content["examples"].items():
                where = (operation["operationId"], status, name)
                assert violations(example["value"], content["schema"], language) == [], where


def test_every_code_is_there_under_its_status_with_an_example_of_it() -> None:
    told = {
        (int(status), code)
        for operation in operations("en").values()
        for status, response in operation["responses"].items()
        for code in response["content"]["application/json"]["examples"]
        if code in set(Code)
    }

    assert told >= {(int(HTTP_STATUS[code]), code.value) for code in Code}


def test_messages_of_examples_are_of_the_documents_language() -> None:
    refused = {
        language: operations(language)[_CLAIM]["responses"]["409"]["content"]["application/json"]["examples"]
        for language in LANGUAGES
    }

    assert refused["en"]["OUT_OF_STOCK"]["value"]["message"] == "This coupon is sold out. Coupon ID: 1"
    assert refused["ko"]["OUT_OF_STOCK"]["value"]["message"] == "쿠폰 재고가 부족합니다. 쿠폰 ID: 1"


def test_a_wrong_field_is_a_violation() -> None:
    """The comparison itself: a status that says too little, too much, or something else."""
    schema = {"$ref": "#/components/schemas/RequestStatus"}
    right = operations("en")["getRequest"]["responses"]["200"]["content"]["application/json"]["examples"]
    issued = right["ISSUED"]["value"]

    assert violations(issued, schema, "en") == []
    for change in ({"rank": None}, {"position": 1}, {"reason": "OUT_OF_STOCK"}, {"couponId": 0}):
        assert violations({**issued, **change}, schema, "en")
    assert violations({name: value for name, value in issued.items() if name != "rank"}, schema, "en")


def test_answers_of_claims(running: System) -> None:
    coupon, [user, other] = make_coupon(stock=1), make_users(2)
    closed = make_coupon(coupon_status="CLOSED")
    accepted = running.claim(coupon.pk, user)
    running.wait_decided([accepted.body["requestId"]])

    answers = [
        accepted,
        running.claim(coupon.pk, user),
        running.claim(coupon.pk, other),
        running.claim(coupon.pk, other, Accept_Language="en"),
        running.claim(closed.pk, user),
        running.claim(coupon.pk, 987_654_321),
        running.claim(987_654_321, user),
        running.claim(coupon.pk, 0),
        running.claim(0, user),
        running.claim(coupon.pk, user, Host="elsewhere.example"),
    ]

    for answer in answers:
        hold(answer, _CLAIM)
    assert [answer.status for answer in answers] == [202, 409, 409, 409, 409, 404, 404, 400, 404, 400]


def outcome(status: RequestStatus, **fields: Any) -> str:
    row = IssueOutcome(request_id=uuid.uuid4(), status=status, requested_at=timezone.now(), **fields)
    row.save()
    return str(row.pk)


@pytest.fixture
def decided(running: System) -> dict[str, str]:
    """A request of each final status, by a word for it."""
    coupon, [user] = make_coupon(), make_users(1)
    request_id = running.claim(coupon.pk, user).body["requestId"]
    running.wait_decided([request_id])
    ids = {"coupon_id": coupon.pk, "user_id": user}
    return {
        "issued": request_id,
        "sold out": outcome(RequestStatus.REJECTED, reason=Code.OUT_OF_STOCK, kafka_partition=0, **ids),
        "never in the log": outcome(RequestStatus.REJECTED, reason=Code.BROKER_UNAVAILABLE, **ids),
        "unreadable": outcome(RequestStatus.FAILED, reason=DeadLetterReason.NOT_JSON),
    }


@pytest.mark.parametrize("kind", ["issued", "sold out", "never in the log", "unreadable"])
def test_a_final_status(running: System, decided: dict[str, str], kind: str) -> None:
    answer = running.status(decided[kind])

    hold(answer, "getRequest")
    assert answer.status == 200


@pytest.mark.usefixtures("_consumer_stands_still")
def test_a_status_that_is_pending(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    answer = running.status(running.claim(coupon.pk, user).body["requestId"])

    hold(answer, "getRequest")
    assert answer.body["status"] == "PENDING"


def test_other_answers(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    running.wait_decided([running.claim(coupon.pk, user).body["requestId"]])
    asked = {
        f"/api/coupons/{coupon.pk}": "getCoupon",
        "/api/coupons/987654321": "getCoupon",
        "/api/coupons/0": "getCoupon",
        f"/api/coupons/users/{user}": "getUserCoupons",
        "/api/coupons/users/987654321": "getUserCoupons",
        f"/api/coupons/{coupon.pk}/queue-size": "getQueueSize",
        "/api/coupons/987654321/queue-size": "getQueueSize",
        f"/api/coupons/requests/{uuid.uuid4()}": "getRequest",
        "/api/coupons/requests/1": "getRequest",
    }

    answers = {path: running.get(path) for path in asked}

    for path, operation in asked.items():
        hold(answers[path], operation)
    assert [answer.status for answer in answers.values()] == [200, 404, 404, 200, 200, 200, 404, 404, 404]
