"""Each mistake in a connection is told: at the start where no waiting mends it, else in health and log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dev.clusters import urls
from dev.clusters.certificates import Certificates
from dev.clusters.redis import Server
from dev.processes import PROJECT


def ask(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """What the system says of its connections, which are the tests' own but for these."""
    return subprocess.run(
        [sys.executable, "manage.py", "check_connections", *words],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(environment: Mapping[str, str]) -> str:
    done = ask(environment, "--refuse-only")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


def line_of(name: str, environment: Mapping[str, str]) -> str:
    done = ask(environment)
    assert done.returncode == 3, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith(f"{name}: DOWN"))


def test_a_sentinel_or_a_node_of_a_cluster_under_a_plain_url(
    redis_nodes: Sequence[Server],
    redis_with_sentinel: tuple[Server, Server, int],
    redis_server: Server,
    certificates: Certificates,
) -> None:
    *_, port = redis_with_sentinel
    plain, sentinel = urls.of_server(redis_server), urls.of_sentinel(port, certificates)
    to_sentinel = {**plain, "REDIS_URL": plain["REDIS_URL"].replace(str(redis_server.port), str(port))}
    to_plain = {**plain, "REDIS_URL": sentinel["REDIS_URL"].replace(str(port), str(redis_server.port))}

    assert "a Sentinel answers: write redis+sentinel://" in refusal(to_sentinel)
    assert "a node of a cluster answers: write redis+cluster://" in refusal(urls.of_server(redis_nodes[0]))
    assert "a single server answers: write redis://" in refusal(urls.of_cluster([redis_server]))
    assert "a single server answers" in refusal(to_plain)
    unknown = refusal(urls.of_sentinel(port, certificates, service="another"))
    assert "the master another, and the Sentinels know: the-master" in unknown


def test_redis_refuses_us(redis_server: Server, redis_nodes: Sequence[Server]) -> None:
    plain = urls.of_server(redis_server)
    password, authority = "REDIS_URL needs another user or password", "REDIS_SSL_CA must have signed"
    other_ca = {"REDIS_SSL_CA": str(redis_server.certificates.other_ca)}

    assert password in line_of("redis", urls.of_server(redis_server, login="coupon:wrong@"))
    assert password in line_of("redis", urls.of_cluster(redis_nodes, login="coupon:wrong@"))
    assert authority in line_of("redis", {**plain, **other_ca})
    assert authority in line_of("redis", {**urls.of_cluster(redis_nodes), **other_ca})
    redis_server.client().execute_command("ACL SETUSER few on >few ~* +@connection")
    assert "rights" in line_of("redis", urls.of_server(redis_server, login="few:few@"))


def test_sentinels_that_refuse_us_say_why(
    redis_with_sentinel: tuple[Server, Server, int], certificates: Certificates
) -> None:
    *_, port = redis_with_sentinel
    environment = urls.of_sentinel(port, certificates)

    other_ca = {**environment, "REDIS_SSL_CA": str(certificates.other_ca)}
    assert "REDIS_SSL_CA must have signed" in line_of("redis", other_ca)
    wrong = {**environment, "REDIS_URL": environment["REDIS_URL"].replace("of-the-gate", "wrong")}
    assert "REDIS_URL needs another user or password" in line_of("redis", wrong)


@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
def test_a_database_without_tls_where_tls_is_required(
    database_without_tls: str, certificates: Certificates, mode: str
) -> None:
    ca = {} if mode == "REQUIRED" else {"DATABASE_SSL_CA": str(certificates.ca)}

    line = refusal({"DATABASE_URL": database_without_tls, "DATABASE_SSL_MODE": mode, **ca})

    assert "it refuses the connection" in line


def test_a_database_of_another_authority_or_name(database_with_tls: str, certificates: Certificates) -> None:
    environment = urls.of_database(database_with_tls, certificates)
    other_ca = {**environment, "DATABASE_SSL_CA": str(certificates.other_ca)}

    for mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
        assert "DATABASE_SSL_CA" in refusal({**other_ca, "DATABASE_SSL_MODE": mode})
    password = {**environment, "DATABASE_URL": database_with_tls.replace(":application@", ":geheim@")}
    assert "the right user and password" in refusal(password)
    assert "geheim" not in refusal(password)


def test_localhost_is_tcp(database_with_tls: str, certificates: Certificates) -> None:
    """No socket is where the client library would look for it."""
    url = database_with_tls.replace("127.0.0.1", "localhost")
    done = ask(urls.of_database(url, certificates))

    assert "it is not migrated" in done.stderr + done.stdout or done.stdout.startswith("db: UP")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"KAFKA_SASL_PASSWORD": "wrong"}, "SASL authentication error"),
        ({"KAFKA_SSL_CA": "other"}, "certificate verify failed"),
    ],
)
def test_kafka_refuses_us(
    brokers: Mapping[str, str], certificates: Certificates, changes: dict[str, str], cause: str
) -> None:
    other = {name: str(certificates.other_ca) for name, value in changes.items() if value == "other"}
    line = line_of("kafka", urls.of_kafka(brokers["login"], certificates, "SCRAM-SHA-256", **changes | other))

    assert cause in line
    assert "127.0.0.1" not in line


def test_kafkas_client_takes_no_nonsense(tmp_path: Path) -> None:
    no_pem = tmp_path / "ca.pem"
    no_pem.write_text("no certificate")

    assert 'No such configuration property: "nonsense"' in refusal({"KAFKA_CLIENT_CONFIG": "nonsense=1"})
    tls = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA": str(no_pem)}
    assert "ssl.ca.location failed" in refusal(tls)
