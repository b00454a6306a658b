"""Authorities, certificates and requests as somebody else would make them, for chargers and for the gateway's own name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def files(self, folder: Path) -> tuple[Path, Path]:
        name = format(self.certificate.serial_number, "x")
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_text(self.pem)
        key.write_bytes(key_pem(self.key))
        return cert, key


def key_pem(key: Any) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def new_key(algorithm: str = "ecdsa", size: int = 2048) -> Any:
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ecdsa" else rsa.generate_private_key(65537, size)


def named(common_name: str, organization: str | None = None) -> x509.Name:
    found = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        found.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(found)


def issue(
    common_name: str,
    by: Identity | None = None,
    *,
    authority: bool = False,
    days: tuple[float, float] = (-1, 1),
    names: Sequence[x509.GeneralName] = (),
) -> Identity:
    """Valid in the `days` from now; signed by itself when `by` nobody."""
    key, now = new_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(common_name))
        .issuer_name(named(common_name) if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Identity(builder.sign(key if by is None else by.key, hashes.SHA256()), key)


def gateway() -> Identity:
    return issue("gateway", authority=True, names=[x509.IPAddress(ip_address("127.0.0.1"))])


def request(common_name: str, key: Any, organization: str | None = None) -> str:
    """A PKCS #10 request in PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(named(common_name, organization))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
