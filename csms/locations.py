"""Sites and their EVSEs: what a charger's status means for who may charge there, and what a session keeps of its place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, case, select, union, update

from csms import lock_order
from csms.availability import AVAILABILITY, Availability
from csms.batch import Batch
from csms.clock import SKEW_LIMIT, skew_s
from csms.events import Ack, ConnectorStatus, ConnectorStatusReported
from csms.journal import Fact, FactType
from csms.lifecycle import PARKED, State
from csms.models import Connector, Evse, Location, Station, Tariff, Transaction
from csms.prepared import Look, among

SAME_SKEW_S = 1.0  # what lies between two measurements of one clock: the way of a message
SKEW_STANDS = timedelta(minutes=10)  # of a sound clock, before it is measured again
KEEPS_TIME_S = 60.0  # a charger that took our currentTime is no further off than the way of a message and a lazy clock


Meanings = Mapping[ConnectorStatus, Availability]  # AVAILABILITY, or what the operator made of it (LO-61)


def availability(evse: Any, *, station_offline: bool, meanings: Meanings = AVAILABILITY) -> Availability:
    """Of an Evse row. `station_offline` is Station.offline_told: short reconnects change nothing (LO-63)."""
    if evse.removed:
        return Availability.REMOVED
    if station_offline or evse.status is None:
        return Availability.UNKNOWN
    return meanings[ConnectorStatus(evse.status)]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a transaction takes place: rows as they are now. `tariffs` are the connector's, in its order."""

    location: Row[Any]
    evse: Row[Any]
    connector: Row[Any] | None
    tariffs: Sequence[Row[Any]] = ()


PHASES = {"AC_1_PHASE": 1, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2, "AC_3_PHASE": 3, "DC": 1}


def max_power_w(connector: Mapping[Any, Any]) -> int | None:
    """What the connector can deliver, by its stated power or else volts x amperes x phases."""
    stated: int | None = connector.get("max_electric_power")
    if stated:
        return stated
    phases = PHASES.get(connector["power_type"], 1)
    return int(connector["max_voltage"]) * int(connector["max_amperage"]) * phases or None


_E = cast(Table, Evse.__table__)
_S = cast(Table, Station.__table__)
_TOLD = (
    _E.c.id,
    _E.c.location_row,
    _E.c.station_id,
    _E.c.evse,
    _E.c.removed,
    _E.c.status,
    _E.c.error_code,
    _E.c.vendor_error_code,
    _E.c.status_at,
    _E.c.last_updated,
    _S.c.clock_skew_s,
    _S.c.clock_skew_at,
    _S.c.keeps_our_time,
)
_NAMES = [column.name for column in _TOLD]
_L = cast(Table, Location.__table__)
_EVSES = Look(
    select(*_TOLD)
    .join_from(_E, _S, _S.c.station_id == _E.c.station_id)
    .where(among(_E.c.station_id, "stations"), among(_E.c.evse, "numbers"))
    .order_by(_E.c.id)
    .with_for_update(of=_E)
)
_SITES = Look(select(_L.c.id, _L.c.last_updated).where(among(_L.c.id, "sites")).order_by(_L.c.id).with_for_update())


