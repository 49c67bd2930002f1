"""What the claim route ahead of Django's handler pays: CPU per claim, the claim itself left out.

python -m dev.bench.front
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, Final

import django

_CLAIMS: Final = 3_000
_ROUNDS: Final = 5

Application = Callable[..., Iterable[bytes]]


def main() -> None:
    os.environ.update(SECRET_KEY="only-for-the-benchmark", DEBUG="false")
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    django.setup()
    from coupons.api.front import ClaimsFirst
    from coupons.claims import batching
    from coupons.claims.submitting import Accepted
    from couponsite.wsgi import Pages

    batching.submit = lambda claim: Accepted(request_id=claim.request_id)
    pages = Pages()
    sites: dict[str, Application] = {"Django's handler": pages, "the front": ClaimsFirst(pages)}
    took = {name: min(_us_per_claim(site) for _ in range(_ROUNDS)) for name, site in sites.items()}
    for name, us in took.items():
        print(f"{name}: {us:.0f} us of CPU per claim")


def _us_per_claim(site: Application) -> float:
    asked = [_environ(user) for user in range(1, _CLAIMS + 1)]
    statuses: set[str] = set()
    began = time.process_time()
    for environ in asked:
        b"".join(site(environ, lambda status, headers, error=None: statuses.add(status)))
    took_s = time.process_time() - began
    if statuses != {"202 Accepted"}:
        raise RuntimeError(f"claims were answered {statuses}")
    return took_s / _CLAIMS * 1e6


def _environ(user: int) -> dict[str, Any]:
    path, query = "/api/coupons/1/issue", f"userId={user}"
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "RAW_URI": f"{path}?{query}",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "CONTENT_LENGTH": "0",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": "http",
    }


if __name__ == "__main__":
    main()
