"""The admin's login locks a name after five failures, and opens it again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User as Staff
from django.core.management import call_command
from django.test import Client

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _staff(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hashing for real would take most of the tests' time.
    monkeypatch.setattr(settings, "PASSWORD_HASHERS", ["django.contrib.auth.hashers.MD5PasswordHasher"])
    Staff.objects.create_superuser("admin", password=PASSWORD)


def log_in(password: str, *, name: str = "admin", language: str = "en", address: str = "192.0.2.1") -> int:
    answer = Client(HTTP_ACCEPT_LANGUAGE=language, REMOTE_ADDR=address, HTTP_USER_AGENT=address).post(
        "/admin/login/?next=/admin/", {"username": name, "password": password}
    )
    return answer.status_code


def test_the_sixth_try_is_not_looked_at_wherever_it_comes_from() -> None:
    answers = [log_in("wrong", address=f"192.0.2.{number}") for number in range(1, 6)]

    assert answers == [200, 200, 200, 200, 429]
    assert log_in(PASSWORD, address="198.51.100.1") == 429
    assert log_in(PASSWORD, name="another") == 200  # the form again: there is nobody of that name


def test_a_login_that_works_forgets_the_failures() -> None:
    for _ in range(3):
        for _ in range(4):
            assert log_in("wrong") == 200
        assert log_in(PASSWORD) == 302


def test_a_locked_name_is_open_again_after_fifteen_minutes() -> None:
    for _ in range(5):
        log_in("wrong")
    assert log_in(PASSWORD) == 429

    for attempt in AccessAttempt.objects.all():
        AccessAttempt.objects.filter(pk=attempt.pk).update(
            attempt_time=attempt.attempt_time - timedelta(minutes=15, seconds=1)
        )

    assert log_in(PASSWORD) == 302


def test_the_command_opens_a_locked_name() -> None:
    for _ in range(5):
        log_in("wrong")

    call_command("axes_reset_username", "admin")

    assert log_in(PASSWORD) == 302


@pytest.mark.parametrize(("language", "word"), [("en", "15 minutes"), ("ko", "15분")])
def test_who_is_locked_out_is_told_so(language: str, word: str) -> None:
    client = Client(HTTP_ACCEPT_LANGUAGE=language)
    for _ in range(5):
        answer = client.post("/admin/login/", {"username": "admin", "password": "wrong"})

    assert word in answer.content.decode()


def test_no_password_that_was_tried_is_stored() -> None:
    log_in("secret-that-was-mistyped")

    [attempt] = AccessAttempt.objects.all()
    assert "secret-that-was-mistyped" not in attempt.post_data + attempt.get_data
