"""Stations: what each said it is, whether it is there, and who may come in."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Row, select

from csms import models, stations
from csms.bus import Admission
from csms.models import ActualSetting, Connector, DesiredSetting, Evse, Location, Station, StationBoot
from csms.users import Role
from ocpi_bridge.api.asked import (
    PLAIN,
    Asked,
    Input,
    Name,
    Page,
    Paging,
    Route,
    Text,
    paged,
    protocol,
    version_of,
)
from ocpi_bridge.api.problems import not_found

HISTORY = 20


class StationsQuery(Paging, frozen=True, kw_only=True):
    """`protocol` as 1.6J, in any case. `location` is the site's own id."""

    city: Name | None = None
    location: Name | None = None
    online: bool | None = None
    admission: Admission | None = None
    vendor: Text | None = None
    model: Text | None = None
    protocol: Annotated[str, Meta(max_length=20, pattern=PLAIN, description="As 1.6J.")] | None = None


class EvseBrief(msgspec.Struct, frozen=True, kw_only=True):
    evse: int
    uid: str
    status: str | None
    location_id: str
    city: str


class StationRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is of the whole station. `skew_s`: its clock minus ours, when it was last seen live."""

    station_id: str
    admission: Admission
    online: bool
    protocol: str | None
    vendor: str
    model: str
    serial_number: str | None
    firmware_version: str | None
    status: str | None
    error_code: str | None
    connected_at: datetime | None
    last_seen_at: datetime | None
    offline_since: datetime | None
    booted_at: datetime | None
    skew_s: float | None
    evses: Sequence[EvseBrief]


class ConnectorDetail(msgspec.Struct, frozen=True, kw_only=True):
    connector_id: str
    position: int
    standard: str
    format: str
    power_type: str
    max_voltage: int
    max_amperage: int
    max_electric_power: int | None
    tariff_ids: Sequence[str]
    removed: bool


class EvseDetail(msgspec.Struct, frozen=True, kw_only=True):
    evse: int
    uid: str
    evse_id: str | None
    location_id: str
    city: str
    status: str | None
    status_at: datetime | None
    error_code: str | None
    vendor_error_code: str | None
    removed: bool
    connectors: Sequence[ConnectorDetail]


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    received_at: datetime
    protocol: str | None
    vendor: str
    model: str
    serial_number: str | None
    firmware_version: str | None
    answer: str


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str | None
    peer: str
    opened_at: datetime
    closed_at: datetime | None
    last_frame_at: datetime | None
    close_code: int | None
    close_reason: str | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as the station last told it, beside what it should be; either may be unknown. `state` is of the wish."""

    key: str
    actual: str | None
    readonly: bool | None
    read_at: datetime | None
    desired: str | None
    state: str | None
    wished_by: str | None
    wished_at: datetime | None
    detail: str | None


class StationDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`bound`: whether the identity belongs to a box. `quirks`: deviations known of its make. The last boots and sockets."""

    station: StationRow
    binding: stations.BindingPolicy
    bound: bool
    password: bool
    iccid: str | None
    imsi: str | None
    registered: str | None
    heartbeat_interval_s: int
    boots_counted: int
    keeps_our_time: bool | None
    firmware_status: str | None
    diagnostics_status: str | None
    created_at: datetime
    evses: Sequence[EvseDetail]
    boots: Sequence[Boot]
    connections: Sequence[Socket]
    settings: Sequence[Setting]
    quirks: Sequence[str]


class BindingChoice(Input, frozen=True, kw_only=True):
    policy: stations.BindingPolicy


def list_stations(asked: Asked[StationsQuery, None]) -> Page[StationRow]:
    wanted = asked.query
    row = Station
    query = select(row.__table__).order_by(row.station_id).limit(wanted.limit + 1)
    if wanted.after is not None:
        query = query.where(row.station_id > wanted.after)
    if wanted.city is not None or wanted.location is not None:
        sites = select(Evse.station_id).join(Location, Location.id == Evse.location).where(Evse.removed.is_(False))
        if wanted.city is not None:
            sites = sites.where(Location.city == wanted.city)
        if wanted.location is not None:
            sites = sites.where(Location.location_key == wanted.location.casefold())
        query = query.where(row.station_id.in_(sites))
    if wanted.online is not None:
        query = query.where(row.connection_id.is_not(None) if wanted.online else row.connection_id.is_(None))
    exactly = ((row.admission, wanted.admission), (row.vendor, wanted.vendor), (row.model, wanted.model))
    for column, value in exactly:
        if value is not None:
            query = query.where(column == str(value))
    if wanted.protocol is not None:
        query = query.where(row.ocpp_version == version_of(wanted.protocol))
    rows = asked.connection.execute(query).all()
    evses = _evses(asked.connection, [row.station_id for row in rows])
    return paged(rows, wanted.limit, lambda row: row.station_id, lambda row: _row(row, evses))


def station(asked: Asked[None, None]) -> StationDetail:
    station_id = asked.path["station_id"]
    row = asked.connection.execute(select(Station.__table__).where(Station.station_id == station_id)).one_or_none()
    if row is None:
        raise not_found("station", station_id)
    evses = _evses(asked.connection, [station_id])
    names = ("registered", "iccid", "imsi", "heartbeat_interval_s", "keeps_our_time", "firmware_status", "created_at")
    return StationDetail(
        station=_row(row, evses),
        binding=stations.BindingPolicy(row.binding),
        bound=row.fingerprint is not None,
        password=row.password_hash is not None,
        boots_counted=row.boot_epoch,
        diagnostics_status=row.diagnostics_status,
        evses=_evse_details(asked.connection, evses.get(station_id, ())),
        boots=_boots(asked.connection, station_id),
        connections=_sockets(asked.connection, station_id),
        settings=settings_of(asked, station_id),
        quirks=list(asked.given.quirks_of(row.vendor, row.model, row.firmware_version)),
        **{name: getattr(row, name) for name in names},
    )


def adopt(asked: Asked[None, None]) -> StationDetail:
    stations.adopt(asked.connection, asked.path["station_id"], asked.now)
    return station(asked)


def refuse(asked: Asked[None, None]) -> StationDetail:
    stations.refuse(asked.connection, asked.path["station_id"])
    return station(asked)


def rebind(asked: Asked[None, None]) -> StationDetail:
    stations.rebind(asked.connection, asked.path["station_id"])
    return station(asked)


def set_binding(asked: Asked[None, BindingChoice]) -> StationDetail:
    stations.set_binding(asked.connection, asked.path["station_id"], asked.body.policy)
    return station(Asked(**{**asked.__dict__, "body": None}))


def settings_of(asked: Asked[Any, Any], station_id: str) -> list[Setting]:
    """By key: those that it told and those that are wished for."""
    connection = asked.connection
    told = {
        row.key: row
        for row in connection.execute(select(ActualSetting.__table__).where(ActualSetting.station_id == station_id))
    }
    wished = {
        row.key: row
        for row in connection.execute(select(DesiredSetting.__table__).where(DesiredSetting.station_id == station_id))
    }
    return [_setting(asked, key, told.get(key), wished.get(key)) for key in sorted({*told, *wished})]


ROUTES = (
    Route(
        method="GET",
        path="/stations",
        role=Role.VIEWER,
        summary="Stations, by identity.",
        handler=list_stations,
        query=StationsQuery,
        output=Page[StationRow],
    ),
    Route(
        method="GET",
        path="/stations/{station_id}",
        role=Role.VIEWER,
        summary="A station with its EVSEs, boots, sockets and settings.",
        handler=station,
        output=StationDetail,
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/adopt",
        role=Role.OPERATOR,
        summary="Let a waiting or refused station in; its next Boot binds it.",
        handler=adopt,
        output=StationDetail,
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/refuse",
        role=Role.OPERATOR,
        summary="Keep a station out; its connection is closed.",
        handler=refuse,
        output=StationDetail,
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/rebind",
        role=Role.OPERATOR,
        summary="Forget which box the identity belongs to, after an exchange of hardware.",
        handler=rebind,
        output=StationDetail,
    ),
    Route(
        method="PUT",
        path="/stations/{station_id}/binding",
        role=Role.ADMIN,
        summary="What happens when another box boots under the identity.",
        handler=set_binding,
        body=BindingChoice,
        output=StationDetail,
    ),
)


# ---- rows to values -------------------------------------------------------------------------------------------------


def _row(row: Row[Any], evses: Mapping[str, Sequence[Row[Any]]]) -> StationRow:
    names = ("station_id", "vendor", "model", "serial_number", "firmware_version", "status", "error_code")
    times = ("connected_at", "last_seen_at", "offline_since", "booted_at")
    return StationRow(
        admission=Admission(row.admission),
        online=row.connection_id is not None,
        protocol=protocol(row.ocpp_version),
        skew_s=row.clock_skew_s,
        evses=[
            EvseBrief(evse=e.evse, uid=e.uid, status=e.status, location_id=e.location_id, city=e.city)
            for e in evses.get(row.station_id, ())
            if not e.removed
        ],
        **{name: getattr(row, name) for name in (*names, *times)},
    )


def _evses(connection: Connection, station_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    if not station_ids:
        return {}
    query = (
        select(Evse.__table__, Location.location_id, Location.city)
        .join(Location, Location.id == Evse.location)
        .where(Evse.station_id.in_(station_ids))
        .order_by(Evse.station_id, Evse.evse)
    )
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.station_id, []).append(row)
    return found


def _evse_details(connection: Connection, evses: Sequence[Row[Any]]) -> list[EvseDetail]:
    if not evses:
        return []
    query = select(Connector.__table__).where(Connector.evse.in_([evse.id for evse in evses])).order_by(Connector.id)
    connectors: dict[int, list[ConnectorDetail]] = {}
    for row in connection.execute(query):
        known = {name: getattr(row, name) for name in ConnectorDetail.__struct_fields__}
        connectors.setdefault(row.evse_row, []).append(ConnectorDetail(**known))
    names = [name for name in EvseDetail.__struct_fields__ if name != "connectors"]
    return [
        EvseDetail(connectors=connectors.get(evse.id, []), **{name: getattr(evse, name) for name in names})
        for evse in evses
    ]


def _boots(connection: Connection, station_id: str) -> list[Boot]:
    row = StationBoot
    query = select(row.__table__).where(row.station_id == station_id).order_by(row.id.desc()).limit(HISTORY)
    names = [name for name in Boot.__struct_fields__ if name != "protocol"]
    return [
        Boot(protocol=protocol(found.ocpp_version), **{name: getattr(found, name) for name in names})
        for found in connection.execute(query)
    ]


def _sockets(connection: Connection, station_id: str) -> list[Socket]:
    row = models.Connection
    query = select(row.__table__).where(row.station_id == station_id).order_by(row.opened_at.desc()).limit(HISTORY)
    names = [name for name in Socket.__struct_fields__ if name != "protocol"]
    return [
        Socket(protocol=protocol(found.ocpp_version), **{name: getattr(found, name) for name in names})
        for found in connection.execute(query)
    ]


def _setting(asked: Asked[Any, Any], key: str, told: Row[Any] | None, wished: Row[Any] | None) -> Setting:
    return Setting(
        key=key,
        actual=None if told is None else asked.setting(key, told.value),
        readonly=None if told is None else told.readonly,
        read_at=None if told is None else told.read_at,
        desired=None if wished is None else asked.setting(key, wished.value),
        state=None if wished is None else wished.state,
        wished_by=None if wished is None else wished.wished_by,
        wished_at=None if wished is None else wished.wished_at,
        detail=None if wished is None else wished.detail,
    )
