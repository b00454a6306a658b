"""A station's way to a firmware image is followed until it runs the new version or is known not to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, String, cast, insert, or_, select
from sqlalchemy import update as sql_update

from csms import firmware_images, security_extension, signed_urls
from csms.alerts import Alarm, close_where, raise_alarms
from csms.batch import Batch
from csms.commands import Answer, Outcome, UpdateFirmware, UpdateFirmwareSigned
from csms.events import Ack, FirmwareStatusReported
from csms.journal import Fact, FactType
from csms.models import Alert, FirmwareImage, FirmwareUpdate, Station
from csms.requests import enqueue
from csms.stations import UnknownStation

ANSWER_WITHIN_S: Final = 30.0
STUCK_AFTER: Final = timedelta(hours=2)  # without getting nearer
SILENT_AFTER: Final = timedelta(minutes=30)  # after it began to install: no Boot, no word (R08)
BOOT_GRACE: Final = timedelta(minutes=10)  # after a Boot with the old version, for the word that explains it
GIVEN_UP_AFTER: Final = timedelta(hours=24)  # after its address expired
RECENT: Final = timedelta(days=7)  # alerts of updates that ended before are a person's to close
REVIVED_WITHIN: Final = timedelta(hours=24)  # a station that tried again by itself after a failure
AT_MOST: Final = 1000

FAILED_ALERT: Final = "firmware_failed"
STUCK_ALERT: Final = "firmware_stuck"
UNREACHED: Final = Outcome.OFFLINE.value  # detail of an update that was never sent


class State(StrEnum):
    REQUESTED = "requested"
    SENT = "sent"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN: Final = (State.REQUESTED, State.SENT, State.DOWNLOADING, State.DOWNLOADED, State.INSTALLING)
WAY: Final = (*OPEN, State.INSTALLED)  # nearer and nearer
OVER: Final = (State.INSTALLED, State.FAILED, State.CANCELLED)

# OCPP 1.6 section 7.25 and, of its security extension, FirmwareStatusEnumType.
MEANING: Final[Mapping[str, State | None]] = {
    "Idle": None,
    "DownloadScheduled": State.SENT,
    "Downloading": State.DOWNLOADING,
    "DownloadPaused": State.DOWNLOADING,
    "Downloaded": State.DOWNLOADED,
    "SignatureVerified": State.DOWNLOADED,
    "InstallScheduled": State.DOWNLOADED,
    "Installing": State.INSTALLING,
    "InstallRebooting": State.INSTALLING,
    "Installed": State.INSTALLED,
    "DownloadFailed": State.FAILED,
    "InstallationFailed": State.FAILED,
    "InstallVerificationFailed": State.FAILED,
    "InvalidSignature": State.FAILED,
}
_MEANING_IN_ANY_CASE = {word.casefold(): state for word, state in MEANING.items()}


class UnknownUpdate(Exception):
    """No update has this id."""


class UpdateRefused(Exception):
    """The update cannot be what was meant, or not now; the text says why."""


def told_state(now_at: State, status: str, *, named: bool) -> State | None:
    """What a status makes of an update; None when it changes nothing: a repeat, one that comes late, a word we do not know.

    `named`: the status names this very update. One that does not may be of an earlier update while ours was not answered
    yet, or may not be fetched yet, so an end is not believed then. A station that tries again after a failure may still
    arrive.
    """
    said = _MEANING_IN_ANY_CASE.get(status.strip().casefold())
    if said is None or now_at is State.CANCELLED or now_at is State.INSTALLED:
        return None
    if now_at is State.FAILED:
        return said if said is State.INSTALLED else None
    if now_at is State.REQUESTED and said in OVER and not named:
        return None
    if said is State.FAILED:
        return said
    return said if WAY.index(said) > WAY.index(now_at) else None


def same_version(one: str, other: str) -> bool:
    """Stations and file names do not agree on case, blanks and a leading v."""
    return _version(one) == _version(other)


def _version(text: str) -> str:
    return text.strip().casefold().removeprefix("v")


# ---- an update ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The update, and the request that carries it to the station."""

    update_id: int
    request_id: str


