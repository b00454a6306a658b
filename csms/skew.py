"""How far chargers' clocks are off: by station, over the fleet, by model and firmware, and as an alert that takes itself back.

What a station's clock shows is measured on each live message that tells a time (`stations.clock_skew_s`, F01); nothing here
judges a session, that is `csms.clock`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select
from sqlalchemy.orm import aliased

from csms.alerts import Alarm, close_where, raise_alarms
from csms.bus import Admission
from csms.clock import SKEW_LIMIT, Rule
from csms.journal import Fact
from csms.models import Alert, FirmwareCampaign, Station, Transaction

KIND = "clock_skew"
LIMIT_S = SKEW_LIMIT.total_seconds()
BOUNDS = {"1 s": 1.0, "10 s": 10.0, "1 min": 60.0, "10 min": LIMIT_S, "1 h": 3600.0, "1 day": 86_400.0}
BEYOND, UNKNOWN = "more", "unknown"
_DISTANCE = func.abs(Station.clock_skew_s)


@dataclass(frozen=True, kw_only=True)
class ClockRow:
    """Stations of one vendor, model and firmware: how many take our time at a Boot, how many do not, and of how many it is
    not known (F02). `share` of those that are known, None where none is. `worst_skew_s` keeps its sign: positive is ahead.
    `campaign`: a firmware campaign that is prepared for that model and waits for its start (F07)."""

    vendor: str
    model: str
    firmware_version: str | None
    stations: int
    keep: int
    ignore: int
    unknown: int
    share: float | None
    over_limit: int
    worst_skew_s: float | None
    worst_station: str | None
    campaign: int | None


def report(connection: Connection) -> Sequence[ClockRow]:
    """F03: where most stations ignore our time stands first, then where clocks are worst."""
    columns = (Station.station_id, Station.vendor, Station.model, Station.firmware_version)
    query = select(*columns, Station.clock_skew_s, Station.keeps_our_time).where(
        Station.admission == Admission.KNOWN.value, Station.booted_at.is_not(None)
    )
    groups: dict[tuple[str, str, str | None], list[tuple[str, float | None, bool | None]]] = {}
    for station_id, vendor, model, firmware, skew, keeps in connection.execute(query.order_by(Station.station_id)):
        groups.setdefault((vendor, model, firmware), []).append((station_id, skew, keeps))
    campaigns = _prepared(connection)
    rows = [_row(kind, stations, campaigns) for kind, stations in groups.items()]
    return sorted(rows, key=lambda row: (-row.ignore, -abs(row.worst_skew_s or 0.0), row.vendor, row.model))


def _row(
    kind: tuple[str, str, str | None],
    stations: Sequence[tuple[str, float | None, bool | None]],
    campaigns: Mapping[tuple[str, str | None], int],
) -> ClockRow:
    vendor, model, firmware = kind
    keep, ignore = (sum(keeps is wanted for _, _, keeps in stations) for wanted in (True, False))
    measured = [(skew, station_id) for station_id, skew, _ in stations if skew is not None]
    worst, whose = max(measured, key=lambda one: abs(one[0]), default=(None, None))
    prepared = campaigns.get((vendor.casefold(), model.casefold()), campaigns.get((vendor.casefold(), None)))
    return ClockRow(
        vendor=vendor,
        model=model,
        firmware_version=firmware,
        stations=len(stations),
        keep=keep,
        ignore=ignore,
        unknown=len(stations) - keep - ignore,
        share=keep / (keep + ignore) if keep + ignore else None,
        over_limit=sum(abs(skew) > LIMIT_S for skew, _ in measured),
        worst_skew_s=worst,
        worst_station=whose,
        campaign=prepared,
    )


def _prepared(connection: Connection) -> dict[tuple[str, str | None], int]:
    """The newest draft for a vendor and model; a model of None is all of that vendor's."""
    query = select(FirmwareCampaign.id, FirmwareCampaign.vendor, FirmwareCampaign.model)
    drafts = connection.execute(query.where(FirmwareCampaign.state == "draft").order_by(FirmwareCampaign.id))
    return {(vendor.casefold(), model.casefold() if model else None): id_ for id_, vendor, model in drafts}


