"""What a charger's answer to a command means: each status word of OCPP 1.6 as an outcome, read in any case."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from csms.commands import Answer, Outcome
from csms.gateway.frames import Json
from csms.gateway.ocpp16.salvage import text

A = TypeVar("A", bound=Answer)

ACCEPTED_OR_NOT = {"Accepted": Outcome.ACCEPTED, "Rejected": Outcome.REJECTED}
UNLOCKED = {
    "Unlocked": Outcome.ACCEPTED,
    "UnlockFailed": Outcome.REJECTED,
    "NotSupported": Outcome.NOT_SUPPORTED,
}
CONFIGURED = ACCEPTED_OR_NOT | {
    "RebootRequired": Outcome.REBOOT_REQUIRED,
    "NotSupported": Outcome.NOT_SUPPORTED,
}
AVAILABILITY = ACCEPTED_OR_NOT | {"Scheduled": Outcome.SCHEDULED}
TRIGGERED = ACCEPTED_OR_NOT | {"NotImplemented": Outcome.NOT_SUPPORTED}
VENDOR_DATA = ACCEPTED_OR_NOT | {
    "UnknownMessageId": Outcome.NOT_SUPPORTED,
    "UnknownVendorId": Outcome.NOT_SUPPORTED,
}
RESERVED = ACCEPTED_OR_NOT | {
    "Occupied": Outcome.OCCUPIED,
    "Faulted": Outcome.INOPERATIVE,
    "Unavailable": Outcome.INOPERATIVE,
}
LISTED = {
    "Accepted": Outcome.ACCEPTED,
    "Failed": Outcome.REJECTED,
    "NotSupported": Outcome.NOT_SUPPORTED,
    "VersionMismatch": Outcome.VERSION_MISMATCH,
}
PROFILE_SET = ACCEPTED_OR_NOT | {"NotSupported": Outcome.NOT_SUPPORTED}
PROFILE_CLEARED = {"Accepted": Outcome.ACCEPTED, "Unknown": Outcome.NOT_FOUND}
# AcceptedCanceled: accepted, and what the station was at before is given up.
LOG_PROMISED = ACCEPTED_OR_NOT | {"AcceptedCanceled": Outcome.ACCEPTED}
UPDATE_PROMISED = LOG_PROMISED | {
    "InvalidCertificate": Outcome.REJECTED,
    "RevokedCertificate": Outcome.REJECTED,
}
CERTIFICATE_INSTALLED = ACCEPTED_OR_NOT | {"Failed": Outcome.REJECTED}
CERTIFICATE_DELETED = {
    "Accepted": Outcome.ACCEPTED,
    "Failed": Outcome.REJECTED,
    "NotFound": Outcome.NOT_FOUND,
}
CERTIFICATES_LISTED = {"Accepted": Outcome.ACCEPTED, "NotFound": Outcome.NOT_FOUND}

REFUSED_BY_CODE = {"NotImplemented": Outcome.NOT_SUPPORTED, "NotSupported": Outcome.NOT_SUPPORTED}


def by_status(meaning: Mapping[str, Outcome]) -> Callable[[Json], Answer]:
    return lambda payload: status_of(payload, meaning, Answer)


def status_of(payload: Json, meaning: Mapping[str, Outcome], kind: type[A]) -> A:
    """An answer of this kind with the status it has; FAILED without one, or with one that nobody knows."""
    word = text(payload.get("status")) if isinstance(payload, dict) else None
    if word is None:
        return kind(outcome=Outcome.FAILED, detail="answer without a status")
    in_any_case = {known.casefold(): outcome for known, outcome in meaning.items()}
    return kind(outcome=in_any_case.get(word.casefold(), Outcome.FAILED), detail=word)
