"""The admin's pages while a crowd claims: each of them is answered, and none with an error of ours."""

from __future__ import annotations

import http.cookiejar
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from django.contrib.auth.models import User as Staff

from tests.factories import make_coupon, make_users
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-long-enough-one"
#: Each login hashes a password for a second of a core.
_STAFF = 4
_ROUNDS = 8


class Clerk:
    """One member of staff with a browser's cookies: logs in, looks, steers."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
        self.answers: Counter[tuple[int, str]] = Counter()

    def open(self, path: str, **fields: str) -> str:
        data = urllib.parse.urlencode(fields).encode() if fields else None
        request = urllib.request.Request(self._base + path, data, {"Accept": "text/html"})
        try:
            with self._opener.open(request, timeout=60) as answer:
                status, page = answer.status, str(answer.read(), "utf-8")
        except urllib.error.HTTPError as error:
            status, page = error.code, str(error.read(), "utf-8")
        self.answers[status, path] += 1
        return page

    def post(self, path: str, page: str, **fields: str) -> str:
        """A form of the page, with its hidden values."""
        hidden = dict(re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)"', page))
        plain = {name: value.replace("&quot;", '"') for name, value in hidden.items()}
        return self.open(path, **plain, **fields)

    def log_in(self, name: str) -> None:
        path = "/admin/login/?next=/admin/"
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]*)"', self.open(path))[0]
        self.open(path, csrfmiddlewaretoken=token, username=name, password=PASSWORD)


def work(clerk: Clerk, name: str, coupon_id: int) -> None:
    event = f"/admin/coupons/coupon/event/{coupon_id}/"
    clerk.log_in(name)
    for turn in range(_ROUNDS):
        for path in ("/admin/", "/admin/coupons/coupon/", "/admin/coupons/issueoutcome/", event):
            clerk.open(path)
        step = f"{event}{'resume_claims' if turn % 2 else 'pause_claims'}/"
        clerk.post(step, clerk.open(step), why="a drill")


def test_no_page_is_an_error_while_a_crowd_claims(system: System) -> None:
    coupon, other = make_coupon(stock=100_000), make_coupon()
    users = make_users(3_000)
    for number in range(_STAFF):
        Staff.objects.create_superuser(f"clerk{number}", password=PASSWORD)
    is_over = threading.Event()
    taken = count()

    def claim() -> None:
        while not is_over.is_set():
            system.claim(coupon.pk, users[next(taken) % len(users)])

    clerks = [Clerk(system.api.port) for _ in range(_STAFF)]
    with ThreadPoolExecutor(_STAFF + 10) as pool:
        crowd = [pool.submit(claim) for _ in range(10)]
        works: list[Callable[[], None]] = [
            pool.submit(work, clerk, f"clerk{number}", other.pk).result for number, clerk in enumerate(clerks)
        ]
        for done in works:
            done()
        is_over.set()
        for each in crowd:
            each.result()

    answers = sum((clerk.answers for clerk in clerks), Counter[tuple[int, str]]())
    assert {answer: times for answer, times in answers.items() if answer[0] != 200} == {}
