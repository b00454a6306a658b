"""A station that asks for a certificate gets one from our own authority; what we signed is watched, and can be revoked."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from cryptography import x509
from sqlalchemy import Connection, and_, func, select, update
from sqlalchemy.orm import aliased

from csms import alerts, authority, models
from csms.alerts import Alarm, raise_alarms
from csms.authority import Algorithm, Issuer, Refused
from csms.batch import Batch
from csms.bus import Admission
from csms.commands import (
    Answer,
    CertificateHash,
    CertificateUse,
    DeleteCertificate,
    ExtendedTriggerMessage,
    GetInstalledCertificates,
    InstallCertificate,
    Outcome,
    SendCertificate,
    TriggerKind,
)
from csms.database import insert_into
from csms.events import CertificateReply, CertificateRequested
from csms.journal import Fact, FactType, Recorded
from csms.models import Authority, RemoteRequest, Station, StationCertificate
from csms.requests import enqueue
from csms.sealing import SealBroken, Vault
from csms.stations import must_exist

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S = 30.0
INSTALLED_WITHIN_S = 60.0
TELL_BEFORE = timedelta(days=30)
SENT_AGAIN_FOR = timedelta(days=7)  # while its station is away; then it has to ask anew
AT_MOST = 100  # rows a rule takes at once
REQUESTS_A_DAY = 20  # of one station: each is a key pair it has made, and a certificate that we watch for a year
TRIES_AT_MOST = 10  # so often is a certificate sent that is not answered

Row_ = StationCertificate
UNDER_WAY = ("requested", "signed")
UNANSWERED = frozenset({Outcome.TIMEOUT, Outcome.FAILED})  # its line may have broken before it could


class UnknownCertificate(Exception):
    """We signed no certificate with this fingerprint."""


class NoCertificate(Exception):
    """The file holds no certificate that a station could use; says why."""


# ---- a station asks -------------------------------------------------------------------------------------------------


class CertificateRequests:
    """The requests of one batch. They are kept, and signed afterwards: the station waits for our answer only."""

    def __init__(self, batch: Batch, events: Sequence[CertificateRequested]) -> None:
        self._batch = batch
        connection = batch.connection
        stored = select(Row_.event_id).where(Row_.event_id.in_([event.event_id for event in events]))
        self._stored = set(connection.execute(stored).scalars())
        stations = {event.station_id for event in events}
        known = select(Station.station_id).where(
            Station.station_id.in_(stations), Station.admission == Admission.KNOWN.value
        )
        self._known = set(connection.execute(known).scalars())
        lately = select(Row_.station_id, Row_.csr, Row_.state).where(
            Row_.station_id.in_(stations), Row_.requested_at > batch.now - timedelta(days=1)
        )
        self._lately: dict[str, list[tuple[str, str]]] = {}
        for station_id, csr, state in connection.execute(lately.order_by(Row_.id)):
            self._lately.setdefault(station_id, []).append((csr, state))

    def requested(self, event: CertificateRequested) -> CertificateReply:
        """Accepted is what is kept; of a station that waits for adoption nothing is, nor of one that asks without end."""
        if event.station_id not in self._known or len(event.csr) > authority.LONGEST_REQUEST:
            return CertificateReply(accepted=False)
        before = self._lately.setdefault(event.station_id, [])
        if event.event_id in self._stored or (before and before[-1] in [(event.csr, state) for state in UNDER_WAY]):
            return CertificateReply(accepted=True)
        if len(before) >= REQUESTS_A_DAY:
            why = {"reason": f"it asked {len(before)} times within a day"}
            alarm = Alarm(kind="certificate_refused", subject=event.station_id, station_id=event.station_id, detail=why)
            self._batch.alarm(alarm)
            return CertificateReply(accepted=False)
        self._stored.add(event.event_id)
        before.append((event.csr, "requested"))
        self._batch.insert(
            Row_,
            {
                "event_id": event.event_id,
                "station_id": event.station_id,
                "csr": event.csr,
                "state": "requested",
                "requested_at": event.received_at,
            },
        )
        self._batch.fact(FactType.CERTIFICATE_REQUESTED, event.event_id, event)
        return CertificateReply(accepted=True)


class Signing:
    """Subscribes to requests: each is signed and sent, or refused with an alert."""

    def __init__(self, vault: Vault, *, organization: str, demanded: str | None, clock: Callable[[], datetime]) -> None:
        """`organization` stands in what we sign; `demanded` is what requests must name, None for anything."""
        self._vault = vault
        self._organization = organization
        self._demanded = demanded
        self._clock = clock

    def handle(self, connection: Connection, facts: Sequence[Recorded]) -> None:
        for fact in facts:
            query = select(Row_.__table__).where(Row_.event_id == fact.subject, Row_.state == "requested")
            row = connection.execute(query.with_for_update()).one_or_none()
            if row is not None:
                self._answer(connection, row)

    def _answer(self, connection: Connection, row: Any) -> None:
        now = self._clock()
        serial = select(Station.serial_number).where(Station.station_id == row.station_id)
        names = (row.station_id, (connection.execute(serial).scalar() or "").strip())
        try:
            request = authority.examine(row.csr, names=tuple(filter(None, names)), organization=self._demanded)
            issuer = _issuer(connection, request.algorithm, self._vault, self._organization, now)
        except (Refused, SealBroken) as refused:
            _refuse(connection, row.id, row.station_id, str(refused), now)
            return
        older = (Row_.station_id == row.station_id, Row_.state.in_(UNDER_WAY), Row_.id < row.id)
        replaced = {"state": "refused", "detail": "the station asked again", "finished_at": now}
        connection.execute(update(Row_).where(*older).values(**replaced))
        signed = authority.sign(request, issuer, station_id=row.station_id, organization=self._organization, now=now)
        chain = authority.pem(signed) + authority.pem(issuer.certificate)
        connection.execute(
            update(Row_)
            .where(Row_.id == row.id)
            .values(
                state="signed",
                serial_number=f"{signed.serial_number:x}",
                certificate=chain,
                fingerprint=authority.fingerprint(signed),
                signed_at=now,
                expires_at=signed.not_valid_after_utc,
                request_id=_send(connection, row.station_id, chain, now),
            )
        )
        log.info("certificate_signed", station_id=row.station_id, fingerprint=authority.fingerprint(signed))


def _send(connection: Connection, station_id: str, chain: str, now: datetime) -> str:
    command = SendCertificate(station_id=station_id, chain=chain)
    return enqueue(connection, command, requested_by="job:certificates", now=now, timeout_s=INSTALLED_WITHIN_S)


def _refuse(connection: Connection, row_id: int, station_id: str, reason: str, now: datetime) -> None:
    refused = {"state": "refused", "detail": reason, "finished_at": now}
    connection.execute(update(Row_).where(Row_.id == row_id).values(**refused))
    alarm = Alarm(kind="certificate_refused", subject=station_id, station_id=station_id, detail={"reason": reason})
    raise_alarms(connection, [alarm], now)


# ---- what becomes of it ---------------------------------------------------------------------------------------------


def was_sent(
    connection: Connection, request_id: str, command: SendCertificate, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """The station took its certificate or refused it; while it is away the certificate waits for it (outcomes.FOLLOWS)."""
    query = select(Row_.id, Row_.station_id, Row_.signed_at).where(
        Row_.request_id == request_id, Row_.state == "signed"
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return []
    if answer.outcome is Outcome.ACCEPTED:
        installed = {"state": "installed", "finished_at": now}
        connection.execute(update(Row_).where(Row_.id == row.id).values(**installed))
        for kind in ("certificate_expires", "certificate_refused"):
            alerts.close(connection, kind, row.station_id, now)
    elif answer.outcome is Outcome.OFFLINE or (
        answer.outcome in UNANSWERED and _unanswered(connection, row) < TRIES_AT_MOST
    ):
        connection.execute(update(Row_).where(Row_.id == row.id).values(request_id=None))
    else:
        said = f"the station does not take it: {answer.outcome.value} {answer.detail}".strip()
        _refuse(connection, row.id, row.station_id, said, now)
    return []


def _unanswered(connection: Connection, row: Any) -> int:
    asked = RemoteRequest
    query = select(func.count()).where(
        asked.station_id == row.station_id,
        asked.kind == "send_certificate",
        asked.created_at >= row.signed_at,
        asked.outcome.in_(UNANSWERED),
    )
    return int(connection.execute(query).scalar_one())


def deliver(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Certificates whose stations were away when they were signed, and are here now (watch.RULES)."""
    waiting = connection.execute(
        select(Row_.id, Row_.station_id, Row_.certificate)
        .join(Station, Station.station_id == Row_.station_id)
        .where(
            Row_.state == "signed",
            Row_.request_id.is_(None),
            Row_.signed_at > now - SENT_AGAIN_FOR,
            Station.connection_id.is_not(None),
        )
        .order_by(Row_.id)
        .limit(AT_MOST)
    ).all()
    for row_id, station_id, chain in waiting:
        sent = _send(connection, station_id, chain or "", now)
        connection.execute(update(Row_).where(Row_.id == row_id).values(request_id=sent))
    return []