def update(
    connection: Connection,
    station_id: str,
    image_id: int,
    *,
    retrieve_at: datetime,
    public_url: str,
    key: bytes,
    requested_by: str,
    now: datetime,
    signed: bool | None = None,
    install_at: datetime | None = None,
    campaign: tuple[int, int] | None = None,
) -> Begun:
    """Tell a station to fetch an image from `retrieve_at` on; its address is good for a day from now (R06). `signed` None:
    with the manufacturer's signature where the image has one and the station can check it. `campaign`: its id and wave.
    Raises UnknownStation, UnknownImage, UpdateRefused and signed_urls.AddressTooLong."""
    known = select(Station.vendor, Station.model, Station.firmware_version).where(Station.station_id == station_id)
    station = connection.execute(known.with_for_update()).one_or_none()
    if station is None:
        raise UnknownStation(station_id)
    chosen = firmware_images.image(connection, image_id)
    _refuse_other_make(station, chosen)
    expires_at = now + signed_urls.VALID_FOR
    if retrieve_at > expires_at:
        raise UpdateRefused(f"the address expires at {expires_at:%Y-%m-%d %H:%M}Z, before the station may fetch")
    with_signature = _with_signature(connection, station_id, chosen, signed)
    if install_at is not None and not with_signature:
        raise UpdateRefused("only a signed update can say when to install")
    open_ = select(FirmwareUpdate.id).where(FirmwareUpdate.station_id == station_id, FirmwareUpdate.state.in_(OPEN))
    under_way = connection.execute(open_.limit(1)).scalar()
    if under_way is not None:
        raise UpdateRefused(f"update {under_way} is under way at {station_id}")
    url = signed_urls.firmware_url(
        public_url, key, image_id=image_id, name=chosen.name, station_id=station_id, expires_at=expires_at
    )
    row = FirmwareUpdate
    begun = insert(row).values(
        station_id=station_id,
        image=image_id,
        signed=with_signature,
        state=State.REQUESTED.value,
        version_before=station.firmware_version,
        retrieve_at=retrieve_at,
        install_at=install_at,
        expires_at=expires_at,
        progress_at=now,
        campaign=None if campaign is None else campaign[0],
        wave=None if campaign is None else campaign[1],
        requested_by=requested_by,
        created_at=now,
    )
    update_id: int = connection.execute(begun.returning(row.id)).scalar_one()
    command: UpdateFirmware | UpdateFirmwareSigned = UpdateFirmware(
        station_id=station_id, url=url, retrieve_at=retrieve_at
    )
    if with_signature:
        command = UpdateFirmwareSigned(
            station_id=station_id,
            request_id=update_id,
            url=url,
            retrieve_at=retrieve_at,
            certificate=chosen.certificate,
            signature=chosen.signature,
            install_at=install_at,
        )
    request_id = enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=ANSWER_WITHIN_S)
    connection.execute(sql_update(row).where(row.id == update_id).values(remote_request_id=request_id))
    return Begun(update_id=update_id, request_id=request_id)


def cancel(connection: Connection, update_id: int, *, now: datetime) -> bool:
    """Follow this update no longer, so that another can begin; the station is not told, OCPP 1.6 has no word for it. False
    when it was over. Raises UnknownUpdate."""
    row = FirmwareUpdate
    if connection.execute(select(row.id).where(row.id == update_id)).scalar() is None:
        raise UnknownUpdate(update_id)
    over = {"state": State.CANCELLED.value, "finished_at": now}
    return (
        connection.execute(sql_update(row).where(row.id == update_id, row.state.in_(OPEN)).values(**over)).rowcount == 1
    )


def updates(connection: Connection, station_id: str | None = None, *, limit: int = 100) -> Sequence[Row[Any]]:
    """The newest first, each with `version` and `image_name` of its image."""
    table, of = FirmwareUpdate.__table__, FirmwareImage
    query = select(table, of.version, of.name.label("image_name")).join(of, of.id == table.c.image_row)
    if station_id is not None:
        query = query.where(table.c.station_id == station_id)
    return connection.execute(query.order_by(table.c.id.desc()).limit(limit)).all()


def fits(image: Row[Any], vendor: str, model: str) -> bool:
    """Whether an image is for stations of this make, as they write it themselves."""
    wanted = image.model or model
    return (image.vendor.casefold(), wanted.casefold()) == (vendor.strip().casefold(), model.strip().casefold())


def _refuse_other_make(station: Row[str, str, str | None], chosen: Row[Any]) -> None:
    if not fits(chosen, station.vendor, station.model):
        made_for = f"{chosen.vendor} {chosen.model or '(all models)'}"
        raise UpdateRefused(f"the image is for {made_for}, the station is a {station.vendor} {station.model}".strip())


def _with_signature(connection: Connection, station_id: str, chosen: Row[Any], signed: bool | None) -> bool:
    has = chosen.certificate is not None and chosen.signature is not None
    if signed and not has:
        raise UpdateRefused("the image has no certificate and signature")
    if signed is None:
        return has and security_extension.spoken_by(connection, station_id)
    return signed


