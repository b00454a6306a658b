"""Our own small certificate authority: what it signs, what it refuses, and what stands in what it made. No database."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_YEARS = 15
STATION_DAYS = 365
CLOCKS_DIFFER = timedelta(days=1)  # a certificate is good from a day ago, for stations whose clock is behind
LEAST_RSA_BITS = 2048
OUR_RSA_BITS = 3072
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
LONGEST_REQUEST = 20_000
LONGEST_NAME = 64  # bytes of a common name, RFC 5280 ub-common-name

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Algorithm(StrEnum):
    RSA = "rsa"
    ECDSA = "ecdsa"


class Refused(Exception):
    """A request that is not signed; says why."""


@dataclass(frozen=True)
class Issuer:
    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that may be signed: by which of our authorities, and for whom."""

    algorithm: Algorithm
    common_name: str
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


# ---- the authority --------------------------------------------------------------------------------------------------


def new_issuer(algorithm: Algorithm, organization: str, now: datetime) -> Issuer:
    """A root of its own, for a period longer than any station's life on the street."""
    key: PrivateKey
    if algorithm is Algorithm.RSA:
        key = rsa.generate_private_key(public_exponent=65537, key_size=OUR_RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    name = _name(organization, f"{organization[:40]} stations ({algorithm.value.upper()})")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate, key)


def key_to_pem(key: PrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def issuer_from_pem(certificate: str, key: str) -> Issuer:
    private = serialization.load_pem_private_key(key.encode(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return Issuer(x509.load_pem_x509_certificate(certificate.encode()), private)


# ---- what it signs --------------------------------------------------------------------------------------------------


def examine(csr: str, *, names: tuple[str, ...], organization: str | None) -> Request:
    """What a station asks for (whitepaper A00.FR.5xx): its common name must be one of `names`, its organization
    `organization` where one is given. Raises Refused."""
    try:
        if len(csr) > LONGEST_REQUEST:
            raise ValueError("too long")
        request = x509.load_pem_x509_csr(csr.strip().encode("ascii"))
        signed, key = request.is_signature_valid, request.public_key()
        subject = request.subject
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("it is no certificate request in PEM that can be read") from error
    if not signed:
        raise Refused("its signature is wrong: whoever asks does not hold the key")
    common = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(common) != 1 or common[0] not in names:
        raise Refused(f"its common name {common} is neither the station's identity nor its serial number"[:300])
    if len(common[0].encode()) > LONGEST_NAME:
        raise Refused(f"its common name is longer than {LONGEST_NAME} bytes")
    told = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if organization is not None and told != [organization]:
        raise Refused(f"its organization {told} is not {organization}"[:300])
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise Refused(f"its RSA key has {key.key_size} bits, fewer than {LEAST_RSA_BITS}")
        return Request(algorithm=Algorithm.RSA, common_name=common[0], public_key=key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, CURVES):
            raise Refused(f"its curve {key.curve.name} is none of P-256, P-384, P-521")
        return Request(algorithm=Algorithm.ECDSA, common_name=common[0], public_key=key)
    raise Refused("its key is neither RSA nor ECDSA")


def sign(request: Request, issuer: Issuer, *, station_id: str, organization: str, now: datetime) -> x509.Certificate:
    """A certificate for TLS clients and nothing else, good for a year. Its alternative name is the identity, whichever of
    its names the station asked for."""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(organization, request.common_name))
        .issuer_name(issuer.certificate.subject)
        .public_key(request.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(min(now + timedelta(days=STATION_DAYS), issuer.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(enciphers=request.algorithm is Algorithm.RSA), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(station_id)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    return certificate.sign(issuer.key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _alternative(station_id: str) -> x509.GeneralName:
    if _HOST_NAME.fullmatch(station_id):
        return x509.DNSName(station_id)
    return x509.UniformResourceIdentifier(f"urn:station:{quote(station_id, safe='')}")


def _key_usage(*, signs_certificates: bool = False, enciphers: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=enciphers,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
