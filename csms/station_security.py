"""A station proves who it is better and better: passwords change without locking it out, and profiles only rise."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, select, update

from csms import models
from csms.alerts import Alarm
from csms.batch import Batch
from csms.bus import Admission, ConnectionOpened
from csms.commands import Answer, ChangeConfiguration, Command, Outcome
from csms.database import insert_into
from csms.events import Ack, SecurityEventReported
from csms.journal import Fact, FactType
from csms.models import SecurityEvent, Station, StationCertificate, StationSecurity
from csms.passwords import hash_password, new_key
from csms.requests import SEALED, SECRET_SETTING, enqueue, is_secret
from csms.sealing import SealBroken, Vault
from csms.stations import UnknownStation

PROFILE_SETTING = "SecurityProfile"
PASSWORD_SETTING = "AuthorizationKey"
HIGHEST_PROFILE = 3
ANSWER_WITHIN_S = 30.0
KEPT_A_DAY = 1000  # security events of one station

DONE = frozenset({Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.REBOOT_REQUIRED})
NOT_TAKEN = frozenset({Outcome.REJECTED, Outcome.NOT_SUPPORTED, Outcome.OFFLINE})

# Security events of the whitepaper "Improved security for OCPP 1.6-J", chapter 6: is it critical?
CRITICAL: Final[Mapping[str, bool]] = {
    "FirmwareUpdated": True,
    "FailedToAuthenticateAtCentralSystem": False,
    "CentralSystemFailedToAuthenticate": False,
    "SettingSystemTime": True,
    "StartupOfTheDevice": True,
    "ResetOrReboot": True,
    "SecurityLogWasCleared": True,
    "ReconfigurationOfSecurityParameters": False,
    "MemoryExhaustion": True,
    "InvalidMessages": False,
    "AttemptedReplayAttacks": False,
    "TamperDetectionActivated": True,
    "InvalidFirmwareSignature": False,
    "InvalidFirmwareSigningCertificate": False,
    "InvalidCentralSystemCertificate": False,
    "InvalidChargePointCertificate": False,
    "InvalidTLSVersion": False,
    "InvalidTLSCipherSuite": False,
}


class NotNow(Exception):
    """What was asked would lock the station out, or leads nowhere; says why."""


# ---- a new password (X15) -------------------------------------------------------------------------------------------


def rotate_password(connection: Connection, station_id: str, *, vault: Vault, requested_by: str, now: datetime) -> str:
    """Give the station a new password; returns the request's id. Both are good until the new one is used, then the old one
    is dead. While one is under way the same is sent again, since the station may hold it already. Raises UnknownStation, and
    NotNow when it holds one that cannot be sent again."""
    _known(connection, station_id)
    row = _security(connection, station_id)
    sealed = _sent_again(row, vault)
    if sealed is None:
        key = new_key()
        sealed = vault.seal(key)
        _change(
            connection,
            station_id,
            next_password_hash=hash_password(key),
            next_password_sealed=sealed,
            next_password_taken=False,
            next_password_at=now,
        )
    command = ChangeConfiguration(station_id=station_id, key=PASSWORD_SETTING, value=SEALED + sealed)
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=ANSWER_WITHIN_S)


def reveal(command: Command[Any], vault: Vault | None) -> Command[Any]:
    """The command as it goes to the station: a sealed value is opened now, and is stored nowhere. Raises SealBroken."""
    if not isinstance(command, ChangeConfiguration) or not _is_sealed(command):
        return command
    if vault is None:
        raise SealBroken("a sealed secret cannot be sent without SECRET_KEY")
    return msgspec.structs.replace(command, value=vault.open(command.value.removeprefix(SEALED)))


def _sent_again(row: Row[Any], vault: Vault) -> str | None:
    """The sealed password that is under way; None when none is."""
    if row.next_password_hash is None:
        return None
    try:
        if row.next_password_sealed is not None:
            vault.open(row.next_password_sealed)
            return str(row.next_password_sealed)
    except SealBroken:
        pass
    if row.next_password_taken:
        raise NotNow("the station may hold a new password already: let it connect again first")
    return None


def _password_answered(connection: Connection, command: ChangeConfiguration, answer: Answer) -> None:
    if not _is_sealed(command):
        return  # it was told already: whatever follows from it has
    same = (
        StationSecurity.station_id == command.station_id,
        StationSecurity.next_password_sealed == command.value.removeprefix(SEALED),
    )
    if answer.outcome in NOT_TAKEN:
        unused = (*same, StationSecurity.next_password_taken.is_(False))
        connection.execute(update(StationSecurity).where(*unused).values(**NO_NEXT_PASSWORD))
    else:
        connection.execute(update(StationSecurity).where(*same).values(next_password_taken=True))


NO_NEXT_PASSWORD: Final[Mapping[str, Any]] = {
    "next_password_hash": None,
    "next_password_sealed": None,
    "next_password_taken": False,
    "next_password_at": None,
}


# ---- a higher profile -----------------------------------------------------------------------------------------------


def upgrade_profile(
    connection: Connection, station_id: str, profile: int, *, tls: bool, requested_by: str, now: datetime
) -> str:
    """Ask the station to come with security profile 1, 2 or 3; returns the request's id. Less is refused once it has come
    so, not before. `tls`: stations can reach us by wss. Raises UnknownStation, and NotNow."""
    station = _known(connection, station_id)
    row = _security(connection, station_id)
    if profile <= row.profile:
        raise NotNow(f"profile {row.profile} is demanded of it already, and a profile only rises")
    if profile > HIGHEST_PROFILE:
        raise NotNow(f"there is no profile {profile}")
    if profile < HIGHEST_PROFILE and station.password_hash is None and row.next_password_hash is None:
        raise NotNow(f"profile {profile} needs a password, and it has none")
    if profile >= 2 and not tls:
        raise NotNow(f"profile {profile} needs wss, which is not offered here")
    if profile == HIGHEST_PROFILE and not _has_certificate(connection, station_id, now):
        raise NotNow("profile 3 needs a client certificate, and none is installed")
    command = ChangeConfiguration(station_id=station_id, key=PROFILE_SETTING, value=str(profile))
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=ANSWER_WITHIN_S)


def require_profile(connection: Connection, station_id: str, profile: int) -> None:
    """The least that is served from the next connection on, whatever the station knows of it. Raises UnknownStation."""
    if not 0 <= profile <= HIGHEST_PROFILE:
        raise NotNow(f"there is no profile {profile}")
    _known(connection, station_id)
    _security(connection, station_id)
    _change(connection, station_id, profile=profile, next_profile=None)


def _profile_answered(connection: Connection, command: ChangeConfiguration, answer: Answer) -> None:
    if answer.outcome in DONE and command.value in ("1", "2", "3"):
        row = _security(connection, command.station_id)
        if int(command.value) > row.profile:
            _change(connection, command.station_id, next_profile=int(command.value))


def _has_certificate(connection: Connection, station_id: str, now: datetime) -> bool:
    """Ours, or another authority's with which it has come before."""
    ours = select(StationCertificate.id).where(
        StationCertificate.station_id == station_id,
        StationCertificate.state == "installed",
        StationCertificate.expires_at > now,
    )
    table = models.Connection
    came = select(table.connection_id).where(table.station_id == station_id, table.security_profile == HIGHEST_PROFILE)
    return any(connection.execute(query.limit(1)).first() is not None for query in (ours, came))


