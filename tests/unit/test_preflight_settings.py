"""The preflight's checks of settings and of this machine, on facts that are wrong in one place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.core import checks

from coupons.operations.preflight import certificates, encryption, machine, site
from coupons.operations.preflight.findings import Expected, Finding, Level
from coupons.operations.preflight.machine import Folder
from coupons.operations.preflight.site import Site
from runtime.config import Config
from runtime.config.database import SslMode
from runtime.config.kafka import Mechanism, Protocol
from tests.unit import preflight_facts
from tests.unit.preflight_facts import changed, levels, only

RED, YELLOW, NOTE = Level.RED, Level.YELLOW, Level.NOTE


@pytest.mark.parametrize(
    ("part", "changes", "look", "level", "word"),
    [
        ("site", {"secret_key": "short"}, site.secrets, RED, "openssl rand -hex 32"),
        ("site", {"secret_key": "django-insecure-" + "abcdef0" * 8}, site.secrets, RED, "SECRET_KEY"),
        ("identity", {"secret": "ab"}, site.secrets, RED, "COUPON_IDENTITY_SECRET"),
        ("identity", {"secret": ""}, site.identity, YELLOW, "COUPON_TICKET_KEYS"),
        ("site", {"debug": True}, site.debug, RED, "DEBUG=false"),
        ("site", {"allowed_hosts": ("*",)}, site.hosts, YELLOW, "ALLOWED_HOSTS"),
        ("site", {"allowed_hosts": ("localhost", "[::1]")}, site.hosts, YELLOW, "this machine alone"),
        ("site", {"behind_https": False}, site.https, YELLOW, "COUPON_BEHIND_HTTPS=true"),
        ("api", {"operations_port": 0}, site.operations_port, NOTE, "COUPON_API_OPERATIONS_PORT"),
        ("api", {"keepalive_s": 60}, site.timeouts, YELLOW, "COUPON_API_KEEPALIVE_S=75"),
        ("api", {"host": "127.0.0.1"}, site.address, NOTE, "COUPON_API_HOST=0.0.0.0"),
        ("logs", {"level": "DEBUG"}, site.logging, YELLOW, "COUPON_LOG_LEVEL=INFO"),
        ("logs", {"level": "ERROR"}, site.logging, NOTE, "COUPON_LOG_LEVEL=INFO"),
        ("redis", {"timeout_s": 0.01}, site.timeouts, YELLOW, "COUPON_REDIS_TIMEOUT_MS is 10"),
        ("producer", {"publish_timeout_ms": 500}, site.timeouts, YELLOW, "COUPON_PUBLISH_TIMEOUT_MS is 500"),
        ("consumer", {"session_timeout_ms": 1000}, site.timeouts, YELLOW, "SESSION_TIMEOUT_MS is 1000"),
    ],
)
def test_a_setting(
    part: str, changes: dict[str, Any], look: Callable[[Site], Any], level: Level, word: str
) -> None:
    only(look(Site(config=changed(part, **changes))), level, word)


def test_right_settings() -> None:
    loaded = changed("site", behind_https=True, allowed_hosts=("coupons.example.com",))
    right = replace(
        loaded,
        api=replace(loaded.api, operations_port=8082, host="0.0.0.0"),
        identity=replace(loaded.identity, secret="0123456789abcdef" * 2),
    )
    for check in site.SUBJECT.checks:
        if check.name != "encryption":  # the tests' servers have none
            assert not list(check.look(Site(config=right))), check.name


def test_djangos_own_list_is_told_once() -> None:
    messages = [
        checks.Warning("of https alone", id="security.W008"),
        checks.Warning("told in our words", id="security.W018"),
        checks.Warning("another", hint="a mend\nof two lines", id="security.W999"),
        checks.Info("no matter", id="x.I001"),
    ]
    facts = Site(config=changed("site", behind_https=False), messages=messages)

    only(site.deploy(facts), YELLOW, "another (security.W999)", "a mend of two lines")
    behind = Site(config=changed("site", behind_https=True), messages=messages)
    assert levels(site.deploy(behind)) == [YELLOW, YELLOW]
    only(site.deploy(Site(config=facts.config, messages=[checks.Error("e", id="x.E1")])), RED, "e (x.E1)")


def connected(*, host: str = "db.example.com", tls: bool = True, **kafka: Any) -> Config:
    """Every server on this host."""
    mode = SslMode.VERIFY_IDENTITY if tls else SslMode.DISABLED
    loaded = changed("database", url=f"mysql://a:b@{host}/c", ssl_mode=mode)
    protocol = kafka.pop("protocol", Protocol.SASL_SSL if tls else Protocol.PLAINTEXT)
    return replace(
        loaded,
        redis=replace(loaded.redis, addresses=((host, 6379),), is_encrypted=tls, password="p"),
        kafka=replace(loaded.kafka, bootstrap_servers=f"{host}:9092,{host}:9093", protocol=protocol, **kafka),
    )


def whats(found: Any) -> list[str]:
    return [finding.what for finding in found]


def test_connections_in_clear_text() -> None:
    assert not list(encryption.findings(connected()))
    away = list(encryption.findings(connected(tls=False)))
    assert levels(away) == [YELLOW] * 3
    assert [each.what.removesuffix(" is in clear text") for each in away] == [
        "the connection to the database",
        "the connection to Redis",
        "the connection to Kafka",
    ]
    only(encryption.findings(connected(host="127.0.0.1", tls=False)), NOTE, "this machine alone")
    forgotten = connected(host="127.0.0.1", protocol=Protocol.PLAINTEXT)
    only(encryption.findings(forgotten), YELLOW, "Kafka is in clear text", "KAFKA_SECURITY_PROTOCOL=SSL")
    socket = replace(forgotten, redis=replace(forgotten.redis, addresses=(), path="/r", is_encrypted=False))
    assert levels(encryption.findings(socket)) == [YELLOW, YELLOW]


def test_servers_that_prove_nothing() -> None:
    right = connected()
    required = replace(right, database=replace(right.database, ssl_mode=SslMode.REQUIRED))
    only(encryption.findings(required), YELLOW, "by whoever answers")
    only(
        encryption.findings(replace(right, database=replace(right.database, ssl_mode=SslMode.VERIFY_CA))),
        NOTE,
    )
    only(encryption.findings(replace(right, redis=replace(right.redis, checks_hostname=False))), NOTE)
    unverified = connected(properties={"enable.ssl.certificate.verification": "false"})
    only(encryption.findings(unverified), RED, "KAFKA_SSL_CA")
    anyhost = connected(properties={"ssl.endpoint.identification.algorithm": "none"})
    only(encryption.findings(anyhost), NOTE)


def test_passwords_in_clear_text() -> None:
    plain = connected(protocol=Protocol.SASL_PLAINTEXT, mechanism=Mechanism.PLAIN)
    assert any(
        "the login (PLAIN) is sent in clear text" in each for each in whats(encryption.findings(plain))
    )
    token = connected(properties={"sasl.oauthbearer.token.endpoint.url": "http://login.example.com/"})
    only(encryption.findings(token), YELLOW, "KAFKA_SASL_OAUTH_TOKEN_URL")
    right = connected()
    open_ = replace(right, redis=replace(right.redis, password=None))
    only(encryption.findings(open_), YELLOW, "no password")


def test_logins_that_are_guessed() -> None:
    right = connected()
    root = replace(right, database=replace(right.database, url="mysql://root:4f7a@db.example.com/c"))
    only(encryption.findings(root), YELLOW, "as root")
    known = "mysql://shop:application@db.example.com/c"
    only(encryption.findings(replace(right, database=replace(right.database, url=known))), YELLOW, "password")
    same = changed("site", secret_key="0123456789abcdef" * 4)
    same = replace(same, identity=replace(same.identity, secret=same.site.secret_key))
    only(site.secrets(Site(config=same)), RED, "is the SECRET_KEY")


def authority(path: Path, *, days: float) -> Path:
    """The certificate of an authority that is believed for so many days more."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return path


