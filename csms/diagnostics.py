"""Diagnostics and logs: each station brings a file to an address of its own that works once, and people read it here."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from csms import firmware_images, security_extension
from csms.alerts import Alarm, close, raise_alarms
from csms.batch import Batch
from csms.commands import Answer, GetDiagnostics, GetLog, LogKind, Outcome, UploadAnswer
from csms.database import Database
from csms.events import Ack, DiagnosticsStatusReported, LogStatusReported
from csms.journal import Fact, FactType, append
from csms.models import Station, Upload
from csms.requests import enqueue
from csms.signed_urls import VALID_FOR, fitting
from csms.stations import must_exist

log = structlog.get_logger(__name__)

FOLDER: Final = "uploads"  # below DATA_DIR
SECRET_LENGTH: Final = 32  # characters, 192 random bits
LARGEST: Final = 50 * 1024 * 1024  # bytes of one file (R10)
ANSWER_WITHIN_S: Final = 30.0
SWEEP_EVERY_S: Final = 3600.0
PART_AFTER: Final = timedelta(hours=2)  # an unfinished file this old belongs to nobody
AT_MOST: Final = 1000
LONGEST_NAME: Final = 80

FAILED_ALERT: Final = "upload_failed"
HERE_AFTER: Final = timedelta(minutes=5)  # from the word "Uploaded" to the file
NOTHING_CAME: Final = "the station says that it brought the file, and nothing came"


class State(StrEnum):
    WAITING = "waiting"
    RECEIVING = "receiving"
    RECEIVED = "received"
    FAILED = "failed"
    EXPIRED = "expired"


EXPECTED: Final = (State.WAITING, State.RECEIVING, State.FAILED)  # a station may try again after it said that it failed

# OCPP 1.6 section 7.24 and, of its security extension, UploadLogStatusEnumType: did it fail?
FAILURE: Final[Mapping[str, bool]] = {
    "Idle": False,
    "Uploading": False,
    "Uploaded": False,
    "UploadFailed": True,
    "UploadFailure": True,
    "BadMessage": True,
    "NotSupportedOperation": True,
    "PermissionDenied": True,
}
_FAILURE_IN_ANY_CASE = {word.casefold(): failed for word, failed in FAILURE.items()}


class UnknownUpload(Exception):
    """No upload has this id, or its address has another secret."""


class UploadUsed(Exception):
    """The file is there already: an address works once."""


class UploadExpired(Exception):
    """The address was for a day."""


# ---- asking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Requested:
    """The place for the file, and the request that tells the station of it."""

    upload_id: int
    request_id: str


def request_diagnostics(
    connection: Connection,
    station_id: str,
    *,
    kind: LogKind = LogKind.DIAGNOSTICS,
    since: datetime | None = None,
    until: datetime | None = None,
    requested_by: str,
    now: datetime,
    public_url: str,
) -> Requested:
    """Ask a station for its diagnostics or its security log, at an address that works once within a day (R09). Raises
    UnknownStation and signed_urls.AddressTooLong."""
    must_exist(connection, station_id)
    secret = secrets.token_urlsafe(SECRET_LENGTH * 3 // 4)
    row = Upload
    waiting = insert(row).values(
        station_id=station_id,
        kind=kind.value,
        key_digest=_digest(secret),
        state=State.WAITING.value,
        requested_by=requested_by,
        created_at=now,
        expires_at=now + VALID_FOR,
    )
    upload_id: int = connection.execute(waiting.returning(row.id)).scalar_one()
    url = fitting(f"{public_url}/uploads/{upload_id}/{secret}")
    command: GetLog | GetDiagnostics
    if kind is LogKind.SECURITY or security_extension.spoken_by(connection, station_id):
        command = GetLog(station_id=station_id, request_id=upload_id, kind=kind, url=url, since=since, until=until)
    else:
        command = GetDiagnostics(station_id=station_id, url=url, since=since, until=until)
    return Requested(upload_id=upload_id, request_id=_ask(connection, upload_id, command, requested_by, now))


def was_answered(
    connection: Connection, request_id: str, command: GetLog | GetDiagnostics, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """The station will bring a file, or will not (outcomes.FOLLOWS). One that does not know the newer request is asked for
    its diagnostics with the older; without an answer the file may still come."""
    row = Upload
    found = select(row.id, row.state, row.requested_by).where(row.remote_request_id == request_id)
    upload = connection.execute(found.with_for_update()).one_or_none()
    if upload is None or answer.outcome is Outcome.TIMEOUT:
        return []
    if answer.outcome is Outcome.ACCEPTED:
        named = answer.filename if isinstance(answer, UploadAnswer) else None
        unnamed = (row.id == upload.id, row.filename.is_(None))  # the file itself may have been faster
        connection.execute(update(row).where(*unnamed).values(filename=named))
    elif (
        answer.outcome is Outcome.NOT_SUPPORTED and isinstance(command, GetLog) and command.kind is LogKind.DIAGNOSTICS
    ):
        older = GetDiagnostics(station_id=command.station_id, url=command.url, since=command.since, until=command.until)
        _ask(connection, upload.id, older, upload.requested_by, now)
    elif upload.state == State.WAITING:
        why = f"{answer.outcome} {answer.detail}".strip()
        failed = {"state": State.FAILED.value, "detail": why}
        connection.execute(update(row).where(row.id == upload.id).values(**failed))
    return []


def _ask(
    connection: Connection, upload_id: int, command: GetLog | GetDiagnostics, requested_by: str, now: datetime
) -> str:
    request_id = enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=ANSWER_WITHIN_S)
    connection.execute(update(Upload).where(Upload.id == upload_id).values(remote_request_id=request_id))
    return request_id


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()  # 192 random bits: there is nothing to guess


# ---- what stations tell of it ---------------------------------------------------------------------------------------


class UploadReports:
    """The statuses of diagnostics and logs of one batch. Whether a file is here is not theirs to say."""

    def __init__(self, batch: Batch, events: Sequence[DiagnosticsStatusReported | LogStatusReported]) -> None:
        self._batch = batch
        stations = sorted({event.station_id for event in events})
        row = Upload
        recent = (row.station_id.in_(stations), row.expires_at > batch.now - VALID_FOR)
        columns = (row.id, row.station_id, row.kind, row.state)
        found = batch.connection.execute(select(*columns).where(*recent).order_by(row.id).with_for_update())
        self._uploads: dict[str, list[dict[str, Any]]] = {}
        for upload in found:
            self._uploads.setdefault(upload.station_id, []).append(dict(upload._mapping))

    def diagnostics(self, event: DiagnosticsStatusReported) -> Ack:
        self._batch.update(Station, "station_id", event.station_id, {"diagnostics_status": event.status})
        self._batch.fact(FactType.DIAGNOSTICS_STATUS, event.station_id, event, status=event.status)
        mine = [one for one in self._uploads.get(event.station_id, []) if one["kind"] == LogKind.DIAGNOSTICS]
        self._follow(event, mine[-1] if mine else None)
        return Ack()

    def log(self, event: LogStatusReported) -> Ack:
        self._batch.fact(FactType.LOG_STATUS, event.station_id, event, status=event.status, request_id=event.request_id)
        mine = self._uploads.get(event.station_id, [])
        self._follow(event, next((one for one in mine if one["id"] == event.request_id), None))
        return Ack()

    def _follow(self, event: DiagnosticsStatusReported | LogStatusReported, upload: dict[str, Any] | None) -> None:
        failed = _FAILURE_IN_ANY_CASE.get(event.status.strip().casefold())
        if upload is None or failed is None or event.status.casefold() == "idle":
            return
        changes: dict[str, Any] = {"status": event.status, "status_at": event.received_at}
        if failed and upload["state"] in (State.WAITING, State.RECEIVING):
            changes |= {"state": State.FAILED.value, "detail": event.status}
            detail = {"why": event.status, "what": upload["kind"]}
            subject = str(upload["id"])
            self._batch.alarm(Alarm(kind=FAILED_ALERT, subject=subject, station_id=event.station_id, detail=detail))
        upload |= changes
        self._batch.update(Upload, "id", upload["id"], changes)


# ---- the file comes -------------------------------------------------------------------------------------------------


def expected(connection: Connection, upload_id: int, secret: str, now: datetime) -> Row[Any]:
    """The upload that this address is for. Raises UnknownUpload, UploadUsed and UploadExpired."""
    query = select(Upload.__table__).where(Upload.id == upload_id)
    found = connection.execute(query).one_or_none()
    if found is None or not secrets.compare_digest(found.key_digest, _digest(secret)):
        raise UnknownUpload(upload_id)
    if found.state == State.RECEIVED:
        raise UploadUsed(upload_id)
    if found.state == State.EXPIRED or found.expires_at < now:
        raise UploadExpired(upload_id)
    return found


def receiving(connection: Connection, upload_id: int) -> None:
    """A file is on its way. Nothing is promised by it: a station whose line broke unnoticed may come again at once."""
    query = update(Upload).where(Upload.id == upload_id, Upload.state.in_(EXPECTED))
    connection.execute(query.values(state=State.RECEIVING.value))


def broken(connection: Connection, upload_id: int) -> None:
    """Nothing came of it: the station may try again."""
    query = update(Upload).where(Upload.id == upload_id, Upload.state == State.RECEIVING.value)
    connection.execute(query.values(state=State.WAITING.value))


def received(
    connection: Connection,
    upload_id: int,
    *,
    path: str,
    filename: str | None,
    size: int,
    content_type: str | None,
    now: datetime,
) -> None:
    """The file is complete at `path` below DATA_DIR/uploads. Raises UploadUsed when another was faster: the first counts."""
    row = Upload
    values: dict[str, Any] = {"state": State.RECEIVED.value, "path": path, "size": size, "received_at": now}
    values |= {"content_type": content_type, "detail": None}
    if filename:
        values["filename"] = filename
    query = update(row).where(row.id == upload_id, row.state.in_(EXPECTED)).values(**values)
    station_id = connection.execute(query.returning(row.station_id)).scalar_one_or_none()
    if station_id is None:
        raise UploadUsed(upload_id)
    close(connection, FAILED_ALERT, str(upload_id), now)
    data = {"filename": filename, "size": size}
    fact = Fact(type=FactType.UPLOAD_RECEIVED, subject=str(upload_id), station_id=station_id, data=data)
    append(connection, [fact], now=now)


def stored_name(upload_id: int, filename: str | None) -> str:
    """Where a file is kept: of the name it was given only what is harmless, and no other upload has it."""
    last = re.split(r"[/\\]", filename or "")[-1]
    harmless = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-LONGEST_NAME:].lstrip(".-")
    return f"{upload_id}-{harmless or 'file'}"


# ---- what is there --------------------------------------------------------------------------------------------------


def upload(connection: Connection, upload_id: int) -> Row[Any]:
    """Raises UnknownUpload."""
    found = connection.execute(select(Upload.__table__).where(Upload.id == upload_id)).one_or_none()
    if found is None:
        raise UnknownUpload(upload_id)
    return found


def uploads(connection: Connection, station_id: str | None = None, *, limit: int = 100) -> Sequence[Row[Any]]:
    """The files of a station, or of all, and those that are waited for; the newest first."""
    query = select(Upload.__table__).order_by(Upload.id.desc()).limit(limit)
    if station_id is not None:
        query = query.where(Upload.station_id == station_id)
    return connection.execute(query).all()


def file_of(data_dir: Path, upload: Row[Any]) -> Path | None:
    """The file of an upload; None when it has none, or none any more."""
    if upload.path is None:
        return None
    path = data_dir / FOLDER / upload.path
    return path if path.is_file() else None


# ---- what time decides ----------------------------------------------------------------------------------------------


def find_missing(connection: Connection, now: datetime) -> Sequence[Fact]:
    """A watch rule: a file that its station says it has brought, and that is not here. It may still come."""
    row = Upload
    said = (func.lower(func.trim(row.status)) == "uploaded", row.status_at < now - HERE_AFTER)
    missing = update(row).where(row.state == State.WAITING.value, *said)
    failed = missing.values(state=State.FAILED.value, detail=NOTHING_CAME)
    raise_alarms(connection, _missing(connection, failed, NOTHING_CAME), now)
    return []


def expire(connection: Connection, now: datetime) -> Sequence[Fact]:
    """A watch rule: addresses that nobody used within their day. Of one whose failure was told nothing is told again."""
    row = Upload
    over = row.expires_at < now
    unused = update(row).where(row.state.in_((State.WAITING.value, State.RECEIVING.value)), over)
    expired = {"state": State.EXPIRED.value}
    alarms = _missing(connection, unused.values(**expired), "nothing came while its address was good")
    raise_alarms(connection, alarms, now)
    connection.execute(update(row).where(row.state == State.FAILED.value, over).values(**expired))
    return []


def _missing(connection: Connection, changed: Any, why: str) -> Sequence[Alarm]:
    """An alarm for each upload that the statement changes."""
    row = Upload
    found = connection.execute(changed.returning(row.id, row.station_id, row.kind)).all()
    return [
        Alarm(kind=FAILED_ALERT, subject=str(id_), station_id=station_id, detail={"why": why, "what": kind})
        for id_, station_id, kind in found
    ]


class Keeper:
    """Keeps files as long as the message log, and nothing that was left unfinished, of firmware either."""

    def __init__(self, database: Database, *, data_dir: Path, days: int, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._folder = data_dir / FOLDER
        self._images = data_dir / firmware_images.FOLDER
        self._days = days
        self._clock = clock

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.sweep)
            await asyncio.sleep(SWEEP_EVERY_S)

    def sweep(self) -> int:
        """Returns how many uploads are gone. A file goes first: a row without one is found again, a file without a row never
        would be."""
        with self._database.read() as connection:
            old = select(Upload.id, Upload.path).where(Upload.created_at < self._clock() - timedelta(days=self._days))
            gone = connection.execute(old.order_by(Upload.id).limit(AT_MOST)).all()
        for _, path in gone:
            if path is not None:
                (self._folder / path).unlink(missing_ok=True)
        if gone:
            with self._database.write() as connection:
                connection.execute(delete(Upload).where(Upload.id.in_([id_ for id_, _ in gone])))
            log.info("deleted_by_age", what="uploads", rows=len(gone))
        self._clear_parts()
        return len(gone)

    def _clear_parts(self) -> None:
        limit = (self._clock() - PART_AFTER).timestamp()
        for folder in (self._folder, self._images):
            for part in folder.glob(".*.part"):
                if part.stat().st_mtime < limit:
                    part.unlink(missing_ok=True)
