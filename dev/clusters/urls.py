"""The variables that lead to these servers."""

from __future__ import annotations

from collections.abc import Sequence

from dev.clusters import kafka
from dev.clusters.certificates import Certificates
from dev.clusters.redis import PASSWORD, SERVICE, USER, Server
from dev.processes import LOOPBACK

_LOGIN = f"{USER}:{PASSWORD}@"


def of_kafka(address: str, certificates: Certificates, mechanism: str, **changes: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": address,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": mechanism,
        "KAFKA_SASL_USERNAME": kafka.USER,
        "KAFKA_SASL_PASSWORD": kafka.PASSWORD,
        "KAFKA_SSL_CA": str(certificates.ca),
        **changes,
    }


def of_server(server: Server, *, login: str = _LOGIN) -> dict[str, str]:
    return _with_ca(f"rediss://{login}{LOOPBACK}:{server.port}/0", server.certificates)


def of_cluster(nodes: Sequence[Server], *, login: str = _LOGIN) -> dict[str, str]:
    addresses = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes)
    return _with_ca(f"rediss+cluster://{login}{addresses}", nodes[0].certificates)


def of_sentinel(port: int, certificates: Certificates, *, service: str = SERVICE) -> dict[str, str]:
    return _with_ca(f"rediss+sentinel://{_LOGIN}{LOOPBACK}:{port}/{service}", certificates)


def of_database(url: str, certificates: Certificates, **changes: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DATABASE_SSL_CA": str(certificates.ca), **changes}


def _with_ca(url: str, certificates: Certificates) -> dict[str, str]:
    return {"REDIS_URL": url, "REDIS_SSL_CA": str(certificates.ca)}
