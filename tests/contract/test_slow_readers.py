"""Clients that read their answer slowly, or never, hold up no page of the real gunicorn."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User as Staff
from django.contrib.sessions.backends.db import SessionStore
from uuid_utils.compat import uuid7

from coupons.models import Coupon, IssueOutcome
from coupons.outcomes import RequestStatus
from tests.factories import make_coupon
from tests.system import Process, System

_THREADS = 2
_WINNERS = 80_000  #: some 11 MB of CSV: more than the kernel keeps of an answer


@pytest.fixture
def api(running: System) -> Iterator[Process]:
    server = running.new_api(COUPON_API_WORKERS="1", COUPON_API_THREADS=str(_THREADS))
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


def a_session() -> str:
    """As after a login, without its second of hashing."""
    clerk = Staff.objects.create_superuser("clerk", password="a-long-enough-one")
    session = SessionStore()
    session[SESSION_KEY] = str(clerk.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = clerk.get_session_auth_hash()
    session.create()
    assert session.session_key
    return session.session_key


def a_coupon_with_winners() -> Coupon:
    coupon = make_coupon(stock=0)
    Coupon.objects.filter(pk=coupon.pk).update(issued_count=_WINNERS)
    IssueOutcome.objects.bulk_create(
        (
            IssueOutcome(
                request_id=uuid7(),
                coupon_id=coupon.pk,
                user_id=rank,
                status=RequestStatus.ISSUED,
                claim_rank=rank,
                coupon_epoch=int(coupon.epoch),
                requested_at=coupon.created_at + timedelta(seconds=rank),
                processed_at=coupon.created_at + timedelta(seconds=rank),
                kafka_partition=0,
                kafka_offset=rank,
            )
            for rank in range(1, _WINNERS + 1)
        ),
        batch_size=2_000,
    )
    return coupon


def test_more_of_them_than_threads_hold_up_no_page(api: Process) -> None:
    path, cookie = f"/admin/coupons/coupon/event/{a_coupon_with_winners().pk}/winners.csv", a_session()
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: sessionid={cookie}\r\n\r\n".encode()
    with ExitStack() as opened:
        readers = []
        for _ in range(_THREADS + 1):
            reader = opened.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
            reader.settimeout(60)
            reader.connect(("127.0.0.1", api.port))
            reader.sendall(asked)
            assert reader.recv(100).startswith(b"HTTP/1.1 200 ")  # and no more
            readers.append(reader)

        page = http.client.HTTPConnection("127.0.0.1", api.port, timeout=25)
        page.request("GET", "/admin/coupons/coupon/", headers={"Cookie": f"sessionid={cookie}"})
        assert page.getresponse().status == 200
        page.close()

        rest = b""
        while some := readers[0].recv(1_000_000):
            rest = rest[-2_000:] + some
            if rest.endswith(b"\r\n0\r\n\r\n"):
                break
        assert f"\r\n{_WINNERS},".encode() in rest[-1_000:], "whoever reads on gets all of it"
