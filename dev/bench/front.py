"""What the claim route ahead of Django's handler pays: CPU per claim, the claim itself left out.

python -m dev.bench.front
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import django

_CLAIMS: Final = 3_000
_ROUNDS: Final = 5


def main() -> None:
    os.environ.update(SECRET_KEY="only-for-the-benchmark", DEBUG="false")
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    django.setup()
    from coupons.api import front
    from coupons.claims import batching
    from coupons.claims.submitting import Accepted
    from couponsite.wsgi import Pages
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

    def us_per_claim(serve: Callable[[Request], None]) -> float:
        asked = [
            request_of(
                Client(), "POST", f"/api/coupons/1/issue?userId={user + 1}", headers={"Host": "localhost"}
            )
            for user in range(_CLAIMS)
        ]
        began = time.process_time()
        for request in asked:
            serve(request)
        return (time.process_time() - began) / _CLAIMS * 1e6

    for name, serve in {"Django's handler": by_django, "the front": by_front}.items():
        print(f"{name}: {min(us_per_claim(serve) for _ in range(_ROUNDS)):.0f} us of CPU per claim")


if __name__ == "__main__":
    main()
