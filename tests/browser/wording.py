"""Whether a page speaks its reader's language."""

from __future__ import annotations

import re

#: What a Korean page may well say in Latin letters.
_KEPT = re.compile(
    r"[A-Z]{2,}[A-Z_]*|Kafka|Redis|Asia/Seoul|UTC|coupon:\d|user:\d|coupon-issue-events|manage\.py"
    r"|dead_letters|no JSON|[Kk]im|abc|CSV|ID|KST|p50|p99|pbkdf2_sha256|testuser\d*|[0-9a-f-]{36}"
    r"|[a-z_]+(,[a-z_]+)+|[a-z]+_[a-z_]+|\bms\b|\S+\*{4,}|Ctrl|[a-z_]+\.[a-z_]+"
)


def odd_lines(text: str, language: str) -> list[str]:
    """Lines that are not in the page's language, or in a Korean that nobody writes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    icons = re.compile(r"^[a-z_]+$")  # ligatures of the icon font
    lines = [line for line in lines if not icons.match(line)]
    if language == "ko":
        return [line for line in lines if re.search(r"[A-Za-z]{2,}", _KEPT.sub("", line)) or "(들)" in line]
    return [line for line in lines if re.search(r"[가-힣]", line)]