# ---- what the station answers and tells -----------------------------------------------------------------------------


def was_answered(connection: Connection, request_id: str, _: object, answer: Answer, now: datetime) -> Sequence[Fact]:
    """The station took the request or not (outcomes.FOLLOWS). Without an answer it may have taken it: then its statuses
    tell, or time does."""
    row = FirmwareUpdate
    found = select(row.id, row.station_id).where(row.remote_request_id == request_id, row.state == State.REQUESTED)
    waiting = connection.execute(found.with_for_update()).one_or_none()
    if waiting is None:
        return []  # its first status was faster, or somebody cancelled it
    if answer.outcome in (Outcome.ACCEPTED, Outcome.TIMEOUT):
        changes: dict[str, Any] = {"state": State.SENT.value, "progress_at": now}
    else:
        said = answer.outcome.value if answer.outcome.value == UNREACHED else f"{answer.outcome} {answer.detail}"
        changes = {"state": State.FAILED.value, "detail": said.strip(), "finished_at": now}
    connection.execute(sql_update(row).where(row.id == waiting.id).values(**changes))
    return [_changed(waiting.id, waiting.station_id, changes["state"])]


class FirmwareReports:
    """The firmware statuses of one batch."""

    def __init__(self, batch: Batch, events: Sequence[FirmwareStatusReported]) -> None:
        self._batch = batch
        stations = sorted({event.station_id for event in events})
        row = FirmwareUpdate
        recent = or_(row.state.in_(OPEN), row.finished_at > batch.now - REVIVED_WITHIN)
        query = select(row.__table__).where(row.station_id.in_(stations), recent).order_by(row.id)
        found = batch.connection.execute(query.with_for_update())
        self._updates: dict[str, list[dict[str, Any]]] = {}
        for update_row in found:
            self._updates.setdefault(update_row.station_id, []).append(dict(update_row._mapping))

    def reported(self, event: FirmwareStatusReported) -> Ack:
        batch = self._batch
        batch.update(Station, "station_id", event.station_id, {"firmware_status": event.status})
        batch.fact(FactType.FIRMWARE_STATUS, event.station_id, event, status=event.status)
        meant = self._meant(event)
        if meant is not None:
            self._follow(event, meant)
        return Ack()

    def _meant(self, event: FirmwareStatusReported) -> dict[str, Any] | None:
        """The update it names, else the station's last. A number of none of ours is of something else."""
        mine = self._updates.get(event.station_id, [])
        if event.request_id is not None:
            return next((one for one in mine if one["id"] == event.request_id), None)
        return mine[-1] if mine else None

    def _follow(self, event: FirmwareStatusReported, meant: dict[str, Any]) -> None:
        changes: dict[str, Any] = {"status": event.status, "status_at": event.received_at}
        was = State(meant["state"])
        named = event.request_id is not None
        early = not named and was is State.SENT and event.received_at < meant["retrieve_at"]
        becomes = told_state(State.REQUESTED if early else was, event.status, named=named)
        if becomes is was:
            becomes = None
        if becomes is State.INSTALLED and was is State.FAILED and meant["detail"] == UNREACHED:
            becomes = None  # it never had the request: this is of an earlier one
        if becomes is not None:
            changes |= _step(becomes, event.received_at, evidence="status", detail=event.status)
            self._batch.tell(_changed(meant["id"], event.station_id, becomes.value))
            if becomes is State.FAILED:
                self._batch.alarm(_failed(meant["id"], event.station_id, event.status))
        meant |= changes
        self._batch.update(FirmwareUpdate, "id", meant["id"], changes)


def _step(state: State, at: datetime, *, evidence: str, detail: str) -> dict[str, Any]:
    changes: dict[str, Any] = {"state": state.value, "progress_at": at, "stuck_at": None}
    if state is State.INSTALLING:
        changes["installing_at"] = at
    if state is State.INSTALLED:
        changes |= {"evidence": evidence, "finished_at": at, "detail": None}
    if state is State.FAILED:
        changes |= {"detail": detail, "finished_at": at}
    return changes


def _changed(update_id: int, station_id: str, state: str) -> Fact:
    return Fact(type=FactType.FIRMWARE_UPDATE, subject=str(update_id), station_id=station_id, data={"state": state})


def _failed(update_id: int, station_id: str, why: str) -> Alarm:
    return Alarm(kind=FAILED_ALERT, subject=str(update_id), station_id=station_id, detail={"why": why})


