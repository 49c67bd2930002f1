"""The API documents itself: a valid OpenAPI document, and a page that shows it with nothing from outside."""

from __future__ import annotations

import http.client
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.test import RequestFactory
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from coupons.outcomes import Code
from tests.factories import make_coupon, make_users
from tests.system import System

ISSUE = "/api/coupons/{coupon_id}/issue"


def fetch(port: int, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body, as they are."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.getheader("Content-Type") or "", body


@pytest.fixture(scope="module")
def document(running: System) -> dict[str, Any]:
    answer = running.get("/api/schema")
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


def test_the_document_is_valid_openapi_3(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    validate_schema(document)


def test_the_document_is_made_once(rf: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it computes for long, and claims are answered by the same interpreter."""
    made: list[object] = []
    make = SchemaGenerator.get_schema

    def get_schema(generator: SchemaGenerator, *args: Any, **named: Any) -> Any:
        made.append(generator)
        return make(generator, *args, **named)

    monkeypatch.setattr(SchemaGenerator, "get_schema", get_schema)
    view = resolve("/api/schema").func
    queries = ["", "?lang=en", "?lang=ko", "?version=9", ""]

    told = [view(rf.get(f"/api/schema{query}")).render().content for query in queries]

    assert len(made) <= 1
    assert len(set(told)) == 1


def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    routes = {(path, method) for path, methods in document["paths"].items() for method in methods}

    assert routes == {
        ("/api/coupons/{coupon_id}", "get"),
        (ISSUE, "post"),
        ("/api/coupons/{coupon_id}/queue-size", "get"),
        ("/api/coupons/requests/{request_id}", "get"),
        ("/api/coupons/users/{user_id}", "get"),
    }


def test_every_answer_of_a_claim_is_in_it(document: dict[str, Any]) -> None:
    claim = document["paths"][ISSUE]["post"]

    assert set(claim["responses"]) >= {"202", "400", "404", "409", "503"}
    assert "requestBody" not in claim
    parameters = {(each["name"], each["in"]): each for each in claim["parameters"]}
    assert parameters["userId", "query"]["required"] is True
    assert "Location" in claim["responses"]["202"]["headers"]
    assert set(document["components"]["schemas"]["CodeEnum"]["enum"]) == set(Code)


def test_what_is_answered_is_what_is_documented(running: System, document: dict[str, Any]) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    accepted = running.claim(coupon.pk, user).body
    running.wait_decided([accepted["requestId"]])
    answers = {
        "Accepted": accepted,
        "Refusal": running.claim(coupon.pk, user).body,
        "Coupon": running.get(f"/api/coupons/{coupon.pk}").body,
        "QueueSize": running.get(f"/api/coupons/{coupon.pk}/queue-size").body,
        "UserCoupons": running.get(f"/api/coupons/users/{user}").body,
    }

    documented = document["components"]["schemas"]

    for name, answer in answers.items():
        assert set(answer) == set(documented[name]["properties"]), name
    status = running.status(accepted["requestId"]).body
    assert set(status) < set(documented["PendingStatus"]["properties"])


class Assets(HTMLParser):
    """Every address that a page loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        wanted = {"link": "href", "script": "src", "img": "src", "iframe": "src"}.get(tag)
        self.found += [value for name, value in attributes if name == wanted and value]


def test_the_page_and_all_it_loads_come_from_here(running: System) -> None:
    status, content_type, page = fetch(running.api.port, "/api/docs")
    assert (status, content_type.partition(";")[0]) == (200, "text/html")

    assets = Assets(page.decode()).found

    assert len(assets) >= 3
    for address in assets:
        assert urlsplit(address).netloc == "", address
        status, content_type, body = fetch(running.api.port, urljoin("/api/docs", address))
        assert status == 200, address
        assert body
        expected = {"js": "javascript", "css": "css", "png": "image"}[address.rpartition(".")[2]]
        assert expected in content_type


def test_the_page_names_no_outside_address_and_shows_our_document(running: System) -> None:
    _, _, page = fetch(running.api.port, "/api/docs")

    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", page.decode())
    assert "/api/schema" in page.decode()
