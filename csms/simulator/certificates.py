"""The keys and certificates of a simulated charger: whom it believes, and what it is itself certified to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint

CENTRAL, MANUFACTURER = "CentralSystemRootCertificate", "ManufacturerRootCertificate"
ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}


@dataclass
class Certificates:
    """`chain` is the charger's own certificate with its issuers behind it, PEM; None until a CSMS sent one."""

    installed: dict[str, list[x509.Certificate]] = field(default_factory=lambda: {CENTRAL: [], MANUFACTURER: []})
    chain: str | None = None
    _pending: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)

    def request(self, *, name: str, organization: str) -> str:
        """A PKCS #10 request for a new key, PEM. The key counts once its certificate came."""
        self._pending = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64]))
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
        return csr.sign(self._pending, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def take(self, chain: str) -> bool:
        """False when the certificate is not of the key that was requested."""
        try:
            own = x509.load_pem_x509_certificates(chain.encode())[0]
        except ValueError:
            return False
        if self._pending is None or _key_of(own) != _public(self._pending.public_key()):
            return False
        self.chain, self._pending = chain, None
        return True

    def believes_manufacturer(self, pem: str) -> bool:
        """Any readable certificate until a root of the manufacturer's is installed, then those that one of them issued."""
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            return False
        roots = self.installed[MANUFACTURER]
        return not roots or any(_is_issued_by(certificate, root) for root in roots)


def install_certificate(charge_point: ChargePoint, payload: Payload) -> Handled:
    try:
        certificate = x509.load_pem_x509_certificate(payload["certificate"].encode())
    except ValueError:
        return status("Rejected")
    installed = charge_point.certificates.installed
    most = charge_point.configuration.count("CertificateStoreMaxLength")
    if certificate not in installed[payload["certificateType"]]:
        if sum(map(len, installed.values())) >= most:
            return status("Rejected")
        installed[payload["certificateType"]].append(certificate)
    return status("Accepted")


def get_installed_certificate_ids(charge_point: ChargePoint, payload: Payload) -> Handled:
    found = charge_point.certificates.installed[payload["certificateType"]]
    if not found:
        return status("NotFound")
    return Handled(result={"status": "Accepted", "certificateHashData": [hash_data(one) for one in found]})


def delete_certificate(charge_point: ChargePoint, payload: Payload) -> Handled:
    meant = payload["certificateHashData"]
    for found in charge_point.certificates.installed.values():
        for certificate in found:
            if _spelled_alike(hash_data(certificate, meant["hashAlgorithm"])) == _spelled_alike(meant):
                found.remove(certificate)
                return status("Accepted")
    return status("NotFound")


def certificate_signed(charge_point: ChargePoint, payload: Payload) -> Handled:
    if charge_point.certificates.take(payload["certificateChain"]):
        return status("Accepted")
    return status("Rejected", partial(charge_point.security_event, "InvalidChargePointCertificate"))


def hash_data(certificate: x509.Certificate, algorithm: str = "SHA256") -> Payload:
    """As OCSP (RFC 6960) names a certificate; a root is its own issuer."""
    name = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, ALGORITHMS[algorithm]).build()
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": name.issuer_name_hash.hex(),
        "issuerKeyHash": name.issuer_key_hash.hex(),
        "serialNumber": f"{certificate.serial_number:x}",
    }


def is_signed(content: bytes, signature: bytes, pem: str) -> bool:
    """By the certificate's key: ECDSA, RSA-PSS or PKCS #1 v1.5, over SHA-256."""
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
            return True
    except InvalidSignature:
        return False
    paddings = (padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), padding.PKCS1v15())
    return isinstance(key, rsa.RSAPublicKey) and any(_fits(key, signature, content, one) for one in paddings)


def _fits(key: rsa.RSAPublicKey, signature: bytes, content: bytes, kind: padding.AsymmetricPadding) -> bool:
    try:
        key.verify(signature, content, kind, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _spelled_alike(meant: Payload) -> Payload:
    return {name: value.casefold().lstrip("0") for name, value in meant.items()}


def _key_of(certificate: x509.Certificate) -> bytes:
    return _public(certificate.public_key())


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
