"""What a station proved of who it is, and whether that is enough. Pure."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from csms import passwords
from csms.bus import StationCredentials
from csms.gateway import handshake
from csms.gateway.client_certificates import Vouched

DEMANDED: Final = {1: "a password", 2: "wss and a password", 3: "a client certificate"}  # by security profile


@dataclass(frozen=True, kw_only=True, slots=True)  # one for each connection
class Proof:
    """`profile`: the security profile of the whitepaper, 0 for none. `password`: which of its two it knew. `certificate`: the
    fingerprint of its client certificate."""

    profile: int
    password: Literal["current", "next"] | None = None
    certificate: str | None = None


@dataclass(frozen=True)
class Disproof:
    status: HTTPStatus
    reason: str


def prove(
    known: StationCredentials,
    station_id: str,
    *,
    secure: bool,
    credentials: bytes | None,
    certificate: Vouched | None,
) -> Proof | Disproof:
    """`credentials`: what HTTP Basic carried; a user that is not the station is refused even where no password is set (B11).
    `certificate`: one that an authority vouches for; with it no password is needed (profile 3)."""
    password = None if credentials is None else handshake.password_of(credentials, station_id)
    if credentials is not None and password is None:
        return Disproof(HTTPStatus.UNAUTHORIZED, "the user is not the station of the path")
    which = None if password is None else _which(password, known)
    if certificate is not None:
        # The whitepaper has the charge point's serial number in the common name; most operators have its identity there.
        if certificate.names.isdisjoint({station_id, known.serial_number.strip()} - {""}):
            return Disproof(HTTPStatus.FORBIDDEN, "the client certificate does not name the station of the path")
        if certificate.fingerprint in known.revoked:
            return Disproof(HTTPStatus.FORBIDDEN, "the client certificate is revoked")
        return Proof(profile=3, password=which, certificate=certificate.fingerprint)
    if known.password_hash is not None and which is None:
        return Disproof(HTTPStatus.UNAUTHORIZED, "a password is required" if password is None else "wrong password")
    profile = 0 if which is None else 2 if secure else 1
    if profile < known.least_profile:
        demanded = DEMANDED[known.least_profile]
        return Disproof(
            HTTPStatus.FORBIDDEN, f"security profile {known.least_profile} is demanded of this station: {demanded}"
        )
    return Proof(profile=profile, password=which)


def _which(password: bytes, known: StationCredentials) -> Literal["current", "next"] | None:
    if known.password_hash is not None and passwords.verify(password, known.password_hash):
        return "current"
    if known.next_password_hash is not None and passwords.verify(password, known.next_password_hash):
        return "next"
    return None
