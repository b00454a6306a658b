"""A client certificate counts when an authority we believe vouches for it, its time is now, and it names the station."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

Certificate = x509.Certificate


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """A certificate that an authority vouches for: its SHA-256 fingerprint in hex, and whom it names."""

    fingerprint: str
    names: Set[str]


CLIENTS = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
LONGEST_HEADER = 32_000

_ENVOY_PAIR = re.compile(r'(\w+)=("(?:\\.|[^"\\])*"|[^;,]*)')  # what is quoted is passed over whole


class Authorities:
    """Who vouches for stations; may grow while we serve."""

    def __init__(self) -> None:
        self._roots: list[Certificate] = []
        self._ours: set[x509.Name] = set()
        self._store: Store | None = None

    def add(self, root: Certificate, *, ours: bool = False) -> None:
        """`ours`: it signs what stations ask for, so that only the names count which it has chosen itself."""
        if root not in self._roots:
            self._roots.append(root)
            self._store = Store(self._roots)
        if ours:
            self._ours.add(root.subject)

    def vouched(self, certificate: Certificate) -> Vouched:
        """Of a certificate that was verified."""
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        chosen = alternative_names(certificate)
        if certificate.issuer in self._ours:
            return Vouched(fingerprint=fingerprint, names=chosen)
        return Vouched(fingerprint=fingerprint, names=chosen | common_names(certificate))

    def doubt(self, chain: Sequence[Certificate], now: datetime) -> str | None:
        """What is wrong with a chain that somebody else has received (RFC 5280, 6); None when nothing is."""
        expired = out_of_time(chain[0], now)
        if expired is not None:
            return expired
        if self._store is None:
            return "no authority for client certificates is known here"
        policies = PolicyBuilder().store(self._store).time(now).extension_policies(ca_policy=_CA, ee_policy=_STATION)
        try:
            policies.build_client_verifier().verify(chain[0], list(chain[1:]))
        except VerificationError:
            return "no authority known here vouches for the client certificate"
        return None


def forwarded(header: str) -> Sequence[Certificate]:
    """What a proxy received, the station's own first: PEM percent-encoded as nginx and ALB have it, or an element of Envoy's
    X-Forwarded-Client-Cert, of which the last counts. Raises ValueError."""
    if len(header) > LONGEST_HEADER:
        raise ValueError("too long")
    envoy = [value.strip('"') for key, value in _ENVOY_PAIR.findall(header) if key.casefold() == "cert"]
    pem = unquote(envoy[-1] if envoy else header)
    return x509.load_pem_x509_certificates(pem.encode("ascii"))


def from_tls(der: bytes) -> Certificate:
    """What TLS has received and verified."""
    return x509.load_der_x509_certificate(der)


def out_of_time(certificate: Certificate, now: datetime) -> str | None:
    if now > certificate.not_valid_after_utc:
        return f"the client certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}Z"
    if now < certificate.not_valid_before_utc:
        return f"the client certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z"
    return None


def common_names(certificate: Certificate) -> set[str]:
    return {str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}


def alternative_names(certificate: Certificate) -> set[str]:
    """Host names, and the last word of resources such as urn:station:CP1."""
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    hosts, resources = (
        others.get_values_for_type(x509.DNSName),
        others.get_values_for_type(x509.UniformResourceIdentifier),
    )
    return set(hosts) | {unquote(resource.rpartition(":")[2]) for resource in resources}


def _is_authority(_: Policy, __: Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("not an authority")


def _is_for_clients(_: Policy, __: Certificate, usage: Any) -> None:
    if usage is not None and CLIENTS.isdisjoint(usage):
        raise ValueError("not for clients")


# Authorities are the operator's choice and often made by hand, so less is asked of their form than in the web's PKI.
_ANY = Criticality.AGNOSTIC
_CA = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, _ANY, _is_authority)
_STATION = ExtensionPolicy.permit_all().may_be_present(x509.ExtendedKeyUsage, _ANY, _is_for_clients)