def test_certificates_that_expire(tmp_path: Path) -> None:
    def found(path: Path) -> list[Finding]:
        return list(certificates.findings(changed("database", ssl_ca=str(path))))

    assert not found(authority(tmp_path / "right.pem", days=400))
    only(found(authority(tmp_path / "soon.pem", days=5)), YELLOW, "DATABASE_SSL_CA", "expires in 5 days")
    old = authority(tmp_path / "old.pem", days=-3)
    only(found(old), RED, "expired 3 days ago")
    both = tmp_path / "both.pem"
    both.write_bytes(old.read_bytes() + trustme.CA().cert_pem.bytes())
    assert not found(both)
    none = tmp_path / "none.pem"
    none.write_text("no certificate")
    only(found(none), RED, "holds no certificate")


@pytest.mark.parametrize(
    ("changes", "look", "level", "word"),
    [
        ({"logs": Folder(path=Path("/l"), problem="Permission denied")}, machine.logs, RED, "COUPON_LOG_DIR"),
        ({"unwritable": {Path("/l/core/application.log"): "No space left"}}, machine.logs, RED, "No space"),
        ({"logs": Folder(path=Path("/l"), free=1 << 20)}, machine.logs, RED, "is full"),
        ({"logs": Folder(path=Path("/l"), free_files=0)}, machine.logs, RED, "is full"),
        ({"logs": Folder(path=Path("/l"), free=1 << 30, total=4 << 30)}, machine.logs, YELLOW, "grows to"),
        ({"logs": Folder(path=Path("/l"), free=8 << 30, total=1 << 40)}, machine.logs, YELLOW, "nearly full"),
        ({"config": changed("logs", max_bytes=0)}, machine.logs, NOTE, "logrotate"),
        (
            {"metrics": Folder(path=Path("/t"), problem="Read-only file system")},
            machine.metrics,
            RED,
            "TMPDIR",
        ),
        ({"metrics": Folder(path=Path("/t"), free=1 << 20)}, machine.metrics, YELLOW, "TMPDIR"),
        ({"files": 1024}, machine.files, YELLOW, "816 clients"),
        ({"files": 256}, machine.files, RED, "ulimit -Hn"),
        ({"backlog": 128}, machine.backlog, YELLOW, "sysctl -w net.core.somaxconn"),
        ({"cores": 1, "config": changed("api", workers=8)}, machine.cores, YELLOW, "COUPON_API_WORKERS=1"),
    ],
)
def test_a_machine(changes: dict[str, Any], look: Callable[[Any], Any], level: Level, word: str) -> None:
    only(look(preflight_facts.machine(**changes)), level, word)


def test_a_right_machine() -> None:
    for check in machine.SUBJECT.checks:
        assert not list(check.look(preflight_facts.machine())), check.name


def test_this_machine_is_read(tmp_path: Path) -> None:
    full = machine.folder(tmp_path)
    assert not full.problem
    assert 0 < full.free <= full.total
    assert not list(tmp_path.iterdir())
    assert machine.folder(tmp_path / "missing").problem == "No such file or directory"
    facts = machine.read(Expected())
    assert facts.files >= 256
    assert facts.cores >= 1
    assert not facts.unwritable


def test_a_log_on_a_full_disk_is_found(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "consumer").mkdir()
    (tmp_path / "consumer" / "application.log").symlink_to("/dev/full")
    settings.CONFIG = changed("logs", directory=tmp_path)

    only(machine.logs(machine.read(Expected())), RED, "consumer/application.log", "No space left")


def test_a_low_limit_is_this_processs_own() -> None:
    code = "from runtime import open_files; print(open_files.allowed())"
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 300 && exec {sys.executable} -c '{code}'"],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=60,
    )

    assert done.stdout.strip() == "300", done.stderr
