"""What chargers and their sockets say at a gateway."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from csms.bus import ConnectionClosed, ConnectionOpened
from csms.events import (
    ConnectorStatus,
    ConnectorStatusReported,
    IdTokenPresented,
    MeterSample,
    MeterSampled,
    SampledValue,
    StationBooted,
    TransactionEnded,
    TransactionStarted,
)
from tests.csms.core_story import NOON

CARD = "04A1B2C3D4"
PATIENCE_S = 30


def _said(type_: Any, station_id: str, **fields: Any) -> Any:
    return type_(station_id=station_id, ocpp_version="1.6", received_at=NOON, **fields)


def boot(station_id: str, **fields: Any) -> StationBooted:
    return _said(StationBooted, station_id, **{"vendor": "Acme", "model": "X", **fields})


def status(station_id: str, *, evse: int = 1, status: ConnectorStatus = ConnectorStatus.AVAILABLE) -> Any:
    return _said(ConnectorStatusReported, station_id, occurred_at=NOON, evse=evse, status=status)


def tap(station_id: str, id_token: str = CARD) -> IdTokenPresented:
    return _said(IdTokenPresented, station_id, id_token=id_token)


def start(station_id: str, id_token: str = CARD, *, at: datetime = NOON, meter: int = 1_000_000) -> TransactionStarted:
    fields = {"occurred_at": at, "evse": 1, "id_token": id_token, "meter_start_mwh": meter}
    return _said(TransactionStarted, station_id, **fields)


def sample(station_id: str, wh: int, number: int | None = None, *, at: datetime = NOON) -> MeterSampled:
    samples = (MeterSample(occurred_at=at, values=(SampledValue(value=str(wh), unit="Wh"),)),)
    ref = None if number is None else str(number)
    return _said(MeterSampled, station_id, occurred_at=at, evse=1, transaction_ref=ref, samples=samples)


def end(station_id: str, number: int, meter: int, *, at: datetime = NOON) -> TransactionEnded:
    return _said(TransactionEnded, station_id, occurred_at=at, transaction_ref=str(number), meter_stop_mwh=meter)


def opened(station_id: str, connection_id: str, at: datetime = NOON) -> ConnectionOpened:
    return ConnectionOpened(
        connection_id=connection_id, station_id=station_id, ocpp_version="1.6", peer="192.0.2.1", opened_at=at
    )


def closed(station_id: str, connection_id: str, at: datetime = NOON) -> ConnectionClosed:
    return ConnectionClosed(connection_id=connection_id, station_id=station_id, closed_at=at, last_frame_at=at)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)
