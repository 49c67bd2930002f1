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


@pytest.mark.parametrize(
    ("query", "headers", "language"),
    [
        ("", {}, "ko"),
        ("", {"Accept-Language": "en"}, "en"),
        ("?lang=en", {"Accept-Language": "ko"}, "en"),
        ("?lang=ko", {"Accept-Language": "en"}, "ko"),
    ],
)
def test_it_is_there_in_both_languages(
    running: System, query: str, headers: dict[str, str], language: str
) -> None:
    answer = running.get(f"/api/schema{query}", **headers)

    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]
    assert answer.body["info"]["title"] == {"ko": "쿠폰 API", "en": "Coupon API"}[language]
    summaries = [each["summary"] for path in answer.body["paths"].values() for each in path.values()]
    assert all(summary.isascii() == (language == "en") for summary in summaries)


def test_the_document_is_made_once_for_each_language(
    rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making it computes for long, and claims are answered by the same interpreter."""
    made: list[object] = []
    make = SchemaGenerator.get_schema

    def get_schema(generator: SchemaGenerator, *args: Any, **named: Any) -> Any:
        made.append(generator)
        return make(generator, *args, **named)

    monkeypatch.setattr(SchemaGenerator, "get_schema", get_schema)
    view = resolve("/api/schema").func
    queries = ["", "?lang=ko", "?version=9", "?lang=xx", "?lang=en", "?lang=en&x=1", ""]

    told = [view(rf.get(f"/api/schema{query}")).render().content for query in queries]

    assert len(made) <= 2
    assert len(set(told)) == 2


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

    assert set(claim["responses"]) >= {"202", "400", "403", "404", "409", "503"}
    assert "requestBody" not in claim
    parameters = {(each["name"], each["in"]): each for each in claim["parameters"]}
    assert parameters["userId", "query"]["required"] is True
    for parameter in [parameters["userId", "query"], parameters["coupon_id", "path"]]:
        assert (parameter["schema"]["minimum"], parameter["schema"]["maximum"]) == (1, 2**63 - 1)
    assert "Location" in claim["responses"]["202"]["headers"]


def test_each_route_says_who_may_ask(document: dict[str, Any]) -> None:
    """And, with an empty entry, that identity is off on this server."""
    schemes = document["components"]["securitySchemes"]
    taken = {
        path: route["security"] for path, methods in document["paths"].items() for route in methods.values()
    }

    def of_a_user(scope: str) -> list[dict[str, list[str]]]:
        return [{}, {"ticket": []}, {"officeKey": [scope]}, {"userToken": []}]

    assert set(schemes) == {"ticket", "officeKey", "userToken"}
    assert taken == {
        "/api/coupons/{coupon_id}": [{}],
        ISSUE: of_a_user("claims:write"),
        "/api/coupons/{coupon_id}/queue-size": [{}],
        "/api/coupons/requests/{request_id}": of_a_user("requests:read"),
        "/api/coupons/users/{user_id}": of_a_user("users:read"),
    }


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
