"""From the claim to the coupon, over connections that are encrypted and ask for a login."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dev.clusters import database, urls
from dev.clusters.certificates import Certificates
from dev.clusters.redis import Server
from dev.processes import READINESS
from dev.services.stack import Stack
from tests.system import System, ask, eventually

STOCK = 100  #: of each coupon that `seed` makes


@contextmanager
def system(environment: Mapping[str, str], *, coupons: int = 1) -> Iterator[System]:
    """API and consumer on these servers, with new coupons."""
    made = System(topic=f"events-{uuid.uuid4().hex[:12]}", env=environment)
    rows = ["seed", "--users", str(STOCK + 10), "--coupons", str(coupons)]
    for words in (["migrate", "-v0"], ["flush", "--no-input"], ["create_topics"], rows):
        done = made.manage(*words)
        assert done.returncode == 0, done.stderr
    try:
        with made:
            yield made
    finally:
        made.manage("flush", "--no-input")


def components(port: int) -> dict[str, Any]:
    body: dict[str, Any] = ask(port, "GET", "/actuator/health").body
    return {
        name: {"status": each["status"], **each.get("details", {})}
        for name, each in body["components"].items()
    }


#: Counted, and nobody is refused.
WIDE_LIMITS = {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "1000000", "COUPON_LIMIT_ADDRESS_BURST": "100000"}


def issued(running: System, coupon_id: int) -> int:
    answers = running.claim_all(coupon_id, range(1, STOCK + 11))
    accepted = [answer.body["requestId"] for answer in answers.values() if answer.status == 202]
    return sum(each["status"] == "ISSUED" for each in running.wait_decided(accepted))


def test_tls_everywhere_and_redis_as_a_cluster(
    brokers: Mapping[str, str],
    redis_nodes: Sequence[Server],
    database_with_tls: str,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "password"
    kafka = urls.of_kafka(brokers["login"], certificates, "SCRAM-SHA-512")
    secret.write_text(kafka.pop("KAFKA_SASL_PASSWORD") + "\n")
    environment = {
        **kafka,
        "KAFKA_SASL_PASSWORD_FILE": str(secret),
        **urls.of_cluster(redis_nodes[:2]),
        **urls.of_database(database_with_tls, certificates),
        "DATABASE_REPLICA_URL": database_with_tls,
        **WIDE_LIMITS,
    }
    with system(environment, coupons=5) as running:
        assert [issued(running, coupon_id) for coupon_id in range(1, 6)] == [STOCK] * 5
        assert len(running.get("/api/coupons/users/1").body["userCoupons"]) == 5
        assert '"address";r=' in running.get("/api/coupons/1").headers["RateLimit"]
        clean = running.manage("verify", "--from-topic")
        assert clean.returncode == 0, clean.stdout
        assert running.manage("reconcile").returncode == 0
        for process in (running.api, *running.consumers):
            told = components(process.port)
            assert {each["status"] for each in told.values()} == {"UP"}, told
            assert all(told[name]["encrypted"] for name in ("db", "replica", "redis", "kafka"))
            assert told["kafka"]["brokers"] == [7]
            assert (told["redis"]["mode"], told["redis"]["masters"]) == ("cluster", 3)
            assert told["db"]["readOnly"] is False
            assert told["db"]["version"]
        for role in ("core", "consumer"):
            log = running.log_text(role)
            assert not any(word in log for word in ("Redis", "redis", "of-the-", "ERROR")), log


def test_a_redis_that_sentinels_name(
    redis_with_sentinel: tuple[Server, Server, int], certificates: Certificates
) -> None:
    """Its master is killed in the middle: the claims go on, and Redis is there again with the new master."""
    master, _, port = redis_with_sentinel
    with system(urls.of_sentinel(port, certificates), coupons=3) as running:
        assert issued(running, 1) == STOCK
        told = components(running.api.port)["redis"]
        assert (told["mode"], told["role"], told["encrypted"]) == ("sentinel", "master", True)

        master.process.signal(signal.SIGKILL)
        assert issued(running, 2) == STOCK
        for process in (running.api, *running.consumers):
            eventually(lambda port=process.port: components(port)["redis"]["status"] == "UP", within_s=30)  # type: ignore[misc]
        assert issued(running, 3) == STOCK


def test_one_server_with_an_acl_user_and_a_replica(
    redis_server: Server,
    brokers: Mapping[str, str],
    certificates: Certificates,
    own_stack: Stack,
    tmp_path: Path,
) -> None:
    """A replica that has not heard of anything yet shows who is asked."""
    kafka = urls.of_kafka(brokers["login"], certificates, "PLAIN")
    environment = {**kafka, **urls.of_server(redis_server), **WIDE_LIMITS}
    with ExitStack() as replica_runs:
        replica = database.database(tmp_path / "replica", like=own_stack, certificates=None)
        url = replica_runs.enter_context(replica)
        with system({**environment, "DATABASE_REPLICA_URL": url}) as running:
            made = System(topic=f"{running.topic}-replica", env={"DATABASE_URL": url})
            assert made.manage("migrate", "-v0").returncode == 0
            assert issued(running, 1) == STOCK
            winner = next(n for n in range(1, STOCK + 11) if running.claim(1, n).code == "ALREADY_REQUESTED")
            coupons = f"/api/coupons/users/{winner}"

            assert running.get(coupons).body == {"userCoupons": []}
            assert '"address";r=' in running.get(coupons).headers["RateLimit"]
            told = components(running.api.port)
            assert (told["replica"]["status"], told["redis"]["role"]) == ("UP", "master")
            replica_runs.close()
            assert len(running.get(coupons).body["userCoupons"]) == 1
            assert components(running.api.port)["replica"]["status"] == "DOWN"
            assert ask(running.api.port, "GET", READINESS).status == 200
            assert not any(word in running.log_text("core") for word in ("of Redis", "NOPERM"))


def test_a_wrong_password_of_redis_is_told_and_nothing_breaks(redis_server: Server) -> None:
    with system(urls.of_server(redis_server, login="coupon:geheim@")) as running:
        assert issued(running, 1) == STOCK
        told = components(running.api.port)["redis"]
        assert told["error"] == "AuthenticationError"
        assert told["mend"] == "REDIS_URL needs another user or password"
        log = running.log_text("core")
        assert 1 <= log.count("AuthenticationError of Redis") <= 2  # one a minute for each worker
        assert "geheim" not in log + running.log_text("consumer")
