"""deploy/compose/nginx.conf with a real nginx and a real API: what passes, what is added, who is limited."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from dev.processes import LOOPBACK, PROJECT, Process, free_port, wait_until
from tests.factories import make_coupon, make_users
from tests.system import System

_NGINX, _OPENSSL = shutil.which("nginx"), shutil.which("openssl")
pytestmark = pytest.mark.skipif(
    _NGINX is None or _OPENSSL is None,
    reason="nginx is not here (Debian: apt-get install nginx-light openssl)",
)
_LEGACY = (1, 25, 1)  #: from here on nginx knows `http2 on`


class Nginx:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
        unchecked = ssl._create_unverified_context()
        connection = HTTPSConnection(LOOPBACK, self.port, timeout=15, context=unchecked)
        try:
            connection.request(method, path, headers={key.replace("_", "-"): v for key, v in headers.items()})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        body = (
            json.loads(text)
            if response.getheader("Content-Type", "").startswith("application/json")
            else text
        )
        return response.status, dict(response.getheaders()), body


def configuration(folder: Path, *, api: int, port: int) -> str:
    """The file as it is, with this test's ports and folders in the container's place."""
    text = (PROJECT / "deploy/compose/nginx.conf").read_text()
    told = subprocess.run([str(_NGINX), "-v"], capture_output=True, text=True, timeout=10).stderr
    version = tuple(int(part) for part in re.findall(r"\d+", told)[:3])
    replaced = {
        "server api:8080": f"server {LOOPBACK}:{api}",
        "listen 8443 ssl": f"listen {LOOPBACK}:{port} ssl",
        "/etc/nginx/tls": str(folder),
        "pid /run/nginx.pid": f"pid {folder}/pid",
        "worker_processes auto": "worker_processes 1",
        **({} if version >= _LEGACY else {"http2 on;": ""}),
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def nginx(running: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    key, certificate = folder / "tls.key", folder / "tls.crt"
    made = [str(_OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    operations, port = free_port(), free_port()
    api = running.new_api(COUPON_BEHIND_HTTPS="true", COUPON_API_OPERATIONS_PORT=str(operations))
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, api=api.port, port=port))
    command = [str(_NGINX), "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
    server = Process(name="nginx", command=command, log=folder / "out", env={}, port=port)
    try:
        api.start()
        server.start()
        asked = Nginx(port)
        assert wait_until(lambda: _answers(asked), within_s=30), (folder / "out").read_text()
        yield asked
    finally:
        if server.was_started:
            server.stop()
        api.kill()


def _answers(nginx: Nginx) -> bool:
    try:
        return nginx.ask("GET", "/api/schema")[0] == 200
    except OSError:
        return False


def test_a_claim_passes(nginx: Nginx) -> None:
    [user] = make_users(1)
    coupon = make_coupon(stock=1)

    status, headers, body = nginx.ask("POST", f"/api/coupons/{coupon.pk}/issue?userId={user}")

    assert status == 202
    assert headers["Location"].endswith(body["requestId"])


@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/actuator/health", "/api/../actuator/health", "/static/admin/x"]
)
def test_nothing_but_the_api_passes(nginx: Nginx, path: str) -> None:
    status, _, body = nginx.ask("GET", path)

    assert (status, body["code"]) == (404, "NOT_FOUND")


def test_a_page_tells_browsers_to_stay_with_https_whatever_a_client_says(nginx: Nginx) -> None:
    _, headers, _ = nginx.ask("GET", "/api/docs", X_Forwarded_Proto="http")

    assert headers["Strict-Transport-Security"] == "max-age=3600"


def test_a_body_that_no_claim_has_is_refused(nginx: Nginx) -> None:
    status, _, _ = nginx.ask("POST", "/api/coupons/1/issue?userId=1", Content_Length="9000")

    assert status == 413


def test_one_address_is_limited_and_told_so_in_json(nginx: Nginx) -> None:
    answers = [nginx.ask("POST", "/api/coupons/404404/issue?userId=1") for _ in range(60)]

    statuses = [status for status, _, _ in answers]
    limited = next(answer for answer in answers if answer[0] == 429)
    assert statuses[:10] == [404] * 10
    assert (limited[2]["success"], limited[2]["code"]) == (False, "TOO_MANY_REQUESTS")
    assert limited[1]["Retry-After"] == "1"
    assert nginx.ask("GET", "/api/schema")[0] == 200  # looking is not limited
