"""The most frequent frames, as nearly all are, are read in one step and half the time, and all others in parts.

What is read here breaks no schema and holds nothing that would be noted, so that both ways make the same event of it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from csms import clock
from csms.events import ConnectorStatusReported, Event, HeartbeatReceived, MeterSample, MeterSampled, SampledValue
from csms.gateway.frames import Json
from csms.gateway.ocpp16.inbound import HIGHEST_EVSE, HIGHEST_NUMBER, STATUS, VERSION
from csms.gateway.ocpp16.schemas import document

Make: TypeAlias = Callable[[Any, str, datetime], Event[Any] | None]  # of a payload; None: it must be read in parts


class Usual:
    def __init__(self) -> None:
        self._known = {
            action.encode(): (action, msgspec.json.Decoder(_frame(action)).decode, make)
            for action, make in USUAL.items()
        }

    def read(
        self, data: bytes | bytearray, station_id: str, received_at: datetime
    ) -> tuple[str, str, Event[Any]] | None:
        """Message id, action and event; None: read it in parts."""
        parts = data.split(b'"', 4)  # [2,"id","action",...
        known = self._known.get(bytes(parts[3])) if len(parts) == 5 else None
        if known is None or b"\\" in data or b"\0" in data:
            return None
        action, decode, make = known
        try:
            _, message_id, _, payload = decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        event = make(payload, station_id, received_at)
        return None if event is None else (message_id, action, event)


# ---- events ---------------------------------------------------------------------------------------------------------


def heartbeat(_payload: Any, station_id: str, received_at: datetime) -> HeartbeatReceived:
    return HeartbeatReceived(station_id=station_id, ocpp_version=VERSION, received_at=received_at)


def status_notification(payload: Any, station_id: str, received_at: datetime) -> ConnectorStatusReported | None:
    occurred_at = None
    if payload.timestamp is not None and (occurred_at := clock.read(payload.timestamp)) is None:
        return None
    return ConnectorStatusReported(
        station_id=station_id,
        ocpp_version=VERSION,
        received_at=received_at,
        occurred_at=occurred_at,
        evse=payload.connectorId,
        status=STATUS[payload.status],
        error_code=payload.errorCode,
        vendor_error_code=payload.vendorErrorCode,
        vendor_id=payload.vendorId,
        info=payload.info,
    )


def meter_values(payload: Any, station_id: str, received_at: datetime) -> MeterSampled | None:
    samples = []
    for row in payload.meterValue:
        occurred_at = clock.read(row.timestamp)
        if occurred_at is None:
            return None
        values = [
            SampledValue(
                value=read.value,
                measurand=read.measurand,
                unit=read.unit,
                context=read.context,
                location=read.location,
                phase=read.phase,
                format=read.format,
            )
            for read in row.sampledValue
        ]
        samples.append(MeterSample(occurred_at=occurred_at, values=tuple(values)))
    transaction_id = payload.transactionId
    return MeterSampled(
        station_id=station_id,
        ocpp_version=VERSION,
        received_at=received_at,
        occurred_at=samples[0].occurred_at,
        evse=payload.connectorId,
        transaction_ref=None if transaction_id is None else str(transaction_id),
        samples=tuple(samples),
    )


USUAL: Final[Mapping[str, Make]] = {
    "Heartbeat": heartbeat,
    "StatusNotification": status_notification,
    "MeterValues": meter_values,
}


# ---- what the schemas allow -----------------------------------------------------------------------------------------

_LARGEST = {"connectorId": (0, HIGHEST_EVSE)}
_ABSENT = {"sampledValue": SampledValue(value="")}  # a field that is not there has its usual value


def _frame(action: str) -> Any:
    """The type of the whole frame. No field may be null."""
    return tuple[Literal[2], str, Literal[action], _type(document(action), action)]  # type: ignore[misc, valid-type]


def _type(schema: dict[str, Json], name: str) -> Any:
    kind = schema["type"]
    if kind == "object":
        required = schema.get("required", ())
        absent = _ABSENT.get(name)
        fields = [
            (field, _type(about, field))
            if field in required
            else (field, _type(about, field), getattr(absent, field, None))
            for field, about in schema["properties"].items()
        ]
        return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False, kw_only=True)
    if kind == "array":
        return Annotated[list[_type(schema["items"], name)], Meta(min_length=schema.get("minItems", 0))]  # type: ignore[misc]
    if kind == "integer":
        least, most = _LARGEST.get(name, (-HIGHEST_NUMBER, HIGHEST_NUMBER))
        return Annotated[int, Meta(ge=least, le=most)]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    return Annotated[str, Meta(max_length=schema.get("maxLength"))]