def expiring(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Stations whose newest certificate ends soon, told once a day until they have another (watch.RULES)."""
    newer = aliased(Row_)
    renewed = (
        select(newer.id)
        .where(and_(newer.station_id == Row_.station_id, newer.state == "installed", newer.id > Row_.id))
        .exists()
    )
    query = select(Row_.station_id, Row_.expires_at, Row_.fingerprint).where(
        Row_.state == "installed", Row_.expires_at < now + TELL_BEFORE, Row_.expires_at > now - TELL_BEFORE, ~renewed
    )
    alarms = [
        Alarm(
            kind="certificate_expires",
            subject=row.station_id,
            station_id=row.station_id,
            detail={"expires_at": row.expires_at.isoformat(), "fingerprint": row.fingerprint},
        )
        for row in connection.execute(query.limit(AT_MOST))
    ]
    raise_alarms(connection, alarms, now)
    return []


# ---- our authorities ------------------------------------------------------------------------------------------------


def root(connection: Connection, algorithm: Algorithm, *, vault: Vault, organization: str, now: datetime) -> str:
    """The authority's certificate in PEM, for whoever must believe it; the authority is made when there is none yet."""
    return authority.pem(_issuer(connection, algorithm, vault, organization, now).certificate)


def roots(connection: Connection) -> Sequence[str]:
    """The certificates (PEM) of the authorities that there are."""
    return connection.execute(select(Authority.certificate).order_by(Authority.id)).scalars().all()


def _issuer(connection: Connection, algorithm: Algorithm, vault: Vault, organization: str, now: datetime) -> Issuer:
    """Raises SealBroken."""
    found = select(Authority.certificate, Authority.sealed_key).where(Authority.algorithm == algorithm.value)
    row = connection.execute(found).one_or_none()
    if row is None:
        made = authority.new_issuer(algorithm, organization, now)
        values = {
            "algorithm": algorithm.value,
            "certificate": authority.pem(made.certificate),
            "sealed_key": vault.seal(authority.key_to_pem(made.key)),
            "created_at": now,
        }
        connection.execute(insert_into(connection, Authority).values(**values).on_conflict_do_nothing())
        row = connection.execute(found).one()  # another process may have been first
    return authority.issuer_from_pem(row.certificate, vault.open(row.sealed_key))


# ---- what an operator does ------------------------------------------------------------------------------------------


def revoke(connection: Connection, fingerprint: str, now: datetime) -> str:
    """This certificate of ours proves nothing any more; returns the station's identity. `fingerprint`: SHA-256 in hex, colons
    allowed, at least its first 16 digits. Raises UnknownCertificate."""
    wanted = fingerprint.replace(":", "").strip().lower()
    query = select(Row_.id, Row_.station_id).where(Row_.fingerprint.startswith(wanted, autoescape=True))
    found = connection.execute(query.limit(2)).all() if len(wanted) >= 16 else []
    if len(found) != 1:
        raise UnknownCertificate(fingerprint)
    [(row_id, station_id)] = found
    connection.execute(update(Row_).where(Row_.id == row_id).values(state="revoked", finished_at=now))
    return str(station_id)


def revoked_and_here(connection: Connection) -> Sequence[str]:
    """Stations whose open socket was let in by a certificate that was revoked since."""
    here = models.Connection
    query = (
        select(Station.station_id)
        .join(here, here.connection_id == Station.connection_id)
        .join(Row_, Row_.fingerprint == here.certificate)
        .where(Row_.state == "revoked")
    )
    return connection.execute(query).scalars().all()


def request_certificate(connection: Connection, station_id: str, *, requested_by: str, now: datetime) -> str:
    """Ask the station to make a new key and have it certified; returns the request's id. Raises UnknownStation."""
    command = ExtendedTriggerMessage(station_id=station_id, kind=TriggerKind.SIGN_CERTIFICATE)
    return _ask(connection, command, requested_by, now)


def install(
    connection: Connection, station_id: str, use: CertificateUse, pem: str, *, requested_by: str, now: datetime
) -> str:
    """Have the station believe this root; returns the request's id. Raises UnknownStation, NoCertificate."""
    command = InstallCertificate(station_id=station_id, use=use, certificate=_root_in(pem, now))
    return _ask(connection, command, requested_by, now)


def installed(connection: Connection, station_id: str, use: CertificateUse, *, requested_by: str, now: datetime) -> str:
    """Ask which roots the station believes; returns the request's id. Raises UnknownStation."""
    return _ask(connection, GetInstalledCertificates(station_id=station_id, use=use), requested_by, now)


def delete(
    connection: Connection, station_id: str, certificate: CertificateHash, *, requested_by: str, now: datetime
) -> str:
    """Have the station believe this root no more; returns the request's id. Raises UnknownStation."""
    return _ask(connection, DeleteCertificate(station_id=station_id, certificate=certificate), requested_by, now)


def _ask(connection: Connection, command: Any, requested_by: str, now: datetime) -> str:
    must_exist(connection, command.station_id)
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=ANSWER_WITHIN_S)


def _root_in(pem: str, now: datetime) -> str:
    """The one certificate in it, written as PEM should be."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode("ascii"))
        constraints = [item.extensions.get_extension_for_class(x509.BasicConstraints).value for item in found]
    except x509.ExtensionNotFound:
        constraints = []
    except ValueError as error:
        raise NoCertificate("it holds no certificate in PEM") from error
    if len(found) != 1:
        raise NoCertificate(f"it holds {len(found)} certificates, and a station takes one at a time")
    if not constraints or not constraints[0].ca:
        raise NoCertificate("its certificate is no authority's")
    if found[0].not_valid_after_utc < now:
        raise NoCertificate(f"its certificate expired on {found[0].not_valid_after_utc:%Y-%m-%d}")
    return authority.pem(found[0])
