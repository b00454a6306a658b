"""A firmware campaign reaches a fleet one station first, then wave by wave, and pauses by itself when too many fail."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Row, and_, func, insert, or_, select
from sqlalchemy import update as sql_update

from csms import firmware, firmware_images
from csms.alerts import Alarm, close, raise_alarms
from csms.bus import Admission
from csms.database import Database
from csms.journal import Wake
from csms.models import FirmwareCampaign, FirmwareUpdate, Station, Transaction
from csms.signed_urls import AddressTooLong

log = structlog.get_logger(__name__)

EVERY_S: Final = 10.0
CANARY: Final = 1  # stations of the first wave
WAVE_SIZE: Final = 10
FAILURE_LIMIT_PERCENT: Final = 20
LEFT_OUT_AT_MOST: Final = 200  # stations that cannot be asked, and must not hold up those behind them
PAUSED_ALERT: Final = "firmware_campaign_paused"


class State(StrEnum):
    DRAFT = "draft"
    CANARY = "canary"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


GOING: Final = (State.CANARY, State.RUNNING)


class UnknownCampaign(Exception):
    """No campaign has this id."""


class CampaignRefused(Exception):
    """Not from the state in which it is; the text says why."""


# ---- the decision ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The updates of a campaign since it was started or resumed: `failed` counts those that are stuck, too."""

    installed: int = 0
    failed: int = 0
    open: int = 0

    @property
    def begun(self) -> int:
        return self.installed + self.failed + self.open


def may_go_on(state: State, tally: Tally, limit_percent: int) -> bool:
    """R08: no failure among the first, and not more than `limit_percent` of those that were begun."""
    if state is State.CANARY:
        return tally.failed == 0
    return tally.failed * 100 <= limit_percent * tally.begun


def next_state(state: State, tally: Tally) -> State:
    """The first station has arrived: the others may follow."""
    return State.RUNNING if state is State.CANARY and tally.installed > 0 else state


# ---- what an operator does ------------------------------------------------------------------------------------------


def prepare_campaign(
    connection: Connection,
    vendor: str,
    model: str | None,
    image_id: int | None,
    *,
    wave_size: int = WAVE_SIZE,
    failure_limit_percent: int = FAILURE_LIMIT_PERCENT,
    created_by: str,
    now: datetime,
) -> int:
    """A draft for all stations of a vendor and model (F07); nothing is sent before it is started. Returns its id. Raises
    firmware_images.UnknownImage and CampaignRefused."""
    if wave_size < 1 or not 0 <= failure_limit_percent <= 100:
        raise CampaignRefused("a wave has at least one station, and a share is 0 to 100 percent")
    if image_id is not None:
        _check_image(firmware_images.image(connection, image_id), vendor, model)
    row = FirmwareCampaign
    prepared = insert(row).values(
        vendor=vendor.strip(),
        model=model.strip() if model else None,
        image=image_id,
        state=State.DRAFT.value,
        wave=0,
        wave_size=wave_size,
        failure_limit_percent=failure_limit_percent,
        created_by=created_by,
        created_at=now,
    )
    return int(connection.execute(prepared.returning(row.id)).scalar_one())


def start_campaign(connection: Connection, campaign_id: int, *, image_id: int | None = None, now: datetime) -> None:
    """From draft, or on from a pause: failures until now are taken as looked at, and where no station has arrived yet the
    next is alone again. Raises UnknownCampaign, firmware_images.UnknownImage and CampaignRefused."""
    campaign = _locked(connection, campaign_id)
    if campaign.state not in (State.DRAFT, State.PAUSED):
        raise CampaignRefused(f"campaign {campaign_id} is {campaign.state}")
    chosen = image_id or campaign.image_row
    if chosen is None:
        raise CampaignRefused(f"campaign {campaign_id} has no image yet")
    if campaign.state == State.PAUSED and chosen != campaign.image_row:
        raise CampaignRefused("a campaign keeps its image: prepare another for another")
    _check_image(firmware_images.image(connection, chosen), campaign.vendor, campaign.model)
    arrived = _tally(connection, campaign_id, None).installed > 0
    state = State.RUNNING if arrived else State.CANARY
    begun = {"started_at": campaign.started_at or now, "counted_from": now, "detail": None}
    _change(connection, campaign_id, state=state.value, image=chosen, **begun)
    close(connection, PAUSED_ALERT, str(campaign_id), now)