class Statuses:
    """The status reports of one batch."""

    def __init__(
        self, batch: Batch, events: Sequence[ConnectorStatusReported], meanings: Meanings = AVAILABILITY
    ) -> None:
        """Loads the EVSEs of the stations that report, and locks them and their sites, each in the order of ids."""
        self._batch = batch
        self._meanings = {status.value: meaning for status, meaning in meanings.items()}
        stations, numbers = sorted({event.station_id for event in events}), sorted({event.evse for event in events})
        found = _EVSES.rows(batch.connection, stations=stations, numbers=numbers)
        rows = [dict(zip(_NAMES, row, strict=True)) for row in found]
        self._evses = {(row["station_id"], row["evse"]): row for row in rows}
        sites = sorted({row["location_row"] for row in rows})
        self._sites = dict(_SITES.rows(batch.connection, sites=sites)) if sites else {}
        pausing = sorted({event.station_id for event in events if event.status is ConnectorStatus.SUSPENDED_EV})
        self._running = self._charging_at(pausing) if pausing else {}

    def _charging_at(self, stations: Sequence[str]) -> dict[tuple[str, int], Row[Any]]:
        query = select(Transaction.id, Transaction.station_id, Transaction.evse, Transaction.findings).where(
            Transaction.station_id.in_(stations), Transaction.state == State.ACTIVE.value
        )
        rows = self._batch.connection.execute(query.order_by(Transaction.id).with_for_update())
        return {(row.station_id, row.evse): row for row in rows}

    def status(self, event: ConnectorStatusReported) -> Ack:
        """C03: the newest status by its own time wins; one that would go back in time is journaled, no more."""
        batch = self._batch
        evse = self._evses.get((event.station_id, event.evse))
        self._measure_clock(event, evse)
        self._mark_pause(event)
        if event.evse == 0:
            changes = {"status": event.status.value, "error_code": event.error_code}
            batch.update(Station, "station_id", event.station_id, changes)
            return Ack()
        at = event.occurred_at
        if at is None or abs(at - event.received_at) > SKEW_LIMIT:
            at = event.received_at
        # A clock that is ahead, and then set right, would silence the station till then.
        at = min(at, event.received_at)
        if evse is None:
            return Ack()
        if evse["status_at"] is not None and at < evse["status_at"]:
            since = {"status": evse["status"], "at": _utc(evse["status_at"])}  # what held from then on
            batch.fact(FactType.EVSE_STATUS, str(evse["id"]), event, **_told_of(event, at), then=since)
            return Ack()
        before = self._availability(evse)
        told = {
            "status": event.status.value,
            "error_code": event.error_code,
            "vendor_error_code": event.vendor_error_code,
        }
        changed = any(evse[name] != value for name, value in told.items())
        evse |= told | {"status_at": at}
        if before is not self._availability(evse):
            self._touch(evse, event.received_at)
        batch.update(Evse, "id", evse["id"], {**told, "status_at": at, "last_updated": evse["last_updated"]})
        if changed:
            batch.fact(FactType.EVSE_STATUS, str(evse["id"]), event, **_told_of(event, at))
        return Ack()

    def _availability(self, evse: dict[str, Any]) -> Availability:
        if evse["removed"]:
            return Availability.REMOVED
        status = evse["status"]
        return Availability.UNKNOWN if status is None else self._meanings[status]

    def _touch(self, evse: dict[str, Any], now: datetime) -> None:
        """It changed for those who look: its time and its site's rise, and never fall (LO-04, PU-14)."""
        site = evse["location_row"]
        evse["last_updated"] = max(evse["last_updated"], now)
        if self._sites[site] < evse["last_updated"]:
            self._sites[site] = evse["last_updated"]
            self._batch.update(Location, "id", site, {"last_updated": evse["last_updated"]})

    def _mark_pause(self, event: ConnectorStatusReported) -> None:
        """Time that is parking, not charging, stands in the transaction's story: its bill must know."""
        running = self._running.get((event.station_id, event.evse))
        if event.status is ConnectorStatus.SUSPENDED_EV and running is not None and PARKED not in running.findings:
            self._batch.update(Transaction, "id", running.id, {"findings": [*running.findings, PARKED]})

    def _measure_clock(self, event: ConnectorStatusReported, known: Mapping[str, Any] | None) -> None:
        """A status is told when it changes: its time is the charger's clock, live (F01), and says whether it took the time
        that its Boot was answered (F02)."""
        if event.occurred_at is not None:
            skew = skew_s(event.occurred_at, event.received_at)
            if known is not None and still_sound(known, skew, event.received_at):
                return
            changes = {
                "clock_skew_s": skew,
                "clock_skew_at": event.received_at,
                "keeps_our_time": abs(skew) <= KEEPS_TIME_S,
            }
            self._batch.update(Station, "station_id", event.station_id, changes)


def still_sound(known: Mapping[str, Any], skew: float, at: datetime) -> bool:
    """Whether a clock that was found to be right lately is as right as it was, so that there is nothing to write. One that is
    not is written each time, since an alert follows its last measurement."""
    if not known["keeps_our_time"] or abs(skew) > KEEPS_TIME_S:
        return False
    same = bool(abs(skew - known["clock_skew_s"]) <= SAME_SKEW_S)
    return same and timedelta() <= at - known["clock_skew_at"] < SKEW_STANDS


def _told_of(event: ConnectorStatusReported, at: datetime) -> dict[str, Any]:
    """What the journal keeps of a status: as believed here, and what others need to judge it by their own rule."""
    claimed = event.occurred_at
    return {
        "status": event.status.value,
        "at": _utc(at),
        "received_at": _utc(event.received_at),
        "claimed_at": None if claimed is None else _utc(claimed),
    }


def _utc(moment: datetime) -> datetime:
    """The journal keeps it as the text of isoformat()."""
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def touch_stations(connection: Connection, station_ids: Iterable[str], now: datetime) -> list[Fact]:
    """All EVSEs of these stations look different now (lost, or back): raise their times, and say so."""
    return touch_evses(connection, now, Evse.station_id.in_(list(station_ids)))


