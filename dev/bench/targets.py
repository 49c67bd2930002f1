"""What every ratio must reach (issues 5 and 11), and the floor that fails CI. The only place that has them.

The floors are low: CI's machine is noisy and shared. They catch a regression of half or more, not of
a tenth. An absolute target has the target itself as its baseline, so that its ratio must be 1.
"""

from __future__ import annotations

from typing import Final

from dev.bench.judging import Target

_STOCK: Final = "constant view, stock gunicorn"

TARGETS: Final[dict[str, Target]] = {
    "accept / stock view": Target("/s", _STOCK, reach=0.85, stretch=1.0, floor=0.6),
    "accept 256 / stock view 256": Target("/s", f"{_STOCK}, 256", reach=0.95, stretch=1.1, floor=0.8),
    "accept while issuing / stock view": Target("/s", _STOCK, reach=0.70, stretch=0.8, floor=0.4),
    "accept / plain view": Target("/s", "plain view, our worker", reach=None, floor=0.25),
    "accept / before": Target("/s", "other checkout", reach=None, floor=None),
    "accept 256 / before 256": Target("/s", "other checkout, 256", reach=None, floor=None),
    "accept while issuing / before": Target("/s", "other checkout", reach=None, floor=None),
    "accept, HS256 tickets / unchecked": Target("/s", "unchecked", reach=0.95, floor=0.5),
    # No target: the check itself, in OpenSSL, takes more than a twentieth of what a claim does.
    "accept, RS256 tickets / unchecked": Target("/s", "unchecked", reach=None, floor=0.5),
    "accept, EdDSA tickets / unchecked": Target("/s", "unchecked", reach=None, floor=0.4),
    "refuse / stock view": Target("/s", _STOCK, reach=1.6, stretch=1.8, floor=1.2),
    "accept 100 coupons / one": Target("/s", "one coupon", reach=0.8, floor=0.5),
    "accept 100 coupons 256 / one 256": Target("/s", "one coupon, 256", reach=None, floor=0.4),
    "accept 100 coupons 256 / before 256": Target("/s", "other checkout, 256", reach=None, floor=None),
    "accept, 1,000 kept / none kept": Target("/s", "none kept", reach=0.9, floor=0.4),
    "accept, 5,000 kept / none kept": Target("/s", "none kept", reach=0.9, floor=0.4),
    "accept, 10,000 kept / none kept": Target("/s", "none kept", reach=0.9, floor=0.4),
    "accept, limits on / off": Target("/s", "no limits", reach=None, floor=0.4),
    "p99 beside a flood / alone": Target("ms", "no flood", reach=1.5, floor=10.0, smaller_is_better=True),
    "accept, 100 watching / nobody": Target("/s", "nobody watching", reach=0.97, floor=0.5),
    "API's CPU a claim, figures / none": Target(
        "us", "no figures", reach=1.02, floor=2.0, smaller_is_better=True
    ),
    "API's CPU a claim, ours / before": Target(
        "us", "other checkout", reach=None, floor=None, smaller_is_better=True
    ),
    "winners: API worker, sending / before": Target(
        "MB", "after small files", reach=1.2, floor=2.0, smaller_is_better=True
    ),
    "winners: command, a million / thousand": Target(
        "MB", "a thousand", reach=1.2, floor=2.0, smaller_is_better=True
    ),
    "latency p99 / p50": Target("ms", "p50 at 70 % load", reach=3.0, floor=40.0, smaller_is_better=True),
    "latency max / 1 s": Target("ms", "wanted", reach=1.0, floor=5.0, smaller_is_better=True),
    "issue-hot / executemany": Target("/s", "executemany", reach=0.85, stretch=0.95, floor=0.4),
    "issue-hot / before": Target("/s", "other checkout", reach=None, floor=None),
    "issue-hot / 10,000": Target("/s", "wanted", reach=1.0, floor=None),
    "issue-spread / issue-hot": Target("/s", "issue-hot", reach=0.8, floor=0.4),
    "issue-single: ours / its": Target("/s", "one by one", reach=None, floor=3.0),
    "rush / last answer": Target("s", "last answer", reach=1.25, floor=3.0, smaller_is_better=True),
    "rush / 12 s": Target("s", "wanted", reach=1.0, floor=None, smaller_is_better=True),
    "accept, a million stored / empty": Target("/s", "empty tables", reach=0.95, floor=0.4),
    "issue, a million stored / empty": Target("/s", "empty tables", reach=0.95, floor=0.4),
    "accept, ten million stored / empty": Target("/s", "empty tables", reach=0.9, floor=0.4),
    "issue, ten million stored / empty": Target("/s", "empty tables", reach=0.9, floor=0.4),
    "cold / 3 s": Target("s", "wanted", reach=1.0, floor=3.0, smaller_is_better=True),
    "cold 100 coupons / 1 s": Target("s", "wanted", reach=1.0, floor=5.0, smaller_is_better=True),
    # No target: nobody is admitted before all that is undecided was read, which takes its time.
    "cold 100, 50,000 undecided / 1 s": Target("s", "wanted", reach=None, floor=5.0, smaller_is_better=True),
    "cold: warm p99 / all warm": Target("ms", "all loaded", reach=2.0, floor=20.0, smaller_is_better=True),
    "memory API worker / 120 MB": Target("MB", "at most", reach=1.0, floor=1.5, smaller_is_better=True),
    "memory consumer / 150 MB": Target("MB", "at most", reach=1.0, floor=1.5, smaller_is_better=True),
    "memory Redis / 120 bytes": Target("bytes", "at most", reach=1.0, floor=6.0, smaller_is_better=True),
    "memory API growth": Target("MB", "two loads before", reach=1.05, floor=1.4, smaller_is_better=True),
    "memory consumer growth": Target("MB", "two loads before", reach=1.05, floor=1.4, smaller_is_better=True),
    "start API / setup()": Target("s", "django.setup()", reach=4.0, floor=12.0, smaller_is_better=True),
    "start consumer / setup()": Target("s", "django.setup()", reach=6.0, floor=18.0, smaller_is_better=True),
}

#: An absolute target counts only where a constant view does so many requests a second.
PLAIN_PER_S_FOR_ISSUING: Final = 6_000
PLAIN_PER_S_FOR_RUSH: Final = 8_000
ISSUED_PER_S: Final = 10_000
RUSH_S: Final = 12.0
COLD_S: Final = 3.0
COLD_HUNDRED_S: Final = 1.0
API_WORKER_MB: Final = 120
CONSUMER_MB: Final = 150
REDIS_BYTES_PER_CLAIMANT: Final = 120
