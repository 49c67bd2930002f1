"""Redis with TLS and a user of few rights: alone, behind a Sentinel with a replica, and as a cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from dev.clusters.certificates import Certificates
from dev.processes import LOOPBACK, Process, free_port
from dev.services import programs
from dev.services.redis import PROGRAMS
from tests.system import eventually

USER, PASSWORD = "coupon", "of-the-gate"
SERVICE = "the-master"
SLOTS = 16384
ADMIN = "of-the-operator"
#: The rights that docs/connections.md names.
RIGHTS = (
    "~{coupon* ~coupon-* ~lock:{coupon* ~lock-signal:{coupon* "
    "+@read +@write +@scripting +@connection +@transaction +time -@dangerous "
    "+info +cluster|slots +cluster|info"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    port: int
    process: Process
    certificates: Certificates

    def client(self) -> redis.Redis:
        """Of the operator."""
        return redis.Redis(
            port=self.port, password=ADMIN, ssl=True, ssl_ca_certs=str(self.certificates.ca), socket_timeout=5
        )


@contextmanager
def server(folder: Path, certificates: Certificates, *options: str) -> Iterator[Server]:
    """A Redis that takes TLS alone; ``options`` are more of its own."""
    folder.mkdir()
    port = free_port(in_a_row=2)
    (folder / "users.acl").write_text(
        f"user default on >{ADMIN} ~* &* +@all\nuser {USER} on >{PASSWORD} {RIGHTS}\n"
    )
    words = [
        *("--port", "0", "--tls-port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(folder)),
        *("--tls-cert-file", str(certificates.server), "--tls-key-file", str(certificates.server_key)),
        *("--tls-ca-cert-file", str(certificates.ca), "--tls-auth-clients", "optional"),
        *("--aclfile", str(folder / "users.acl"), "--repl-diskless-sync-delay", "0"),
        *("--cluster-port", str(port + 1)),
    ]
    with _running(folder, [*words, *options]) as process:
        started = Server(port=port, process=process, certificates=certificates)
        process.wait_ready(lambda: _answers(started.client()))
        yield started


@contextmanager
def replicated(folder: Path, certificates: Certificates) -> Iterator[tuple[Server, Server, int]]:
    """A master, its replica, and the port of the Sentinel that watches them."""
    folder.mkdir()
    following = ["--tls-replication", "yes", "--masterauth", ADMIN]
    with ExitStack() as running:
        master = running.enter_context(server(folder / "master", certificates, *following))
        follow = ["--replicaof", f"{LOOPBACK} {master.port}"]
        replica = running.enter_context(server(folder / "replica", certificates, *following, *follow))
        eventually(lambda: follows(replica))
        port = running.enter_context(_sentinel(folder / "sentinel", certificates, master))
        yield master, replica, port


@contextmanager
def _sentinel(folder: Path, certificates: Certificates, master: Server) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    (folder / "sentinel.conf").write_text(
        f"port 0\ntls-port {port}\nbind {LOOPBACK}\ndir {folder}\ntls-replication yes\n"
        f"tls-cert-file {certificates.server}\ntls-key-file {certificates.server_key}\n"
        f"tls-ca-cert-file {certificates.ca}\ntls-auth-clients optional\n"
        f"sentinel monitor {SERVICE} {LOOPBACK} {master.port} 1\nsentinel auth-pass {SERVICE} {ADMIN}\n"
        f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 3000\n"
    )
    asked = redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificates.ca), socket_timeout=5)
    with _running(folder, [str(folder / "sentinel.conf"), "--sentinel"]) as process:
        process.wait_ready(lambda: _answers(asked))
        eventually(lambda: len(asked.sentinel_slaves(SERVICE)) == 1)
        yield port


@contextmanager
def cluster(
    folder: Path, certificates: Certificates, *, with_replicas: bool = False
) -> Iterator[Sequence[Server]]:
    """Three masters that share the slots, then the replica of each, if there are any."""
    folder.mkdir()
    options = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-node-timeout", "2000"]
    with ExitStack() as running:
        options += [
            "--tls-replication",
            "yes",
            "--masterauth",
            ADMIN,
            "--cluster-replica-validity-factor",
            "0",
        ]
        nodes = [
            running.enter_context(server(folder / str(number), certificates, *options))
            for number in range(6 if with_replicas else 3)
        ]
        masters, replicas = nodes[:3], nodes[3:]
        bounds = [SLOTS * number // 3 for number in range(4)]
        for node, first, beyond in zip(masters, bounds, bounds[1:], strict=False):
            node.client().execute_command("CLUSTER ADDSLOTSRANGE", first, beyond - 1)
        for node in nodes[1:]:
            nodes[0].client().execute_command("CLUSTER MEET", LOOPBACK, node.port, node.port + 1)
        eventually(lambda: all(_state(node, of=len(nodes)) == "ok" for node in nodes))
        for master, replica in zip(masters, replicas, strict=False):
            replica.client().execute_command("CLUSTER REPLICATE", master.client().cluster("MYID"))
        eventually(lambda: all(map(follows, replicas)))
        yield nodes


def _state(node: Server, *, of: int) -> str:
    told: Any = node.client().execute_command("CLUSTER INFO")
    return str(told["cluster_state"]) if int(told["cluster_known_nodes"]) == of else "alone"


def follows(replica: Server) -> bool:
    """Whether it is a replica that has all that its master has."""
    try:
        return bool(replica.client().info("replication").get("master_link_status") == "up")
    except redis.RedisError:
        return False


@contextmanager
def _running(folder: Path, words: list[str]) -> Iterator[Process]:
    program = programs.require(PROGRAMS, packages=PROGRAMS)
    process = Process(
        name="redis",
        command=[str(program), *words],
        log=folder / "log",
        env=programs.inherited_environment(),
        folder=folder,
        dies_by=signal.SIGKILL,
    ).start()
    try:
        yield process
    finally:
        process.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
