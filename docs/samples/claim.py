"""A ticket, a claim, its result. Needs PyJWT: pip install "PyJWT[crypto]"

COUPONS=http://localhost:8080 SHOP_KEY=shop.pem python claim.py USER COUPON
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt

COUPONS = os.environ["COUPONS"]
SHOP_KEY = Path(os.environ["SHOP_KEY"]).read_text()


def ticket(user_id: int) -> str:
    """Your login signs it, for the user who is logged in."""
    claims = {
        "sub": str(user_id),
        "exp": int(time.time()) + 300,
        "iss": "https://login.example.com",
        "aud": "coupons",
    }
    return jwt.encode(claims, SHOP_KEY, algorithm="RS256")


def ask(method: str, path: str, token: str):
    """Status, headers and JSON of one answer."""
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
    request = urllib.request.Request(COUPONS + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.load(refused)


def claim(user_id: int, coupon_id: int):
    """The request's final status, or the refusal."""
    path = f"/api/coupons/{coupon_id}/issue?userId={user_id}"
    status, headers, body = ask("POST", path, ticket(user_id))
    while status == 503:  # nothing is lost, and nothing is claimed twice
        time.sleep(float(headers.get("Retry-After", 2)))
        status, headers, body = ask("POST", path, ticket(user_id))
    if status != 202:
        return body
    result = {"status": "PENDING"}
    while result.get("status") == "PENDING":
        time.sleep(min(5, max(0.2, result.get("etaSeconds") or 0)))
        _, _, result = ask("GET", headers["Location"], ticket(user_id))
    return result


result = claim(int(sys.argv[1]), int(sys.argv[2]))
print(result.get("code") or result["status"], result.get("userCouponId") or result.get("reason") or "")
