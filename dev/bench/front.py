"""What the claim route ahead of Django's handler pays, and what it costs to ask for a proof of who claims.

CPU per claim, the claim itself left out: python -m dev.bench.front
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import django
import jwt

_CLAIMS: Final = 3_000
_ROUNDS: Final = 5
_SECRET: Final = "b3d90f6a27c14e58" * 4


def main() -> None:
    os.environ.update(SECRET_KEY="only-for-the-benchmark", DEBUG="false", COUPON_IDENTITY_SECRET=_SECRET)
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    django.setup()
    from django.conf import settings

    from coupons.api import callers, front
    from coupons.claims import batching
    from coupons.claims.submitting import Accepted
    from couponsite.wsgi import Pages
    from runtime.config.identity import IdentitySettings
    from runtime.http.environ import environ_of
    from runtime.http.request import Request
    from tests.asking import Client, request_of

    batching.submit = lambda claim, answer, counted=None: answer(Accepted(request_id=claim.request_id))
    pages = Pages()

    def by_front(request: Request) -> None:
        claimed = front.claimed_in(request)
        assert claimed is not None
        front.serve(request, claimed)

    def by_django(request: Request) -> None:
        b"".join(pages(environ_of(request), lambda status, headers, error=None: print))

    def asking_for_a_proof(request: Request) -> None:
        credentials = callers.credentials_of(request)
        callers.with_warning(request.answer, credentials)
        callers.refuse_claim(credentials, user_id=int(request.target.rpartition(b"=")[2]), coupon_id=1)

    def us_per_claim(serve: Callable[[Request], None]) -> float:
        expires_at = int(time.time()) + 600
        asked = []
        for user_id in range(1, _CLAIMS + 1):
            ticket = jwt.encode({"sub": str(user_id), "exp": expires_at}, _SECRET, "HS256")
            headers = {"Host": "localhost", "Authorization": f"Bearer {ticket}"}
            path = f"/api/coupons/1/issue?userId={user_id}"
            asked.append(request_of(Client(), "POST", path, headers=headers))
        began = time.process_time()
        for request in asked:
            serve(request)
        return (time.process_time() - began) / _CLAIMS * 1e6

    with_tickets = settings.CONFIG
    without = replace(with_tickets, identity=IdentitySettings())
    for name, serve, config in (
        ("Django's handler", by_django, without),
        ("the front", by_front, without),
        ("the front, HS256 tickets", by_front, with_tickets),
        ("of it, asking for a proof", asking_for_a_proof, with_tickets),
        ("the same where identity is off", asking_for_a_proof, without),
    ):
        settings.CONFIG = config
        print(f"{name}: {min(us_per_claim(serve) for _ in range(_ROUNDS)):.1f} us of CPU per claim")


if __name__ == "__main__":
    main()
