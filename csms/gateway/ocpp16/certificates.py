"""Certificates on a charger, in the words of OCPP 1.6's security extension (Improved security for OCPP 1.6-J, A02 to M05)."""

import msgspec

from csms.commands import (
    CertificateHash,
    CertificatesAnswer,
    CertificateUse,
    DeleteCertificate,
    GetInstalledCertificates,
    HashAlgorithm,
    InstallCertificate,
    Outcome,
    SendCertificate,
)
from csms.gateway.frames import Json
from csms.gateway.ocpp16.outcomes import CERTIFICATES_LISTED, status_of
from csms.gateway.ocpp16.salvage import text

USE = {
    CertificateUse.CENTRAL_SYSTEM_ROOT: "CentralSystemRootCertificate",
    CertificateUse.MANUFACTURER_ROOT: "ManufacturerRootCertificate",
}
ALGORITHM = {HashAlgorithm.SHA256: "SHA256", HashAlgorithm.SHA384: "SHA384", HashAlgorithm.SHA512: "SHA512"}
_ALGORITHM_IN_ANY_CASE = {word.casefold(): algorithm for algorithm, word in ALGORITHM.items()}


def send_certificate(command: SendCertificate) -> dict[str, Json]:
    return {"certificateChain": command.chain}


def install_certificate(command: InstallCertificate) -> dict[str, Json]:
    return {"certificateType": USE[command.use], "certificate": command.certificate}


def delete_certificate(command: DeleteCertificate) -> dict[str, Json]:
    meant = command.certificate
    return {
        "certificateHashData": {
            "hashAlgorithm": ALGORITHM[meant.algorithm],
            "issuerNameHash": meant.issuer_name_hash,
            "issuerKeyHash": meant.issuer_key_hash,
            "serialNumber": meant.serial_number,
        }
    }


def get_installed_certificates(command: GetInstalledCertificates) -> dict[str, Json]:
    return {"certificateType": USE[command.use]}


def installed_certificates(payload: Json) -> CertificatesAnswer:
    """What cannot be read as a certificate's hashes is left out."""
    answer = status_of(payload, CERTIFICATES_LISTED, CertificatesAnswer)
    if answer.outcome is not Outcome.ACCEPTED:
        return answer
    rows = payload.get("certificateHashData")
    rows = [rows] if isinstance(rows, dict) else rows
    read = [_hash_from(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return msgspec.structs.replace(answer, certificates=tuple(found for found in read if found is not None))


def _hash_from(payload: dict[str, Json]) -> CertificateHash | None:
    algorithm = _ALGORITHM_IN_ANY_CASE.get((text(payload.get("hashAlgorithm")) or "").casefold().replace("-", ""))
    name, key = text(payload.get("issuerNameHash")), text(payload.get("issuerKeyHash"))
    serial = text(payload.get("serialNumber"))
    if algorithm is None or name is None or key is None or serial is None:
        return None
    return CertificateHash(algorithm=algorithm, issuer_name_hash=name, issuer_key_hash=key, serial_number=serial)
