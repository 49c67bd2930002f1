"""The event's page and its figures: who may see them, what they say, and what a step's page does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import gevent
import pytest
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Staff
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_redis import get_redis_connection

from coupons.admin import letters as letters_pages
from coupons.admin.events import route
from coupons.event_page import board as boards
from coupons.event_page import snapshot
from coupons.event_page.board import Board
from coupons.models import Coupon, CouponStatus, DeadLetter, SecondFigures, Steering
from tests.factories import make_coupon, make_users
from tests.system import System, ask, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]


@pytest.fixture
def staff() -> Client:
    Staff.objects.create_superuser("kim", "", "a-long-enough-one")
    client = Client(headers={"accept-language": "en"})
    client.force_login(Staff.objects.get(username="kim"))
    return client


@pytest.fixture
def coupon() -> Coupon:
    return make_coupon(stock=5)


def figures(coupon_id: int, **counted: Any) -> None:
    text = json.dumps(counted)
    SecondFigures.objects.create(coupon_id=coupon_id, second=int(time.time()) - 3, process=1, figures=text)


class TestSnapshot:
    def test_it_has_the_numbers_and_both_charts(self, coupon: Coupon) -> None:
        figures(
            coupon.pk,
            answers={"ACCEPTED": 8, "OUT_OF_STOCK": 30},
            decisions={"ISSUED": 5, "OUT_OF_STOCK": 3},
            took={"9": 38},
            waiting=4,
        )

        told = json.loads(snapshot.of(coupon.pk))

        assert (told["accepted"], told["refused"], told["rejected"]) == (
            8,
            {"OUT_OF_STOCK": 30},
            {"OUT_OF_STOCK": 3},
        )
        assert (told["left"], told["issued"], told["coupon"]["phase"]) == (5, 0, "OPEN")
        assert sum(told["minutes"]["answers"]["ACCEPTED"]) == 8
        assert told["minutes"]["waiting"][-1] == 4
        assert {len(told["minutes"][name]) for name in ("issued", "waiting", "p50", "p99")} == {
            len(told["minutes"]["answers"]["ACCEPTED"])
        }
        assert 0.01 < told["recent"]["p99"] < 0.02
        assert {each["part"] for each in told["health"]} == {
            "database",
            "redis",
            "kafka",
            "deciding",
            "letters",
        }

    def test_an_event_that_is_over_is_drawn_whole(self, coupon: Coupon) -> None:
        begin = int(time.time()) - 400 * 86_400
        for second in (0, 100, 3_000):
            SecondFigures.objects.create(
                coupon_id=coupon.pk, second=begin + second, process=1, figures='{"answers":{"ACCEPTED":20}}'
            )

        told = json.loads(snapshot.of(coupon.pk))

        assert told["accepted"] == 60
        assert told["whole"]["step"] == 10
        assert sum(told["whole"]["answers"]["ACCEPTED"]) * 10 == 60

    def test_today_lists_what_is_open_or_begins_today_and_not_what_is_over(self, coupon: Coupon) -> None:
        day = timedelta(days=1)
        make_coupon(closes_at=timezone.now() - 2 * day)
        make_coupon(coupon_status=CouponStatus.CLOSED)
        make_coupon(opens_at=timezone.now() + 2 * day)
        figures(coupon.pk, answers={"ACCEPTED": 8})

        told = json.loads(snapshot.of(snapshot.TODAY))

        assert [each["coupon"]["id"] for each in told["events"]] == [coupon.pk]
        assert sum(told["events"][0]["spark"]) == 8


class TestBoard:
    def test_one_process_makes_it_and_the_others_take_it(self) -> None:
        made: list[str] = []
        first = Board(make=lambda key: _made(made, "first"))
        second = Board(make=lambda key: _made(made, "second"))

        assert first.now(7) == b"first"
        assert second.now(7) == b"first"
        assert made == ["first"]

    def test_while_another_makes_the_next_the_last_one_stands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(boards, "EVERY_S", 0)  # nothing is fresh
        made: list[str] = []

        def while_making(key: int) -> bytes:
            made.append("outer")
            assert Board(make=lambda key: _made(made, "inner")).now(key) == b"before"
            return b"after"

        Board(make=lambda key: b"before").now(7)
        assert Board(make=while_making).now(7) == b"after"
        assert made == ["outer"]

    def test_a_page_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where the database hangs: its thread is wanted by other pages."""
        monkeypatch.setattr(boards, "FIRST_S", 0.1)
        is_over = threading.Event()

        def hanging(key: int) -> bytes:
            is_over.wait(30)
            return b"late"

        hung = Board(make=hanging)
        try:
            assert hung.now(7) == b""
        finally:
            is_over.set()

    def test_who_has_the_newest_waits_for_the_next_with_all_others(self) -> None:
        board = _board(b'{"at":1}', b'{"at":2}')
        told: list[bytes] = []
        for than in (1, 1, 1):
            board.when_newer(7, than=than, tell=told.append)
        gevent.sleep(0)
        assert told == []

        _wait_in_loop(lambda: len(told) == 3)
        assert told == [b'{"at":2}'] * 3

    @pytest.mark.parametrize("body", [b'{"at":5,"coupon":1}', b'{"gone":true}'])
    def test_who_has_an_older_one_does_not_wait(self, body: bytes) -> None:
        told: list[bytes] = []
        _board(body).when_newer(7, than=4, tell=told.append)
        assert told == [body]

    def test_who_has_none_gets_the_first_one(self) -> None:
        may_be_made = threading.Event()
        told: list[bytes] = []
        board = Board(make=lambda key: b'{"at":5}' if may_be_made.wait(30) else b"")
        board.when_newer(7, than=0, tell=told.append)
        assert told == []
        may_be_made.set()
        _wait_in_loop(lambda: bool(told))
        assert told == [b'{"at":5}']

    @pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("ours")])
    def test_where_the_next_cannot_be_made_nobody_waits_for_ever(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(boards, "EVERY_S", 0.2)
        board = _board(b'{"at":1}', error)
        told: list[bytes] = []
        board.when_newer(7, than=1, tell=told.append)
        _wait_in_loop(lambda: bool(told))
        assert told == [b'{"at":1}']

    def test_where_it_hangs_pages_get_the_old_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(boards, "EVERY_S", 0.1)
        monkeypatch.setattr(boards, "HELD_S", 0.3)
        is_over = threading.Event()
        parts = iter([b'{"at":1}'])
        board = Board(make=lambda key: next(parts, b"") or str(is_over.wait(30)).encode())
        board.now(7)
        told: list[bytes] = []
        try:
            for number in range(3):
                board.when_newer(7, than=1, tell=told.append)
                _wait_in_loop(lambda number=number: len(told) == number + 1)  # type: ignore[misc]
        finally:
            is_over.set()
        assert told == [b'{"at":1}'] * 3

    def test_a_page_that_cannot_be_told_keeps_no_other_waiting(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(boards, "EVERY_S", 0.1)
        board = _board(b'{"at":1}', b'{"at":2}')
        told: list[bytes] = []

        def fail(body: bytes) -> None:
            raise RuntimeError("ours")

        for tell in (fail, told.append, fail, told.append):
            board.when_newer(7, than=1, tell=tell)
        _wait_in_loop(lambda: len(told) == 2)
        assert told == [b'{"at":2}'] * 2
        assert caplog.messages.count("a page cannot be told its event's snapshot") == 2

    def test_the_one_that_another_process_is_making_is_waited_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(boards, "EVERY_S", 0.1)
        board = _board(b'{"at":1}')
        redis = get_redis_connection("default")
        redis.set("coupon-event-page:7:turn", 1, px=30_000)
        told: list[bytes] = []
        board.when_newer(7, than=1, tell=told.append)
        gevent.sleep(0.5)
        assert told == []

        redis.set("coupon-event-page:7", b'{"at":2}', px=60_000)
        _wait_in_loop(lambda: bool(told))
        assert told == [b'{"at":2}']

    def test_without_redis_each_makes_its_own(self, redis_away: pytest.MonkeyPatch) -> None:
        assert Board(make=lambda key: b"own").now(7) == b"own"


class TestPass:
    def test_it_opens_one_event_for_two_minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        token = route.new_pass(7)
        assert route.is_valid(token, 7)
        assert not route.is_valid(token, 8)
        assert not route.is_valid(token + "x", 7)
        later = time.time() + route.PASS_S + 1
        monkeypatch.setattr(time, "time", lambda: later)
        assert not route.is_valid(token, 7)


class TestPages:
    @pytest.mark.parametrize("path", ["event/", "event/{id}/", "event/{id}/stop_claims/"])
    @pytest.mark.parametrize(("language", "word"), [("en", "Today"), ("ko", "선착순")])
    def test_they_are_there_in_both_languages(
        self, staff: Client, coupon: Coupon, path: str, language: str, word: str
    ) -> None:
        url = "/admin/coupons/coupon/" + path.format(id=coupon.pk)
        page = staff.get(url, headers={"accept-language": language})
        assert page.status_code == 200
        assert "script-src" not in page.headers.get("Content-Security-Policy", "default-src")

    def test_a_page_has_no_script_or_style_of_its_own(self, staff: Client, coupon: Coupon) -> None:
        page = staff.get(f"/admin/coupons/coupon/event/{coupon.pk}/")
        text = page.content.decode()
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert re.findall(r"<script(?![^>]* src=)(?![^>]*application/json)", text) == []
        assert re.findall(r"\son\w+=|\sstyle=", text) == []

    def test_strangers_are_sent_away_and_lookers_cannot_steer(self, coupon: Coupon) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/"
        assert Client().get(url).status_code == 302
        looker = Staff.objects.create_user("lee", is_staff=True)
        client = Client()
        client.force_login(looker)
        assert client.get(url).status_code == 403
        assert client.get(f"{url}snapshot/").status_code == 403

        looker.user_permissions.add(Permission.objects.get(codename="view_coupon"))
        assert b"data-action" not in client.get(url).content
        assert client.get(f"{url}stop_at_once/").status_code == 403

    def test_figures_by_session_and_a_pass(self, staff: Client, coupon: Coupon) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/"
        assert staff.get(f"{url}snapshot/").json()["coupon"]["id"] == coupon.pk
        assert route.is_valid(staff.get(f"{url}pass/").json()["pass"], coupon.pk)
        assert staff.get("/admin/coupons/coupon/event/999999/snapshot/").json() == {"gone": True}


class TestSteps:
    def test_a_step_says_what_it_leads_to_and_takes_it(self, staff: Client, coupon: Coupon) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/pause_claims/"
        page = unescape(staff.get(url).content.decode())
        assert "The 0 requests that were accepted go on being decided" in page

        seen = _hidden(page, "seen")
        done = staff.post(url, {"seen": seen, "why": "the shop is down"}, follow=True)

        assert "Done: Pause claims" in unescape(done.content.decode())
        [written] = Steering.objects.all()
        assert (written.who, written.why, written.action) == ("kim", "the shop is down", "PAUSE_CLAIMS")
        assert Coupon.objects.get(pk=coupon.pk).claims_paused_at is not None

    @pytest.mark.parametrize(
        ("language", "pausing", "resuming"),
        [
            ("en", "Nothing of this event is decided until", "The 3 events that were put aside"),
            ("ko", "이 이벤트의 요청을 처리하지 않습니다", "보류된 이벤트 3건을 접수된 순서대로"),
        ],
    )
    def test_deciding_is_paused_shown_and_resumed(
        self, staff: Client, coupon: Coupon, language: str, pausing: str, resuming: str
    ) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/"
        spoken = {"accept-language": language}

        def taken(action: str) -> str:
            page = unescape(staff.get(f"{url}{action}/", headers=spoken).content.decode())
            staff.post(f"{url}{action}/", {"seen": _hidden(page, "seen"), "why": "a doubt"})
            return page

        assert pausing in taken("pause_deciding")
        Coupon.objects.filter(pk=coupon.pk).update(deferred_count=3)
        shown = json.loads(snapshot.of(coupon.pk))["coupon"]
        assert shown["decidingPausedAt"] > 0
        assert (shown["decidingPausedBy"], shown["deferred"]) == ("kim", 3)
        assert resuming in taken("resume_deciding")
        assert json.loads(snapshot.of(coupon.pk))["coupon"]["decidingPausedAt"] is None
        assert list(Steering.objects.values_list("action", flat=True)) == [
            "PAUSE_DECIDING",
            "RESUME_DECIDING",
        ]

    def test_without_a_reason_nothing_is_done(self, staff: Client, coupon: Coupon) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/stop_at_once/"
        staff.post(url, {"seen": _hidden(unescape(staff.get(url).content.decode()), "seen"), "why": ""})
        assert not Steering.objects.exists()

    def test_stock_and_window_are_changed_there(self, staff: Client, coupon: Coupon) -> None:
        url = f"/admin/coupons/coupon/event/{coupon.pk}/"
        for action, fields in (
            ("change_stock", {"amount": "7"}),
            ("change_window", {"closes_at_0": "2099-01-01", "closes_at_1": "12:00:00"}),
        ):
            page = unescape(staff.get(f"{url}{action}/").content.decode())
            given = {"seen": _hidden(page, "seen"), "why": "more", "opens_at_0": "", "opens_at_1": ""}
            staff.post(f"{url}{action}/", given | fields)
        coupon.refresh_from_db()
        assert coupon.stock == 12
        assert coupon.closes_at is not None
        assert timezone.localtime(coupon.closes_at).hour == 12

    @pytest.mark.parametrize("action", ["resume_claims", "open"])
    def test_a_step_that_makes_no_sense_now_leads_back(
        self, staff: Client, coupon: Coupon, action: str
    ) -> None:
        page = staff.get(f"/admin/coupons/coupon/event/{coupon.pk}/{action}/", follow=True)
        assert "not possible now" in page.content.decode()

    def test_no_other_word_is_a_step(self, staff: Client, coupon: Coupon) -> None:
        for word in ("explode", "replay_letters"):
            assert staff.get(f"/admin/coupons/coupon/event/{coupon.pk}/{word}/").status_code == 404


class TestDeadLetters:
    URL = "/admin/coupons/deadletter/"

    @pytest.fixture
    def letters(self, topic: str) -> list[DeadLetter]:
        coupon = make_coupon()
        return [
            DeadLetter.objects.create(
                reason="NOT_JSON",
                error="no JSON",
                original_topic=topic,
                original_partition=0,
                original_offset=offset,
                original_key=f"coupon-{coupon.pk}".encode(),
                original_value=b"{",
            )
            for offset in range(3)
        ]

    @pytest.mark.parametrize(("action", "state"), [("replay", "REPLAYED"), ("discard", "DISCARDED")])
    def test_ticked_ones_are_acted_on_after_a_page_that_says_what_follows(
        self, staff: Client, letters: list[DeadLetter], action: str, state: str
    ) -> None:
        ticked = {"action": action, "_selected_action": [str(each.pk) for each in letters[:2]]}
        page = unescape(staff.post(self.URL, ticked).content.decode())
        assert "2 events are" in page
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"WAITING"}

        done = staff.post(self.URL, ticked | {"why": "mended"}, follow=True)

        assert "2 done" in unescape(done.content.decode())
        assert [each.state for each in DeadLetter.objects.order_by("pk")] == [state, state, "WAITING"]
        [written] = Steering.objects.all()
        assert (written.who, written.why, written.coupon_id) == ("kim", "mended", None)

    def test_more_than_a_page_can_do_are_left_to_the_command(
        self, staff: Client, letters: list[DeadLetter], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(letters_pages, "MOST", 2)
        ticked = {"action": "discard", "_selected_action": [str(each.pk) for each in letters], "why": "x"}
        page = staff.post(self.URL, ticked, follow=True)
        assert "manage.py dead_letters" in page.content.decode()
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"WAITING"}

    def test_a_looker_may_only_look(self, letters: list[DeadLetter]) -> None:
        looker = Staff.objects.create_user("lee", is_staff=True)
        looker.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
        client = Client()
        client.force_login(looker)
        client.post(self.URL, {"action": "discard", "_selected_action": [str(letters[0].pk)], "why": "x"})
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"WAITING"}