def touch_evses(connection: Connection, now: datetime, which: ColumnElement[bool]) -> list[Fact]:
    """As `touch_stations`, of the EVSEs of which `which` is true."""
    wanted = (which, Evse.removed.is_(False))
    connection.execute(select(Evse.id).where(*wanted).order_by(Evse.id).with_for_update())
    query = (
        update(Evse)
        .where(*wanted)
        .values(last_updated=case((Evse.last_updated < now, now), else_=Evse.last_updated))
        .returning(Evse.id, Evse.__table__.c.location_row, Evse.station_id)
    )
    touched = connection.execute(query).all()
    if touched:
        sites = {row.location_row for row in touched}
        lock_order.sites(connection, sites)
        connection.execute(
            update(Location).where(Location.id.in_(sites), Location.last_updated < now).values(last_updated=now)
        )
    return [Fact(type=FactType.EVSE_STATUS, subject=str(row.id), station_id=row.station_id) for row in touched]


def places(connection: Connection, spots: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Place]:
    """The places of (station_id, evse number), with the first connector and its tariffs, each in its current version."""
    wanted = set(spots)
    if not wanted:
        return {}
    evses = {
        (row.station_id, row.evse): row
        for row in connection.execute(
            select(Evse.__table__).where(Evse.station_id.in_({station for station, _ in wanted}))
        )
        if (row.station_id, row.evse) in wanted
    }
    if not evses:
        return {}
    sites = {
        row.id: row
        for row in connection.execute(
            select(Location.__table__).where(Location.id.in_({evse.location_row for evse in evses.values()}))
        )
    }
    query = (
        select(Connector.__table__)
        .where(Connector.__table__.c.evse_row.in_({evse.id for evse in evses.values()}), Connector.removed.is_(False))
        .order_by(Connector.position.desc())
    )
    connectors = {row.evse_row: row for row in connection.execute(query)}  # the lowest position stays
    tariffs = _tariffs(connection, connectors.values())
    return {
        spot: Place(
            location=(site := sites[evse.location_row]),
            evse=evse,
            connector=(connector := connectors.get(evse.id)),
            tariffs=_of_connector(tariffs, site, connector),
        )
        for spot, evse in evses.items()
    }


def _tariffs(connection: Connection, connectors: Iterable[Row[Any]]) -> dict[tuple[str, str, str], Row[Any]]:
    keys = {tariff_id.casefold() for connector in connectors for tariff_id in connector.tariff_ids or ()}
    if not keys:
        return {}
    query = select(Tariff.__table__).where(
        and_(Tariff.tariff_key.in_(keys), Tariff.current.is_(True), Tariff.removed.is_(False))
    )
    return {(row.country_code, row.party_id, row.tariff_key): row for row in connection.execute(query)}


def _of_connector(
    tariffs: Mapping[tuple[str, str, str], Row[Any]], site: Row[Any], connector: Row[Any] | None
) -> Sequence[Row[Any]]:
    named = (connector.tariff_ids or ()) if connector is not None else ()
    found = (tariffs.get((site.country_code, site.party_id, tariff_id.casefold())) for tariff_id in named)
    return [tariff for tariff in found if tariff is not None]


def imported_parties(connection: Connection) -> Sequence[tuple[str, str]]:
    """(country_code, party_id) of whoever owns a site or a tariff here."""
    sites = select(Location.country_code, Location.party_id)
    rows = connection.execute(union(sites, select(Tariff.country_code, Tariff.party_id)))
    return sorted((country_code, party_id) for country_code, party_id in rows)


LOCATION_FIELDS = (
    "country_code",
    "party_id",
    "location_id",
    "name",
    "address",
    "city",
    "postal_code",
    "state",
    "country",
    "latitude",
    "longitude",
    "time_zone",
)
CONNECTOR_FIELDS = (
    "connector_id",
    "standard",
    "format",
    "power_type",
    "max_voltage",
    "max_amperage",
    "max_electric_power",
)
TOKEN_FIELDS = ("uid", "type", "contract_id", "country_code", "party_id", "issuer", "group_id")


def _site(location: Row[Any]) -> dict[str, Any]:
    kept = {name: getattr(location, name) for name in LOCATION_FIELDS}
    return kept | {"parking_type": (location.details or {}).get("parking_type")}


def snapshot(place: Place | None, token: Row[Any] | None, tariff: Row[Any] | None) -> dict[str, Any]:
    """What a transaction keeps of the moment it started (CD-13): later changes of site, tariff or card do not reach it."""
    connector = place.connector if place else None
    return {
        "location": _site(place.location) if place else None,
        "evse": {"uid": place.evse.uid, "evse_id": place.evse.evse_id} if place else None,
        "connector": {name: getattr(connector, name) for name in CONNECTOR_FIELDS} if connector is not None else None,
        "token": {name: getattr(token, name) for name in TOKEN_FIELDS} if token is not None else None,
        "tariff": {"tariff_id": tariff.tariff_id, "version": tariff.version} if tariff is not None else None,
    }