# ---- gauges (F01) ---------------------------------------------------------------------------------------------------


def measured(connection: Connection) -> Mapping[str, float]:
    """Seconds by station, of those whose clock was ever seen."""
    query = select(Station.station_id, Station.clock_skew_s).where(Station.clock_skew_s.is_not(None))
    return {station_id: float(skew or 0.0) for station_id, skew in connection.execute(query)}


def spread(connection: Connection) -> Mapping[str, float]:
    """How many known stations are off by at most so much, and by more than the bound before; those never seen apart."""
    within = case(
        (Station.clock_skew_s.is_(None), UNKNOWN),
        *((limit_s >= _DISTANCE, name) for name, limit_s in BOUNDS.items()),
        else_=BEYOND,
    )
    query = select(within, func.count()).where(Station.admission == Admission.KNOWN.value).group_by(within)
    return dict.fromkeys((*BOUNDS, BEYOND, UNKNOWN), 0) | {name: int(n) for name, n in connection.execute(query)}


def share_over_limit(connection: Connection) -> Mapping[str, float]:
    """Of the known stations whose clock was seen, the share that is more than ten minutes off; nothing where none was."""
    query = select(func.count(), func.count(case((_DISTANCE > LIMIT_S, 1)))).where(
        Station.admission == Admission.KNOWN.value, Station.clock_skew_s.is_not(None)
    )
    seen, over = connection.execute(query).one()
    return {"10 min": over / seen} if seen else {}


# ---- the alert (F06) ------------------------------------------------------------------------------------------------


def clock_alerts(connection: Connection, now: datetime) -> Sequence[Fact]:
    """A rule of the watch: one alert a day for each station that is more than ten minutes off, also between sessions; it
    closes when a later live message of the station has the right time."""
    today = and_(
        Alert.kind == KIND,
        Alert.subject == Station.station_id,
        Alert.day == f"{now:%Y-%m-%d}",
        or_(Alert.closed_at.is_(None), Alert.closed_at >= Station.clock_skew_at),
    )
    query = select(Station.station_id, Station.clock_skew_s, Station.clock_skew_at).where(
        Station.admission == Admission.KNOWN.value,
        Station.connection_id.is_not(None),
        _DISTANCE > LIMIT_S,
        ~select(Alert.id).where(today).exists(),
    )
    alarms = [
        Alarm(
            kind=KIND,
            subject=station_id,
            station_id=station_id,
            detail={"rule": "live", "clock_skew_s": skew, "received": str(at)},
        )
        for station_id, skew, at in connection.execute(query)
    ]
    raise_alarms(connection, alarms, now)
    close_where(connection, KIND, _is_over(now), now)
    return []


def _is_over(now: datetime) -> ColumnElement[bool]:
    """Of an alert: a later live status has the right time, or, of a station that tells none with its status, the end of a
    later session had; or today's alert says the same."""
    right = and_(Station.station_id == Alert.subject, Station.clock_skew_at > Alert.opened_at, _DISTANCE <= LIMIT_S)
    wrong = and_(Station.station_id == Alert.subject, _DISTANCE > LIMIT_S)
    ended = and_(
        Transaction.station_id == Alert.subject,
        Transaction.ended_rule == Rule.CHARGER.value,
        Transaction.ended_received_at > Alert.opened_at,
    )
    newer = aliased(Alert)
    today = and_(newer.kind == KIND, newer.subject == Alert.subject, newer.day == f"{now:%Y-%m-%d}")
    return or_(
        exists().where(right),
        and_(exists().where(ended), ~exists().where(wrong)),
        and_(Alert.day < f"{now:%Y-%m-%d}", exists().where(today)),
    )
