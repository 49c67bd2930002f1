"""The admin as a person uses it: pages are fetched, their own inputs are filled in and posted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Staff
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons.models import Coupon, DeadLetter, IssueOutcome, Point, User, UserCoupon
from coupons.operations.stock import MOST, StockOutOfRange, change_stock

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise, where nobody ran collectstatic: files are served from the packages then.
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]


@pytest.fixture
def browser(client: Client) -> Client:
    """Logged in as a superuser; without a password, whose hashing would take most of the tests' time."""
    client.force_login(Staff.objects.create(username="admin", is_staff=True, is_superuser=True))
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def coupon() -> Coupon:
    made = Coupon.objects.create(description="welcome", discount_amount=5000, stock=100)
    Coupon.objects.filter(pk=made.pk).update(updated_at=timezone.now() - timedelta(hours=1))
    return Coupon.objects.get(pk=made.pk)


@pytest.fixture
def claim(coupon: Coupon) -> UserCoupon:
    return UserCoupon.objects.create(user=User.objects.create(name="Kim"), coupon=coupon)


class _Inputs(HTMLParser):
    """What a browser would post: the names and values of a page's inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "input" and given.get("type") not in ("submit", "search") and "name" in given:
            self.values[given["name"]] = given.get("value", "")
        elif tag == "select" and "name" in given:
            self._select = given["name"]
        elif tag == "option" and self._select and "selected" in given:
            self.values[self._select] = given["value"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None


def opened(browser: Client, url: str) -> dict[str, str]:
    """The inputs of a page as it is now."""
    page = browser.get(url)
    assert page.status_code == 200
    inputs = _Inputs()
    inputs.feed(page.content.decode())
    return inputs.values


def change_url(row: Any) -> str:
    return f"/admin/coupons/{row._meta.model_name}/{row.pk}/change/"


def posted(browser: Client, url: str, inputs: dict[str, str]) -> str:
    """The page after posting; the text tells whether it was saved."""
    return browser.post(url, inputs, follow=True).content.decode()


def issue(coupon: Coupon, count: int) -> None:
    """What the consumer does to the row."""
    Coupon.objects.filter(pk=coupon.pk).update(
        stock=F("stock") - count, issued_count=F("issued_count") + count
    )


class TestCoupon:
    def test_a_new_coupon_takes_its_stock_as_it_is_typed(self, browser: Client) -> None:
        inputs = opened(browser, "/admin/coupons/coupon/add/")
        inputs |= {"description": "autumn", "discount_amount": "3000", "stock": "70"}
        assert "was added successfully" in posted(browser, "/admin/coupons/coupon/add/", inputs)
        made = Coupon.objects.get()
        assert (made.description, made.discount_amount, made.stock) == ("autumn", 3000, 70)
        assert (made.issued_count, made.coupon_status) == (0, "CLOSED")

    def test_a_new_coupon_with_a_start_opens_then(self, browser: Client) -> None:
        inputs = opened(browser, "/admin/coupons/coupon/add/")
        assert "coupon_status" not in inputs
        inputs |= {"description": "autumn", "discount_amount": "3000", "stock": "70"}
        inputs |= {"opens_at_0": "2099-01-01", "opens_at_1": "12:00:00"}
        posted(browser, "/admin/coupons/coupon/add/", inputs)
        assert Coupon.objects.get().coupon_status == "OPENED"

    def test_times_are_typed_in_the_zone_that_the_form_names_and_stored_as_utc(self, browser: Client) -> None:
        url = "/admin/coupons/coupon/add/"
        assert browser.get(url).content.decode().count("Time zone: Asia/Seoul, UTC+09:00") == 2
        korean = browser.get(url, headers={"accept-language": "ko"}).content.decode()
        assert korean.count("시간대: Asia/Seoul, UTC+09:00") == 2
        inputs = opened(browser, url) | {"description": "autumn", "discount_amount": "3000", "stock": "70"}
        posted(browser, url, inputs | {"opens_at_0": "2030-01-02", "opens_at_1": "10:00"})
        with connection.cursor() as cursor:
            cursor.execute("SELECT opens_at FROM coupon")
            [(stored,)] = cursor.fetchall()
        assert str(stored).startswith("2030-01-02 01:00:00")

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"stock": "-1"}, "greater than or equal to 0"),
            ({"stock": str(2**63)}, "less than or equal to"),
            ({"discount_amount": "0"}, "greater than or equal to 1"),
            (
                {
                    "opens_at_0": "2030-01-02",
                    "opens_at_1": "10:00",
                    "closes_at_0": "2030-01-02",
                    "closes_at_1": "10:00",
                },
                "It must close after it opens.",
            ),
        ],
    )
    def test_an_impossible_coupon_is_refused_in_words(
        self, browser: Client, wrong: dict[str, str], said: str
    ) -> None:
        inputs = opened(browser, "/admin/coupons/coupon/add/")
        inputs |= {"description": "autumn", "discount_amount": "3000", "stock": "70"} | wrong
        page = posted(browser, "/admin/coupons/coupon/add/", inputs)
        assert said in page
        assert "is violated" not in page
        assert not Coupon.objects.exists()

    def test_coupons_issued_while_the_form_is_open_stay_issued(self, browser: Client, coupon: Coupon) -> None:
        inputs = opened(browser, change_url(coupon))
        assert "stock" not in inputs
        assert "issued_count" not in inputs
        issue(coupon, 30)
        # A forged or outdated page may send them all the same.
        inputs |= {"description": "renamed", "stock": "100", "issued_count": "0"}
        assert "was changed successfully" in posted(browser, change_url(coupon), inputs)
        saved = Coupon.objects.get()
        assert (saved.description, saved.stock, saved.issued_count) == ("renamed", 70, 30)
        assert saved.updated_at > coupon.updated_at
        assert saved.created_at == coupon.created_at

    def test_the_update_names_neither_stock_nor_issued_count(self, browser: Client, coupon: Coupon) -> None:
        inputs = opened(browser, change_url(coupon)) | {"description": "renamed"}
        with CaptureQueriesContext(
            connection,
        ) as queries:
            posted(browser, change_url(coupon), inputs)
        updates = [q["sql"] for q in queries if q["sql"].startswith("UPDATE") and "renamed" in q["sql"]]
        assert len(updates) == 1
        assert "stock" not in updates[0]
        assert "issued_count" not in updates[0]

    def test_a_coupon_closed_while_the_form_is_open_stays_closed(
        self, browser: Client, coupon: Coupon
    ) -> None:
        inputs = opened(browser, change_url(coupon))
        Coupon.objects.update(coupon_status="CLOSED")
        posted(browser, change_url(coupon), inputs | {"description": "renamed"})
        saved = Coupon.objects.get()
        assert (saved.description, saved.coupon_status) == ("renamed", "CLOSED")

    def test_what_is_steered_is_not_changed_without_a_reason(self, browser: Client, coupon: Coupon) -> None:
        """They are shown, with links to the steps that ask why; a forged form is no way round."""
        page = browser.get(change_url(coupon)).content.decode()
        for step in ("change_stock", "change_window"):
            assert f'href="/admin/coupons/coupon/event/{coupon.pk}/{step}/"' in page
        inputs = opened(browser, change_url(coupon))
        assert not {"coupon_status", "opens_at_0", "closes_at_0", "stock", "stock_change"} & inputs.keys()
        forged = {
            "description": "renamed",
            "coupon_status": "CLOSED",
            "stock": "7",
            "stock_change": "5",
            "opens_at_0": "2030-01-02",
            "opens_at_1": "10:00",
            "closes_at_0": "2031-01-02",
            "closes_at_1": "10:00",
        }
        posted(browser, change_url(coupon), inputs | forged)
        saved = Coupon.objects.get()
        assert (saved.description, saved.stock, saved.coupon_status) == ("renamed", 100, "OPENED")
        assert (saved.opens_at, saved.closes_at) == (None, None)

    def test_saving_nothing_changes_nothing(self, browser: Client, coupon: Coupon) -> None:
        posted(browser, change_url(coupon), opened(browser, change_url(coupon)))
        assert Coupon.objects.get().updated_at == coupon.updated_at

    def test_a_claimed_coupon_cannot_be_deleted(self, browser: Client, claim: UserCoupon) -> None:
        url = f"/admin/coupons/coupon/{claim.coupon_id}/delete/"
        assert browser.post(url, {"post": "yes"}).status_code == 403
        claim.delete()
        assert browser.post(url, {"post": "yes"}).status_code == 302
        assert not Coupon.objects.exists()

    def test_who_may_only_look_sees_no_way_to_change(self, client: Client, coupon: Coupon) -> None:
        staff = Staff.objects.create(username="reader", is_staff=True)
        staff.user_permissions.add(Permission.objects.get(codename="view_coupon"))
        client.force_login(staff)
        inputs = opened(client, change_url(coupon))
        assert "change_stock" not in client.get(change_url(coupon)).content.decode()
        assert client.post(change_url(coupon), inputs | {"description": "x"}).status_code == 403
        assert Coupon.objects.get().stock == 100

    def test_the_page_is_korean_for_korean_readers(self, browser: Client, coupon: Coupon) -> None:
        page = browser.get(change_url(coupon), headers={"accept-language": "ko"}).content.decode()
        for word in ("할인 금액", "남은 재고", "재고 증감"):
            assert word in page


class TestChangeStock:
    def test_it_adds_to_what_is_there_and_not_to_what_was_read(self, coupon: Coupon) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert change_stock(coupon_id=coupon.pk, amount=-100) == 0
        update = next(q["sql"] for q in queries if q["sql"].startswith("UPDATE"))
        assert update.count("stock") >= 4  # stock = stock + amount WHERE stock >= ... AND stock <= ...

    @pytest.mark.parametrize("amount", [-101, -MOST, MOST, MOST - 99])
    def test_out_of_range_changes_nothing(self, coupon: Coupon, amount: int) -> None:
        with pytest.raises(StockOutOfRange, match="the stock is 100"):
            change_stock(coupon_id=coupon.pk, amount=amount)
        saved = Coupon.objects.get()
        assert (saved.stock, saved.updated_at) == (100, coupon.updated_at)

    def test_up_to_the_most(self, coupon: Coupon) -> None:
        assert change_stock(coupon_id=coupon.pk, amount=MOST - 100) == MOST

    def test_no_such_coupon(self) -> None:
        with pytest.raises(Coupon.DoesNotExist):
            change_stock(coupon_id=404, amount=1)


class TestUsersAndPoints:
    def test_a_user_is_made_with_points(self, browser: Client) -> None:
        inputs = opened(browser, "/admin/coupons/user/add/")
        inputs |= {"name": "Kim", "point-0-balance": "100000"}
        posted(browser, "/admin/coupons/user/add/", inputs)
        point = Point.objects.select_related("user").get()
        assert (point.user.name, point.balance) == ("Kim", 100_000)

    def test_a_name_is_changed(self, browser: Client) -> None:
        user = User.objects.create(name="Kim")
        before = User.objects.get().updated_at
        posted(browser, change_url(user), opened(browser, change_url(user)) | {"name": "Lee"})
        saved = User.objects.get()
        assert saved.name == "Lee"
        assert saved.updated_at > before

    def test_a_balance_is_changed_and_never_negative(self, browser: Client) -> None:
        point = Point.objects.create(user=User.objects.create(name="Kim"), balance=5)
        inputs = opened(browser, change_url(point))
        assert "greater than or equal to 0" in posted(browser, change_url(point), inputs | {"balance": "-1"})
        posted(browser, change_url(point), inputs | {"balance": "70"})
        assert Point.objects.get().balance == 70

    def test_points_spent_while_the_form_is_open_stay_spent(self, browser: Client) -> None:
        point = Point.objects.create(user=User.objects.create(name="Kim"), balance=5)
        inputs = opened(browser, change_url(point))
        Point.objects.update(balance=3)
        posted(browser, change_url(point), inputs)
        assert Point.objects.get().balance == 3


class TestClaimsAndOutcomes:
    def test_a_claim_is_neither_made_nor_deleted_by_hand(self, browser: Client, claim: UserCoupon) -> None:
        assert browser.get("/admin/coupons/usercoupon/add/").status_code == 403
        url = f"/admin/coupons/usercoupon/{claim.pk}/delete/"
        assert browser.post(url, {"post": "yes"}).status_code == 403
        assert UserCoupon.objects.exists()

    def test_a_claim_is_marked_as_used(self, browser: Client, claim: UserCoupon) -> None:
        other = User.objects.create(name="Lee")
        inputs = opened(browser, change_url(claim)) | {"status": "USED", "user": str(other.pk)}
        assert "A used coupon has a time of use." in posted(browser, change_url(claim), inputs)
        posted(browser, change_url(claim), inputs | {"used_at_0": "2030-01-02", "used_at_1": "10:00:00"})
        saved = UserCoupon.objects.get()
        assert saved.status == "USED"
        assert saved.used_at is not None
        assert saved.user_id == claim.user_id
        inputs = opened(browser, change_url(claim)) | {"status": "ISSUED"}
        assert "Only a used coupon has a time of use." in posted(browser, change_url(claim), inputs)

    def test_an_outcome_is_read_and_never_written(self, browser: Client) -> None:
        outcome = _outcome(coupon_id=1, user_id=5)
        page = browser.get(change_url(outcome))
        assert page.status_code == 200
        assert str(outcome.pk) in page.content.decode()
        assert "_save" not in page.content.decode()
        assert browser.post(change_url(outcome), {"status": "ISSUED"}).status_code == 403
        url = f"/admin/coupons/issueoutcome/{outcome.pk}/delete/"
        assert browser.post(url, {"post": "yes"}).status_code == 403
        assert browser.get("/admin/coupons/issueoutcome/add/").status_code == 403
        assert IssueOutcome.objects.get().status == "REJECTED"


class TestLists:
    @pytest.fixture
    def rows(self, claim: UserCoupon) -> dict[str, str]:
        """One row of each table; what finds it, by model name."""
        outcome = _outcome(coupon_id=claim.coupon_id, user_id=claim.user_id)
        Point.objects.create(user_id=claim.user_id, balance=5)
        return {
            "user": str(claim.user_id),
            "point": str(claim.user_id),
            "coupon": str(claim.coupon_id),
            "usercoupon": f"coupon:{claim.coupon_id} user:{claim.user_id}",
            "issueoutcome": str(outcome.pk),
        }

    @pytest.mark.parametrize("model", ["user", "point", "coupon", "usercoupon", "issueoutcome"])
    def test_a_search_finds_by_exact_id_without_like(
        self, browser: Client, rows: dict[str, str], model: str
    ) -> None:
        with _queries() as queries:
            page = browser.get(f"/admin/coupons/{model}/", {"q": rows[model]})
        assert page.context["cl"].result_count == 1
        assert not [sql for sql in queries if "LIKE" in sql]
        missing = str(UUID(int=0)) if model == "issueoutcome" else "999999"
        page = browser.get(f"/admin/coupons/{model}/", {"q": missing})
        assert page.context["cl"].result_count == 0

    @pytest.mark.parametrize("model", ["user", "point", "coupon", "usercoupon", "issueoutcome"])
    def test_no_list_counts_or_sorts_its_whole_table(
        self, browser: Client, rows: dict[str, str], model: str
    ) -> None:
        with _queries() as queries:
            page = browser.get(f"/admin/coupons/{model}/", {"_facets": "True"})
        assert page.context["cl"].result_count == 1
        counts = [sql for sql in queries if "COUNT(" in sql]
        assert len(counts) == 1
        assert "LIMIT 10000" in counts[0]
        primary_key = page.context["cl"].opts.pk.column
        sorted_by = [sql.split("ORDER BY")[1] for sql in queries if "ORDER BY" in sql]
        assert sorted_by
        assert all(primary_key in order and "," not in order for order in sorted_by)

    @pytest.mark.parametrize("model", ["user", "point", "coupon", "usercoupon", "issueoutcome"])
    @pytest.mark.parametrize("term", ["Kim", "user:x", "nothing:1", "coupon:", "1e5", "'"])
    def test_what_cannot_be_searched_for_is_said(
        self, browser: Client, rows: dict[str, str], model: str, term: str
    ) -> None:
        page = browser.get(f"/admin/coupons/{model}/", {"q": term})
        assert page.status_code == 200
        assert page.context["cl"].result_count == 0
        assert [message.level_tag for message in page.context["messages"]] == ["warning"]

    def test_a_coupons_page_leads_to_its_claims_and_outcomes(
        self, browser: Client, claim: UserCoupon
    ) -> None:
        _outcome(coupon_id=claim.coupon_id, user_id=claim.user_id)
        _outcome(coupon_id=claim.coupon_id + 1, user_id=claim.user_id)
        page = browser.get(change_url(claim.coupon)).content.decode()
        for model in ("usercoupon", "issueoutcome"):
            url = f"/admin/coupons/{model}/?coupon_id={claim.coupon_id}"
            assert f'href="{url}"' in page
            assert browser.get(url).context["cl"].result_count == 1

    def test_a_narrow_list_can_be_filtered_by_status(self, browser: Client) -> None:
        _outcome(coupon_id=1, user_id=5)
        assert not browser.get("/admin/coupons/issueoutcome/").context["cl"].has_filters
        url = "/admin/coupons/issueoutcome/?coupon_id=1"
        assert browser.get(url).context["cl"].has_filters
        assert browser.get(f"{url}&status__exact=REJECTED").context["cl"].result_count == 1
        assert browser.get(f"{url}&status__exact=ISSUED").context["cl"].result_count == 0


@contextmanager
def _queries() -> Iterator[list[str]]:
    """The statements run inside, once it is left."""
    statements: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield statements
    statements += [query["sql"] for query in queries.captured_queries]


def _outcome(*, coupon_id: int, user_id: int) -> IssueOutcome:
    return IssueOutcome.objects.create(
        request_id=uuid4(),
        coupon_id=coupon_id,
        user_id=user_id,
        status="REJECTED",
        reason="OUT_OF_STOCK",
        requested_at=timezone.now(),
        kafka_partition=0,
        kafka_offset=1,
    )


def test_dead_letters_are_shown_with_their_value_and_cannot_be_edited(admin_client: Client) -> None:
    letter = DeadLetter.objects.create(
        reason="NOT_JSON",
        error="<b>broken</b>",
        original_topic="t",
        original_partition=0,
        original_offset=7,
        original_value=b"\xff{",
    )

    listed = admin_client.get("/admin/coupons/deadletter/?reason__exact=NOT_JSON")
    shown = admin_client.get(f"/admin/coupons/deadletter/{letter.pk}/change/")

    assert b"&lt;b&gt;broken" in listed.content
    assert b"\\xff{" in shown.content
    assert admin_client.post(f"/admin/coupons/deadletter/{letter.pk}/change/", {}).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "usercoupon/?q=coupon:99999999999999999999",
        "point/?q=99999999999999999999",
        "point/?user_id=99999999999999999999",
    ],
)
def test_ids_that_no_column_holds_are_no_error(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"/admin/coupons/{query}", follow=True).status_code == 200
