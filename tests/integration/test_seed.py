"""`manage.py seed`: makes what is missing, leaves what is there, and with --reset begins anew."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_redis import get_redis_connection

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog, LogUnavailable
from coupons.eventlog.place import NextOffset
from coupons.gate.admission import (
    Admitted,
    AlreadyRequested,
    Decisions,
    GateUnavailable,
    GateUnknown,
    gate,
)
from coupons.models import Coupon, IssueOutcome, Point, User, UserCoupon
from tests.factories import make_requests

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[Backlog | LogUnavailable], None]:
    """No broker is needed here: the undecided part of the log is empty, or what a test says."""

    def say(undecided: Backlog | LogUnavailable) -> None:
        def read(
            *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
        ) -> Backlog:
            if isinstance(undecided, LogUnavailable):
                raise undecided
            return undecided

        monkeypatch.setattr(backlog, "read", read)

    say(Backlog(requests=[], next_to_decide={}))
    return say


def seed(*arguments: str) -> str:
    """Run the command; its standard output and error as one text."""
    told = io.StringIO()
    call_command("seed", *arguments, stdout=told, stderr=told, no_color=True)
    return told.getvalue()


def claimed(coupon_id: int, user_ids: Iterable[int]) -> list[Claim]:
    """Issue the coupon to these users: rows, outcomes, and what the gate remembers."""
    coupon = Coupon.objects.get(pk=coupon_id)
    claims = [Claim(coupon_id=coupon_id, user_id=user, request_id=uuid4()) for user in user_ids]
    UserCoupon.objects.bulk_create(
        UserCoupon(coupon_id=coupon_id, user_id=c.user_id, request_id=c.request_id) for c in claims
    )
    IssueOutcome.objects.bulk_create(
        IssueOutcome(
            request_id=c.request_id,
            coupon_id=coupon_id,
            user_id=c.user_id,
            status="ISSUED",
            requested_at=timezone.now(),
        )
        for c in claims
    )
    coupon.stock -= len(claims)
    coupon.issued_count += len(claims)
    coupon.save()
    view = coupon_cache.cached_coupon(coupon_id, fresh=True)
    assert view is not None
    gate.load(view, [])
    decided = [(claim, True) for claim in claims]
    gate.notify(
        [
            Decisions(
                coupon_id=coupon_id, epoch=coupon.epoch, issued_count=coupon.issued_count, decided=decided
            )
        ]
    )
    return claims


def everything() -> list[Any]:
    return [
        list(model._default_manager.order_by("pk").values())
        for model in (User, Point, Coupon, UserCoupon, IssueOutcome)
    ]


class TestSeeding:
    def test_the_three_users_and_the_coupon(self) -> None:
        told = seed()
        assert list(User.objects.order_by("pk").values_list("pk", "name")) == [
            (1, "testuser1"),
            (2, "testuser2"),
            (3, "testuser3"),
        ]
        points = Point.objects.order_by("user_id").values_list("user_id", "balance")
        assert list(points) == [(1, 100_000), (2, 100_000), (3, 100_000)]
        coupon = Coupon.objects.get()
        assert (coupon.pk, coupon.description, coupon.discount_amount) == (1, "신규가입 할인쿠폰", 5000)
        assert (coupon.stock, coupon.issued_count, coupon.coupon_status) == (100, 0, "OPENED")
        assert abs((timezone.now() - coupon.created_at).total_seconds()) < 60
        assert "users 1 to 3: 3 made, 0 already there" in told
        assert "coupons 1 to 1, stock 100 each: 1 made, 0 already there" in told

    def test_twice_is_as_good_as_once(self) -> None:
        seed()
        before = everything()
        told = seed()
        assert everything() == before
        assert "users 1 to 3: 0 made, 3 already there" in told

    def test_a_live_coupon_is_left_as_it_is_and_shown(self) -> None:
        seed()
        Coupon.objects.update(stock=40, issued_count=60, coupon_status="CLOSED", description="renamed")
        before = everything()
        told = seed("--stock", "500")
        assert everything() == before
        assert "coupon 1: CLOSED, 40 left, 60 issued" in told

    def test_only_what_is_missing_is_made(self) -> None:
        User.objects.create(user_id=2, name="Kim")
        Point.objects.create(user_id=2, balance=5)
        User.objects.create(user_id=3, name="Lee")
        summary = json.loads(seed("--users", "4", "--json"))
        assert summary["users"] == {"made": 2, "existing": 2}
        assert summary["points"] == {"made": 3, "existing": 1}
        names = User.objects.order_by("pk").values_list("name", flat=True)
        assert list(names) == ["testuser1", "Kim", "Lee", "testuser4"]
        balances = Point.objects.order_by("user_id").values_list("balance", flat=True)
        assert list(balances) == [100_000, 5, 100_000, 100_000]

    def test_many_users_over_the_borders_of_chunks(self) -> None:
        for number in (1, 1000, 1001, 2500):
            User.objects.create(user_id=number, name=f"testuser{number}")
        summary = json.loads(seed("--users", "2500", "--coupons", "3", "--stock", "7", "--json"))
        assert summary["users"] == {"made": 2496, "existing": 4}
        rows = User.objects.order_by("pk").values_list("pk", "name")
        assert list(rows) == [(number, f"testuser{number}") for number in range(1, 2501)]
        owners = Point.objects.order_by("user_id").values_list("user_id", flat=True)
        assert list(owners) == list(range(1, 2501))
        coupons = Coupon.objects.order_by("pk").values_list("pk", "description", "stock")
        assert list(coupons) == [
            (1, "신규가입 할인쿠폰", 7),
            (2, "할인쿠폰 2", 7),
            (3, "할인쿠폰 3", 7),
        ]

    def test_a_row_that_somebody_else_makes_meanwhile_stops_it_with_a_way_on(self) -> None:
        to_make = [2]

        def make_first(execute: Callable[..., Any], sql: str, *statement: Any) -> Any:
            if sql.startswith("INSERT") and to_make:
                User.objects.create(user_id=to_make.pop(), name="Kim")
            return execute(sql, *statement)

        with connection.execute_wrapper(make_first), pytest.raises(CommandError, match="run seed again"):
            seed()

    def test_dry_run_writes_nothing_and_tells_all(self) -> None:
        User.objects.create(user_id=2, name="Kim")
        before = everything()
        told = seed("--dry-run", "--users", "1500")
        assert everything() == before
        assert "users 1 to 1500: 1499 would be made, 1 already there" in told

    @pytest.mark.parametrize("option", ["--users", "--coupons", "--stock"])
    @pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", "100000001", "1e3", ""])
    def test_a_wrong_value_names_its_option(self, option: str, value: str) -> None:
        with pytest.raises(CommandError, match=rf"argument {option}: .* no whole number from 1 to"):
            seed(f"{option}={value}")
        assert not User.objects.exists()

    @pytest.mark.parametrize("option", ["--yes", "--force"])
    def test_an_option_of_reset_alone_is_refused(self, option: str) -> None:
        with pytest.raises(CommandError, match="go with --reset"):
            seed(option)

    def test_json_is_one_object_and_nothing_else(self) -> None:
        summary = json.loads(seed("--json"))
        assert summary.pop("seconds") >= 0
        assert summary == {
            "users": {"made": 3, "existing": 0},
            "points": {"made": 3, "existing": 0},
            "coupons": {"made": 1, "existing": 0},
            "reset": None,
            "dry_run": False,
        }

    def test_a_progress_bar_on_a_terminal_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        for stderr, arguments, shown in (
            (Terminal(), (), True),
            (Terminal(), ("--json",), False),
            (io.StringIO(), (), False),
        ):
            monkeypatch.setattr(sys, "stderr", stderr)
            seed("--users", "2000", *arguments)
            assert ("rows" in stderr.getvalue()) is shown


class TestReset:
    @pytest.fixture(autouse=True)
    def _seeded(self) -> None:
        seed("--users", "10", "--coupons", "2")

    def test_the_coupon_begins_anew_and_others_are_left_alone(self) -> None:
        claimed(1, range(1, 8))
        others = claimed(2, range(1, 4))
        Coupon.objects.filter(pk=1).update(coupon_status="CLOSED", closes_at=timezone.now())
        before = Coupon.objects.get(pk=1)
        summary = json.loads(seed("--reset", "--yes", "--stock", "50", "--json"))
        assert summary["reset"] == {"coupons": 1, "user_coupons": 7, "outcomes": 7}
        coupon = Coupon.objects.get(pk=1)
        assert (coupon.stock, coupon.issued_count, coupon.coupon_status) == (50, 0, "OPENED")
        assert coupon.closes_at is None
        assert coupon.epoch != before.epoch
        assert coupon.updated_at > before.updated_at
        left = {claim.request_id for claim in others}
        assert set(UserCoupon.objects.values_list("request_id", flat=True)) == left
        assert set(IssueOutcome.objects.values_list("pk", flat=True)) == left
        other = Coupon.objects.get(pk=2)
        assert (other.stock, other.issued_count) == (97, 3)

    def test_a_former_winner_may_claim_at_once(self) -> None:
        [won] = claimed(1, [5])
        again = Claim(coupon_id=1, user_id=5, request_id=uuid4())
        view = coupon_cache.cached_coupon(1, fresh=True)
        assert view is not None
        assert gate.admit(view, [again]) == [AlreadyRequested(first_request_id=won.request_id)]
        assert get_redis_connection("default").keys("{coupon:1}:*")
        seed("--reset", "--yes")
        assert not get_redis_connection("default").keys("{coupon:1}:*")
        fresh = coupon_cache.cached_coupon(1, fresh=True)
        assert fresh is not None
        with pytest.raises(GateUnknown):
            gate.admit(fresh, [again])
        gate.load(fresh, [])
        assert gate.admit(fresh, [again]) == [Admitted()]

    def test_more_rows_than_one_statement_deletes(self) -> None:
        seed("--users", "2100", "--coupons", "1")
        Coupon.objects.update(stock=3000)
        claimed(1, range(1, 2101))
        summary = json.loads(seed("--reset", "--yes", "--json"))
        assert summary["reset"] == {"coupons": 1, "user_coupons": 2100, "outcomes": 2100}
        assert not UserCoupon.objects.exists()
        assert not IssueOutcome.objects.exists()

    def test_missing_rows_are_made_beside_it(self) -> None:
        told = seed("--reset", "--yes", "--coupons", "3", "--stock", "9")
        assert list(Coupon.objects.order_by("pk").values_list("stock", flat=True)) == [9, 9, 9]
        assert "reset coupons 1, 2: 0 user coupons and 0 outcomes deleted" in told

    def test_dry_run_deletes_nothing_and_tells_all(self) -> None:
        claimed(1, [1, 2])
        before, keys = everything(), get_redis_connection("default").keys("*")
        told = seed("--reset", "--dry-run", "--stock", "50")
        assert everything() == before
        assert get_redis_connection("default").keys("*") == keys
        assert "would reset coupon 1: 2 user coupons and 2 outcomes deleted" in told
        assert "stock of 50" in told

    def test_it_does_not_destroy_unasked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        claimed(1, [1])
        before = everything()
        monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))  # a pipe is no person
        with pytest.raises(CommandError, match="add --yes"):
            seed("--reset")
        assert everything() == before

    @pytest.mark.parametrize(("answer", "is_reset"), [("yes", True), ("no", False), ("", False)])
    def test_a_person_is_asked(self, monkeypatch: pytest.MonkeyPatch, answer: str, is_reset: bool) -> None:
        claimed(1, [1])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda prompt: answer)
        if is_reset:
            assert "1 user coupons and 1 outcomes deleted" in seed("--reset")
        else:
            with pytest.raises(CommandError, match="nothing was changed"):
                seed("--reset")
        assert UserCoupon.objects.exists() is not is_reset

    def test_requests_under_way_stop_it(self) -> None:
        view = coupon_cache.cached_coupon(1, fresh=True)
        assert view is not None
        gate.load(view, [Claim(coupon_id=1, user_id=4, request_id=uuid4())])
        before = everything()
        with pytest.raises(CommandError, match=r"1 requests are under way for coupon 1.*queue-size"):
            seed("--reset", "--yes")
        assert everything() == before
        assert gate.reserved(1) == 1
        assert "will be decided on the reset coupon" in seed("--reset", "--yes", "--force")
        assert gate.reserved(1) is None

    def test_the_log_is_asked_where_the_gate_is_empty(
        self, log: Callable[[Backlog | LogUnavailable], None]
    ) -> None:
        log(
            Backlog(
                requests=[*make_requests(1, [4, 5]), *make_requests(2, [4])],
                next_to_decide={0: NextOffset(0)},
            )
        )
        with pytest.raises(CommandError, match="2 requests are under way for coupon 1"):
            seed("--reset", "--yes")
        with pytest.raises(CommandError, match="3 requests are under way for coupons 1, 2"):
            seed("--reset", "--yes", "--coupons", "2")

    def test_where_nobody_can_say_what_is_under_way_it_warns(
        self, log: Callable[[Backlog | LogUnavailable], None]
    ) -> None:
        log(LogUnavailable("no broker"))
        told = seed("--reset", "--yes", "--stock", "9")
        assert "warning: neither Redis nor Kafka could say" in told
        assert Coupon.objects.get(pk=1).stock == 9

    def test_without_redis_it_warns_and_is_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(coupon_id: int) -> None:
            raise GateUnavailable("connection refused")

        monkeypatch.setattr(gate, "reserved", away)
        monkeypatch.setattr(gate, "clear", away)
        told = seed("--reset", "--yes", "--stock", "9")
        assert "warning: Redis does not answer at REDIS_URL" in told
        assert Coupon.objects.get(pk=1).stock == 9
