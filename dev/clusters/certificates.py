"""A certificate authority for one run, and another one that nobody trusts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY_PASSWORD = "of-the-key"
_SERVER = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Paths of PEM files. ``server`` is for 127.0.0.1 and localhost; ``other_ca`` signed nothing."""

    ca: Path
    other_ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    locked_client_key: Path  #: needs KEY_PASSWORD
    authority: trustme.CA = field(repr=False)

    @property
    def server_with_key(self) -> str:
        """As Kafka wants it."""
        return self.server_key.read_text() + self.server.read_text()

    def renewed(self) -> str:
        """Another certificate of the server, with its key, as Kafka wants it."""
        return _with_key(self.authority.issue_cert(*_SERVER))

    def expired(self) -> str:
        """The same, of yesterday."""
        now = datetime.now(UTC)
        since, until = now - timedelta(days=2), now - timedelta(days=1)
        return _with_key(self.authority.issue_cert(*_SERVER, not_before=since, not_after=until))


def make(folder: Path) -> Certificates:
    folder.mkdir()
    authority = trustme.CA()
    made = Certificates(
        ca=folder / "ca.pem",
        other_ca=folder / "other-ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
        locked_client_key=folder / "client-locked.key",
        authority=authority,
    )
    made.ca.write_bytes(authority.cert_pem.bytes())
    made.other_ca.write_bytes(trustme.CA().cert_pem.bytes())
    server = authority.issue_cert(*_SERVER)
    client = authority.issue_cert("client.test", common_name="client")
    for leaf, certificate, key in (
        (server, made.server, made.server_key),
        (client, made.client, made.client_key),
    ):
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(_pkcs8(leaf.private_key_pem.bytes()))
    made.locked_client_key.write_bytes(_pkcs8(client.private_key_pem.bytes(), password=KEY_PASSWORD))
    return made


def _with_key(leaf: trustme.LeafCert) -> str:
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return (_pkcs8(leaf.private_key_pem.bytes()) + chain).decode()


def _pkcs8(key: bytes, *, password: str = "") -> bytes:
    """The one form of a key that Kafka reads."""
    lock = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