def pause_campaign(connection: Connection, campaign_id: int, *, why: str) -> None:
    """No further station is asked; what is under way goes on. Raises UnknownCampaign and CampaignRefused."""
    campaign = _locked(connection, campaign_id)
    if campaign.state not in GOING:
        raise CampaignRefused(f"campaign {campaign_id} is {campaign.state}")
    _change(connection, campaign_id, state=State.PAUSED.value, detail=why)


def cancel_campaign(connection: Connection, campaign_id: int, *, now: datetime) -> None:
    """For good; what is under way goes on. Raises UnknownCampaign and CampaignRefused."""
    campaign = _locked(connection, campaign_id)
    if campaign.state in (State.DONE, State.CANCELLED):
        raise CampaignRefused(f"campaign {campaign_id} is {campaign.state}")
    _change(connection, campaign_id, state=State.CANCELLED.value, finished_at=now)
    close(connection, PAUSED_ALERT, str(campaign_id), now)


def campaigns(connection: Connection) -> Sequence[tuple[Row[Any], Tally, int]]:
    """Each with the tally of all its updates, and how many stations it has still to reach; the newest first."""
    found = connection.execute(select(FirmwareCampaign.__table__).order_by(FirmwareCampaign.id.desc())).all()
    return [(one, *progress(connection, one)) for one in found]


def campaign(connection: Connection, campaign_id: int) -> Row[Any]:
    """Raises UnknownCampaign."""
    query = select(FirmwareCampaign.__table__).where(FirmwareCampaign.id == campaign_id)
    found = connection.execute(query).one_or_none()
    if found is None:
        raise UnknownCampaign(campaign_id)
    return found


def progress(connection: Connection, campaign: Row[Any]) -> tuple[Tally, int]:
    """The tally of all its updates, and how many stations it has still to reach."""
    return _tally(connection, campaign.id, None), _count_missing(connection, campaign)


def _check_image(image: Row[Any], vendor: str, model: str | None) -> None:
    other_model = model is None and image.model is not None
    if other_model or not firmware.fits(image, vendor, model or ""):
        made_for = f"{image.vendor} {image.model or '(all models)'}"
        raise CampaignRefused(f"the image is for {made_for}, not for {vendor} {model or '(all models)'}")


# ---- its steps ------------------------------------------------------------------------------------------------------


