"""Every way to log in to Kafka, with every kind of client that the product has."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dev.clusters import urls
from dev.clusters.certificates import KEY_PASSWORD, Certificates
from tests.connections import tokens
from tests.connections.test_mistakes import ask


def answer(environment: Mapping[str, str]) -> str:
    """What is said of Kafka."""
    done = ask(environment)
    return next(line for line in done.stdout.splitlines() if line.startswith("kafka: "))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password(brokers: Mapping[str, str], certificates: Certificates, mechanism: str) -> None:
    told = answer(urls.of_kafka(brokers["login"], certificates, mechanism))

    assert told == "kafka: UP, brokers [7], protocol SASL_SSL, encrypted True"


def test_a_certificate_of_our_own(brokers: Mapping[str, str], certificates: Certificates) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": brokers["certificate"],
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA": str(certificates.ca),
    }
    own = {
        "KAFKA_SSL_CERTIFICATE": str(certificates.client),
        "KAFKA_SSL_KEY": str(certificates.locked_client_key),
        "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD,
    }

    assert answer(environment | own) == "kafka: UP, brokers [7], protocol SSL, encrypted True"
    assert answer(environment).startswith("kafka: DOWN")
    wrong = ask(environment | own | {"KAFKA_SSL_KEY_PASSWORD": "wrong"}, "--refuse-only")
    assert wrong.returncode == 1
    assert "ssl.key.location failed" in wrong.stderr


def test_tokens(brokers: Mapping[str, str], certificates: Certificates) -> None:
    with tokens.endpoint(certificates) as url:
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": brokers["login"],
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SSL_CA": str(certificates.ca),
            "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "KAFKA_SASL_OAUTH_TOKEN_URL": url,
            "KAFKA_SASL_OAUTH_CLIENT_ID": tokens.CLIENT,
            "KAFKA_SASL_OAUTH_CLIENT_SECRET": tokens.SECRET,
            "KAFKA_CLIENT_CONFIG": f"https.ca.location={certificates.ca}",
        }
        assert answer(environment) == "kafka: UP, brokers [7], protocol SASL_SSL, encrypted True"

        refused = answer({**environment, "KAFKA_SASL_OAUTH_CLIENT_SECRET": "geheim"})
        assert "Failed to acquire SASL OAUTHBEARER token" in refused
        assert "geheim" not in refused
        untrusted = answer({**environment, "KAFKA_CLIENT_CONFIG": ""})
        assert "unable to get local issuer certificate" in untrusted