# ---- what time decides (watch rules) --------------------------------------------------------------------------------


def follow_boots(connection: Connection, now: datetime) -> Sequence[Fact]:
    """R07: a station that boots with the new version has it, whatever else it said; one that began to install and boots
    with another has failed, unless it says something better soon."""
    row, station, of = FirmwareUpdate, Station, FirmwareImage
    query = (
        select(row.__table__, of.version, station.booted_at, station.firmware_version)
        .join(station, station.station_id == row.station_id)
        .join(of, of.id == row.image)
        .where(row.state.in_(OPEN), station.booted_at > row.created_at)
        .order_by(row.id)
        .limit(AT_MOST)
    )
    facts = []
    for one in connection.execute(query.with_for_update(of=row)).all():
        becomes = _booted(one, now)
        if becomes is not None:
            why = f"it booted with version {one.firmware_version}"
            changes = _step(becomes, now, evidence="boot", detail=why)
            connection.execute(sql_update(row).where(row.id == one.id).values(**changes))
            facts.append(_changed(one.id, one.station_id, becomes.value))
            if becomes is State.FAILED:
                raise_alarms(connection, [_failed(one.id, one.station_id, why)], now)
    return facts


def _booted(one: Row[Any], now: datetime) -> State | None:
    runs = one.firmware_version or ""
    installing = one.installing_at is not None and one.booted_at > one.installing_at
    if same_version(runs, one.version):
        news = installing or not same_version(one.version_before or "", one.version)
        return State.INSTALLED if news else None
    return State.FAILED if installing and one.booted_at < now - BOOT_GRACE else None


def find_stuck(connection: Connection, now: datetime) -> Sequence[Fact]:
    """R08: an update that comes no nearer, or a station that was never heard again after it began to install."""
    row = FirmwareUpdate
    waits_until = (row.retrieve_at, row.install_at)
    query = (
        select(row.id, row.station_id, row.state, row.progress_at, *waits_until, row.installing_at, Station.booted_at)
        .join(Station, Station.station_id == row.station_id)
        .where(row.state.in_(OPEN), row.stuck_at.is_(None), row.progress_at < now - SILENT_AFTER)
        .order_by(row.id)
        .limit(AT_MOST)
    )
    for one in connection.execute(query).all():
        since = max(at for at in (one.progress_at, one.retrieve_at, _due(one.install_at, now)) if at is not None)
        booted = one.booted_at is not None and one.installing_at is not None and one.booted_at > one.installing_at
        bricked = one.state == State.INSTALLING and not booted
        if since >= now - (SILENT_AFTER if bricked else STUCK_AFTER):
            continue
        why = "no Boot since it began to install" if bricked else f"{one.state} since {since:%Y-%m-%d %H:%M}Z"
        connection.execute(sql_update(row).where(row.id == one.id).values(stuck_at=now))
        alarm = Alarm(kind=STUCK_ALERT, subject=str(one.id), station_id=one.station_id, detail={"why": why})
        raise_alarms(connection, [alarm], now)
    _take_back(connection, now)
    return _give_up(connection, now)


def _take_back(connection: Connection, now: datetime) -> None:
    """What came nearer after all is stuck no more, and what is installed has not failed."""
    row = FirmwareUpdate
    over = {STUCK_ALERT: row.stuck_at.is_(None), FAILED_ALERT: row.state == State.INSTALLED}
    for kind, condition in over.items():
        these = select(cast(row.id, String)).where(
            condition, row.finished_at.is_(None) | (row.finished_at > now - RECENT)
        )
        close_where(connection, kind, Alert.subject.in_(these), now)


def _due(install_at: datetime | None, now: datetime) -> datetime | None:
    return None if install_at is None else min(install_at, now)


def _give_up(connection: Connection, now: datetime) -> Sequence[Fact]:
    """What nothing was heard of long after its address expired blocks no other update."""
    row = FirmwareUpdate
    lost = connection.execute(
        sql_update(row)
        .where(row.state.in_(OPEN), row.expires_at < now - GIVEN_UP_AFTER, row.progress_at < now - GIVEN_UP_AFTER)
        .values(state=State.FAILED.value, detail="nothing was heard of it any more", finished_at=now)
        .returning(row.id, row.station_id)
    ).all()
    raise_alarms(connection, [_failed(id_, station_id, "given up") for id_, station_id in lost], now)
    return [_changed(id_, station_id, State.FAILED.value) for id_, station_id in lost]
