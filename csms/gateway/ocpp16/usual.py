"""A MeterValues as nearly all are is read in one step, in half the time; whatever is not exactly that is read in parts.

It is by far the most frequent of the long frames. What is read here breaks no schema and holds nothing that would be noted, so
that both ways make the same event of it.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from csms import clock
from csms.events import MeterSample, MeterSampled, SampledValue
from csms.gateway.ocpp16.inbound import HIGHEST_EVSE, HIGHEST_NUMBER, VERSION
from csms.gateway.ocpp16.schemas import document

ACTION: Final = "MeterValues"

_NAMED: Final = b'"MeterValues"'
_WITHIN: Final = 80  # bytes: the action comes early, and all other frames are not searched for it


class UsualMeterValues:
    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_frame(document(ACTION)), strict=True).decode

    def read(self, data: bytes | bytearray, station_id: str, received_at: datetime) -> tuple[str, MeterSampled] | None:
        """The message id and the event; None: read it in parts."""
        if data.find(_NAMED, 0, _WITHIN) < 0 or b"\\" in data or b"\0" in data:
            return None
        try:
            _, message_id, _, payload = self._decode(data)
        except (msgspec.MsgspecError, ValueError):
            return None
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
        return message_id, MeterSampled(
            station_id=station_id,
            ocpp_version=VERSION,
            received_at=received_at,
            occurred_at=samples[0].occurred_at,
            evse=payload.connectorId,
            transaction_ref=None if transaction_id is None else str(transaction_id),
            samples=tuple(samples),
        )


def _frame(schema: dict[str, Any]) -> Any:
    """The type of the whole frame, with the words that the schema allows. No field may be null, and an
    absent one has its usual value."""
    words = schema["properties"]["meterValue"]["items"]["properties"]["sampledValue"]["items"]["properties"]
    absent = SampledValue(value="")
    enums = [
        (name, Literal[tuple(field["enum"])], getattr(absent, name)) for name, field in words.items() if name != "value"
    ]
    value = _struct("Value", [("value", str), *enums])
    row = _struct("Row", [("timestamp", str), ("sampledValue", Annotated[list[value], Meta(min_length=1)])])  # type: ignore[valid-type]
    payload = _struct(
        "Payload",
        [
            ("connectorId", Annotated[int, Meta(ge=0, le=HIGHEST_EVSE)]),
            ("meterValue", Annotated[list[row], Meta(min_length=1)]),  # type: ignore[valid-type]
            ("transactionId", Annotated[int, Meta(ge=-HIGHEST_NUMBER, le=HIGHEST_NUMBER)], None),
        ],
    )
    return tuple[Literal[2], str, Literal["MeterValues"], payload]  # type: ignore[valid-type]


def _struct(name: str, fields: list[Any]) -> Any:
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False)