# ---- what follows ---------------------------------------------------------------------------------------------------


def was_configured(
    connection: Connection, _: str, command: ChangeConfiguration, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """A station answered that it changed a setting, or was lost before it did (outcomes.FOLLOWS)."""
    key = command.key.casefold()
    if key == SECRET_SETTING:
        _password_answered(connection, command, answer)
    elif key == PROFILE_SETTING.casefold():
        _profile_answered(connection, command, answer)
    return []


def proven(connection: Connection, came: Sequence[ConnectionOpened]) -> Sequence[Fact]:
    """Stations came with what they were given: from now on the old password is dead, and less than the new profile is
    refused."""
    facts = []
    changed = sorted({item.station_id for item in came if item.password == "next"})
    new = select(StationSecurity.station_id, StationSecurity.next_password_hash).where(
        StationSecurity.station_id.in_(changed), StationSecurity.next_password_hash.is_not(None)
    )
    for station_id, password_hash in (
        connection.execute(new.order_by(StationSecurity.station_id)).all() if changed else ()
    ):
        connection.execute(update(Station).where(Station.station_id == station_id).values(password_hash=password_hash))
        _change(connection, station_id, **NO_NEXT_PASSWORD)
        facts.append(Fact(type=FactType.PASSWORD_CHANGED, subject=station_id, station_id=station_id))
    for profile in range(1, HIGHEST_PROFILE + 1):
        stations = sorted({item.station_id for item in came if item.security_profile == profile})
        if not stations:
            continue
        risen = connection.execute(
            update(StationSecurity)
            .where(StationSecurity.station_id.in_(stations), StationSecurity.next_profile <= profile)
            .values(profile=StationSecurity.next_profile, next_profile=None)
            .returning(StationSecurity.station_id, StationSecurity.profile)
        )
        facts += [
            Fact(
                type=FactType.SECURITY_PROFILE_RAISED,
                subject=station_id,
                station_id=station_id,
                data={"profile": least},
            )
            for station_id, least in risen
        ]
    return facts


# ---- what stations tell of their security ---------------------------------------------------------------------------


class SecurityReports:
    """The security events of one batch."""

    def __init__(self, batch: Batch, events: Sequence[SecurityEventReported]) -> None:
        self._batch = batch
        ids = [event.event_id for event in events]
        query = select(SecurityEvent.event_id).where(SecurityEvent.event_id.in_(ids))
        self._stored = set(batch.connection.execute(query).scalars())
        stations = {event.station_id for event in events}
        today = (SecurityEvent.station_id.in_(stations), SecurityEvent.received_at > batch.now - timedelta(days=1))
        counted = (
            select(SecurityEvent.station_id, func.count().label("kept"))
            .where(*today)
            .group_by(SecurityEvent.station_id)
        )
        self._today = {row.station_id: row.kept for row in batch.connection.execute(counted)}

    def reported(self, event: SecurityEventReported) -> Ack:
        """Kept, whatever its kind; what the whitepaper calls critical is alerted. Of a station that tells without end the
        message log has the rest, and an alert says so."""
        if event.event_id in self._stored:
            return Ack()
        self._stored.add(event.event_id)
        critical = CRITICAL.get(event.kind, False)
        if critical:
            self._alert("security_event", f"{event.station_id} {event.kind}", event, reported=event.kind)
        if self._today.get(event.station_id, 0) >= KEPT_A_DAY:
            self._alert("security_events_flood", event.station_id, event, kept=KEPT_A_DAY)
            return Ack()
        self._batch.insert(
            SecurityEvent,
            {
                "event_id": event.event_id,
                "station_id": event.station_id,
                "kind": event.kind,
                "tech_info": event.tech_info,
                "critical": critical,
                "occurred_at": event.occurred_at,
                "received_at": event.received_at,
            },
        )
        said = {"kind": event.kind, "tech_info": event.tech_info, "critical": critical}
        self._batch.fact(FactType.SECURITY_EVENT, event.event_id, event, **said)
        return Ack()

    def _alert(self, kind: str, subject: str, event: SecurityEventReported, **detail: Any) -> None:
        self._batch.alarm(Alarm(kind=kind, subject=subject, station_id=event.station_id, detail=detail))


# ---- rows -----------------------------------------------------------------------------------------------------------


def _known(connection: Connection, station_id: str) -> Any:
    query = select(Station.admission, Station.password_hash).where(Station.station_id == station_id)
    found = connection.execute(query).one_or_none()
    if found is None:
        raise UnknownStation(station_id)
    if found.admission != Admission.KNOWN:
        raise NotNow(f"it is {found.admission}, not adopted")
    return found


def _security(connection: Connection, station_id: str) -> Row[Any]:
    """The station's row, locked; made when there is none yet."""
    fresh = {"station_id": station_id, "profile": 0, "next_password_taken": False}
    connection.execute(insert_into(connection, StationSecurity).values(**fresh).on_conflict_do_nothing())
    query = select(StationSecurity.__table__).where(StationSecurity.station_id == station_id)
    return connection.execute(query.with_for_update()).one()


def _change(connection: Connection, station_id: str, **values: Any) -> None:
    connection.execute(update(StationSecurity).where(StationSecurity.station_id == station_id).values(**values))


def _is_sealed(command: ChangeConfiguration) -> bool:
    return is_secret(command.key) and command.value.startswith(SEALED)