class Campaigns:
    """Takes every campaign that goes as far as it may, again and again. Updates are asked for as an operator would; a
    station is never reset for one."""

    def __init__(
        self, database: Database, *, public_url: str, key: bytes, wake: Wake, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._public_url = public_url
        self._key = key
        self._wake = wake
        self._clock = clock

    async def run(self) -> None:
        while True:
            if await asyncio.to_thread(self.advance):
                self._wake()
            await asyncio.sleep(EVERY_S)

    def advance(self) -> int:
        """One look at each; returns how many updates were begun."""
        with self._database.read() as connection:
            going = select(FirmwareCampaign.id).where(FirmwareCampaign.state.in_(GOING)).order_by(FirmwareCampaign.id)
            ids = list(connection.execute(going).scalars())
        return sum(self._database.transact(partial(self._step, campaign_id=id_)) for id_ in ids)

    def _step(self, connection: Connection, *, campaign_id: int) -> int:
        now = self._clock()
        campaign = _locked(connection, campaign_id)
        state = State(campaign.state)
        if state not in GOING:
            return 0
        tally = _tally(connection, campaign_id, campaign.counted_from)
        if not may_go_on(state, tally, campaign.failure_limit_percent):
            return self._pause(connection, campaign, tally, now)
        if tally.open > 0:
            return 0  # one wave after the other
        following = next_state(state, tally)
        size = CANARY if following is State.CANARY else campaign.wave_size
        begun = self._begin(connection, campaign, following, size, now)
        if not begun and not _count_missing(connection, campaign):
            _change(connection, campaign_id, state=State.DONE.value, finished_at=now)
        return begun

    def _pause(self, connection: Connection, campaign: Row[Any], tally: Tally, now: datetime) -> int:
        why = f"{tally.failed} of {tally.begun} stations failed or are stuck"
        _change(connection, campaign.id, state=State.PAUSED.value, detail=why)
        alarm = Alarm(kind=PAUSED_ALERT, subject=str(campaign.id), detail={"why": why})
        raise_alarms(connection, [alarm], now)
        return 0

    def _begin(self, connection: Connection, campaign: Row[Any], state: State, size: int, now: datetime) -> int:
        begun = 0
        for station_id in _reachable(connection, campaign):
            if begun == size:
                break
            try:
                firmware.update(
                    connection,
                    station_id,
                    campaign.image_row,
                    retrieve_at=now,
                    public_url=self._public_url,
                    key=self._key,
                    requested_by=f"job:firmware-campaign-{campaign.id}",
                    now=now,
                    campaign=(campaign.id, campaign.wave + 1),
                )
            except (firmware.UpdateRefused, AddressTooLong) as error:
                log.warning("campaign_left_out", campaign=campaign.id, station_id=station_id, why=str(error))
            else:
                begun += 1
        wave = campaign.wave + (1 if begun else 0)
        _change(connection, campaign.id, state=state.value, wave=wave)
        return begun


# ---- rows -----------------------------------------------------------------------------------------------------------


def _locked(connection: Connection, campaign_id: int) -> Row[Any]:
    query = select(FirmwareCampaign.__table__).where(FirmwareCampaign.id == campaign_id)
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        raise UnknownCampaign(campaign_id)
    return found


def _change(connection: Connection, campaign_id: int, **values: Any) -> None:
    connection.execute(sql_update(FirmwareCampaign).where(FirmwareCampaign.id == campaign_id).values(**values))


def _tally(connection: Connection, campaign_id: int, since: datetime | None) -> Tally:
    """What ended before `since` counts no more. A station that was never reached counts for nothing: it is asked again when
    it is there."""
    row = FirmwareUpdate
    query = select(row.state, row.detail, row.stuck_at, row.created_at).where(row.campaign == campaign_id)
    installed = failed = open_ = 0
    for one in connection.execute(query):
        stuck = one.stuck_at is not None
        if one.state in firmware.OPEN and not stuck:
            open_ += 1
        elif since is not None and one.created_at < since:
            continue
        elif one.state == firmware.State.INSTALLED:
            installed += 1
        elif stuck or one.state == firmware.State.FAILED:
            failed += stuck or one.detail != firmware.UNREACHED
    return Tally(installed=installed, failed=failed, open=open_)


def _missing(campaign: Row[Any], version: str) -> Any:
    """The condition of stations that this campaign is for and has not tried."""
    row, station = FirmwareUpdate, Station
    tried = select(row.id).where(
        row.station_id == station.station_id,
        or_(
            and_(row.campaign == campaign.id, or_(row.detail.is_(None), row.detail != firmware.UNREACHED)),
            row.state.in_(firmware.OPEN),
        ),
    )
    runs = func.lower(func.trim(func.coalesce(station.firmware_version, "")))
    wanted = version.strip().casefold()
    conditions = [
        station.admission == Admission.KNOWN.value,
        func.lower(func.trim(station.vendor)) == campaign.vendor.lower(),
        runs.not_in((wanted, wanted.removeprefix("v"), f"v{wanted}")),
        ~tried.exists(),
    ]
    if campaign.model:
        conditions.append(func.lower(func.trim(station.model)) == campaign.model.lower())
    return and_(*conditions)


def _count_missing(connection: Connection, campaign: Row[Any]) -> int:
    version = "" if campaign.image_row is None else firmware_images.image(connection, campaign.image_row).version
    query = select(func.count()).select_from(Station).where(_missing(campaign, version))
    return connection.execute(query).scalar_one()


def _reachable(connection: Connection, campaign: Row[Any]) -> Sequence[str]:
    """Of those that are missing, stations that are here and charge nobody now: more than a wave, for some may be left out."""
    charging = select(Transaction.id).where(
        Transaction.station_id == Station.station_id, Transaction.state.in_(("active", "refused"))
    )
    query = (
        select(Station.station_id)
        .where(
            _missing(campaign, firmware_images.image(connection, campaign.image_row).version),
            Station.connection_id.is_not(None),
            ~charging.exists(),
        )
        .order_by(Station.station_id)
        .limit(campaign.wave_size + LEFT_OUT_AT_MOST)
    )
    return connection.execute(query).scalars().all()