def test_the_server_gives_figures_for_a_pass_ahead_of_django(system: System) -> None:
    coupon = make_coupon(stock=3)
    path = f"/admin/coupons/coupon/event/{coupon.pk}/snapshot/"
    users = make_users(3)
    for user in users:
        assert system.claim(coupon.pk, user).status == 202

    def told() -> Any:
        return ask(system.api.port, "GET", f"{path}?pass={route.new_pass(coupon.pk)}").body

    def is_whole() -> bool:
        now = told()  # one of the two workers' newest, which may be a second old
        return (
            (now.get("issued"), now.get("accepted"), now.get("waiting")) == (3, 3, 0)
            and [each["rank"] for each in now["winners"]] == [3, 2, 1]
            and all(each["lag"] == 0 for each in now["partitions"])
        )

    eventually(is_whole)
    assert ask(system.api.port, "GET", f"{path}?pass=x").status == 403
    assert ask(system.api.port, "GET", f"{path}?pass=x&after=1").status == 403

    valid = f"{path}?pass={route.new_pass(coupon.pk)}"
    for after in ("", "x", "-1", "\u0661", 40 * "9"):
        assert ask(system.api.port, "GET", f"{valid}&after={quote(after)}").status == 200
    seen = told()["at"]
    eventually(lambda: ask(system.api.port, "GET", f"{valid}&after={seen}").body["at"] > seen)


def _board(first: bytes, *others: bytes | Exception) -> Board:
    """A board that has the first snapshot, and makes the others next."""
    parts = iter([first, *others])

    def make(key: int) -> bytes:
        part = next(parts)
        if isinstance(part, Exception):
            raise part
        return part

    made = Board(make=make)
    assert made.now(7) == first
    return made


def _wait_in_loop(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.01)


def _made(made: list[str], by: str) -> bytes:
    made.append(by)
    return by.encode()


def _hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="(.*?)" id=', page)
    assert found
    return found[1]
