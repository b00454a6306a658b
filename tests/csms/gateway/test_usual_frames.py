"""What is read in one step is what is read in parts, to the last field; whatever is unusual is left to the parts."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.gateway import frames
from csms.gateway.frames import Call
from csms.gateway.ocpp16.schemas import document
from csms.gateway.ocpp16.translator import Ocpp16

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
AT = "2025-06-01T11:59:58.123Z"
OCPP16 = Ocpp16()
STATUS = document("StatusNotification")["properties"]
WORDS = document("MeterValues")["properties"]["meterValue"]["items"]["properties"]["sampledValue"]["items"][
    "properties"
]


def frame(payload: Any, *, message_id: Any = "17", action: str = "MeterValues") -> bytes:
    return orjson.dumps([2, message_id, action, payload])


def payload(value: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    rows = [{"timestamp": AT, "sampledValue": [value or {"value": "1000", "unit": "Wh"}, {"value": "7"}]}]
    return {"connectorId": 1, "transactionId": 5, "meterValue": rows} | fields


def status(**fields: Any) -> bytes:
    said = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": AT} | fields
    return frame({name: value for name, value in said.items() if value is not ...}, action="StatusNotification")


def in_parts(data: bytes) -> tuple[Any, str, Any]:
    call = frames.parse(data)
    assert isinstance(call, Call)
    return call.id, call.action, OCPP16.read(call, "CP1", NOW)


def agrees(data: bytes) -> bool:
    """Whether it is usual; if so, both ways say the same of it."""
    usual = OCPP16.read_usual(data, "CP1", NOW)
    if usual is None:
        return False
    message_id, action, event = in_parts(data)
    assert (message_id, action) == usual[:2]
    assert event == msgspec.structs.replace(usual[2], event_id=event.event_id)
    assert not event.violations
    return True


@pytest.mark.parametrize(
    "data",
    [
        frame(payload()),
        frame({"connectorId": 0, "meterValue": payload()["meterValue"]}),
        frame(payload(meterValue=payload()["meterValue"] * 3)),
        frame(payload({"value": "1", "phase": "L1", "format": "SignedData", "location": "Inlet", "context": "Other"})),
        frame(payload(transactionId=-1), message_id="\u00e9" * 20),
        frame(payload({"value": "\u20ac"})),
        frame({}, action="Heartbeat"),
        frame({}, action="Heartbeat", message_id=""),
        status(),
        status(timestamp=...),
        status(connectorId=0, info="x" * 50, vendorId="v" * 255, vendorErrorCode="\U0001f50c" * 50),
        *(status(status=word) for word in STATUS["status"]["enum"]),
        *(status(errorCode=word) for word in STATUS["errorCode"]["enum"]),
        b" " + frame(payload()) + b"\n",
        frame(payload()).replace(b'"value":"7"', b'"value":"6","value":"7"'),
        *(frame(payload({"value": "1", name: word})) for name in WORDS for word in WORDS[name].get("enum", ())),
    ],
)
def test_what_is_usual_is_read_as_in_parts(data: bytes) -> None:
    assert agrees(data)


@pytest.mark.parametrize(
    "data",
    [
        frame({}, action="Authorize"),
        frame([], action="Heartbeat"),
        frame({"at": AT}, action="Heartbeat"),
        frame({}, action="Heartbeat", message_id=17),
        status(status="available"),
        status(status=...),
        status(connectorId=10_001),
        status(timestamp="yesterday"),
        status(timestamp=None),
        status(info="x" * 51),
        status(vendorErrorCode="\U0001f50c" * 51),
        status(info="a\0b"),
        status(more="x"),
        frame(payload(), message_id=17),
        frame(payload(), message_id=None),
        frame(payload(connectorId=-1)),
        frame(payload(connectorId=1.0)),
        frame(payload(connectorId="1")),
        frame(payload(transactionId=None)),
        frame(payload(transactionId="5")),
        frame(payload(transactionId=2**40)),
        frame(payload(meterValue=[])),
        frame(payload(meterValue=[{"timestamp": AT, "sampledValue": []}])),
        frame(payload(meterValue=[{"timestamp": "yesterday", "sampledValue": [{"value": "1"}]}])),
        frame(payload(meterValue=[{"sampledValue": [{"value": "1"}]}])),
        frame(payload({"value": 1})),
        frame(payload({"value": "1", "unit": "bananas"})),
        frame(payload({"value": "1", "unit": None})),
        frame(payload({"value": "1", "multiplier": 3})),
        frame(payload({"value": "1\0"})),
        frame(payload({"value": 'a "word"'})),
        frame(payload(vendor="x")),
        frame(payload())[:-1],
        frame(payload()) + b"x",
        frame(payload())[:-1] + b",1]",
        frame(payload()).replace(b"[2,", b"[3,"),
        frame(payload()).replace(b"1000", b"\xff"),
        frame(payload()).replace(b"1000", b"\x07"),
    ],
)
def test_what_is_not_usual_is_left_to_the_parts(data: bytes) -> None:
    assert OCPP16.read_usual(data, "CP1", NOW) is None


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=8), st.just({})
)
WORD = st.sampled_from(sorted({word for field in WORDS.values() for word in field.get("enum", ())}))
VALUE = st.fixed_dictionaries(
    {"value": st.one_of(st.text(max_size=8), ANYTHING)},
    optional={name: st.one_of(WORD, ANYTHING) for name in ("unit", "phase", "measurand", "context", "extra")},
)
ROW = st.fixed_dictionaries(
    {
        "timestamp": st.one_of(st.just(AT), st.datetimes().map(str), ANYTHING),
        "sampledValue": st.lists(VALUE, max_size=3),
    }
)
PAYLOAD = st.fixed_dictionaries(
    {"connectorId": st.one_of(st.integers(0, 20_000), ANYTHING), "meterValue": st.lists(ROW, max_size=2)},
    optional={"transactionId": ANYTHING, "extra": ANYTHING},
)


@settings(max_examples=400, deadline=None)
@given(payload=PAYLOAD, message_id=st.one_of(st.text(max_size=40), ANYTHING))
def test_whatever_is_said_both_ways_agree(payload: Any, message_id: Any) -> None:
    agrees(frame(payload, message_id=message_id))


TEXT = st.one_of(st.text(max_size=60), ANYTHING)
SAID = st.fixed_dictionaries(
    {
        "connectorId": st.one_of(st.integers(0, 20_000), ANYTHING),
        "errorCode": st.sampled_from(STATUS["errorCode"]["enum"]),
    },
    optional={
        "status": st.one_of(st.sampled_from(STATUS["status"]["enum"]), ANYTHING),
        "timestamp": st.one_of(st.just(AT), st.datetimes().map(str), ANYTHING),
        "info": TEXT,
        "vendorId": TEXT,
        "vendorErrorCode": TEXT,
        "extra": ANYTHING,
    },
)


@settings(max_examples=400, deadline=None)
@given(said=SAID, message_id=st.one_of(st.text(max_size=40), ANYTHING))
def test_of_whatever_status_both_ways_agree(said: Any, message_id: Any) -> None:
    agrees(frame(said, message_id=message_id, action="StatusNotification"))


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_however_one_byte_is_broken_both_ways_agree(at: int, byte: int) -> None:
    for whole in (frame(payload()), status(info="x", vendorId="v"), frame({}, action="Heartbeat")):
        data = bytearray(whole)
        data[at % len(data)] = byte
        agrees(bytes(data))
