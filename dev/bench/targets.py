"""What every ratio must reach (issue 5), and the floor that fails CI. The only place that has them.

The floors are low: CI's machine is noisy and shared. They catch a regression of half or more, not of
a tenth. An absolute target has the target itself as its baseline, so that its ratio must be 1.
"""

from __future__ import annotations

from typing import Final

from dev.bench.judging import Target

TARGETS: Final[dict[str, Target]] = {
    "accept / plain view": Target("/s", "plain view", reach=0.60, floor=0.25),
    "accept / DRF view": Target("/s", "DRF view, gthread 2x4", reach=1.0, floor=0.35),
    "accept while issuing / plain view": Target("/s", "plain view", reach=None, floor=0.2),
    "refuse / plain view": Target("/s", "plain view", reach=0.70, floor=0.25),
    "latency p99 / p50": Target("ms", "p50 at 70 % load", reach=5.0, floor=40.0, smaller_is_better=True),
    "latency max / 1 s": Target("ms", "wanted", reach=1.0, floor=5.0, smaller_is_better=True),
    "issue-hot / executemany": Target("/s", "executemany", reach=0.60, floor=0.15),
    "issue-hot / 10,000": Target("/s", "wanted", reach=1.0, floor=None),
    "issue-spread / issue-hot": Target("/s", "issue-hot", reach=0.50, floor=0.15),
    "issue-single: ours / its": Target("/s", "one by one", reach=None, floor=3.0),
    "rush / last answer": Target("s", "last answer", reach=1.25, floor=3.0, smaller_is_better=True),
    "rush / 12 s": Target("s", "wanted", reach=1.0, floor=None, smaller_is_better=True),
    "issue-large / empty": Target("/s", "empty tables", reach=0.85, floor=0.40),
    "cold / 3 s": Target("s", "wanted", reach=1.0, floor=3.0, smaller_is_better=True),
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
API_WORKER_MB: Final = 120
CONSUMER_MB: Final = 150
REDIS_BYTES_PER_CLAIMANT: Final = 120
