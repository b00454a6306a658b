import orjson
import pytest
from ocpp import exceptions

from csms.gateway import frames
from csms.gateway.frames import Call, Error, ErrorCode, Result, Unreadable


def test_the_literal_frame_of_the_textbook() -> None:  # H06
    call = frames.parse(b'[2,"e2b81cc5-3670-4702-acac-283286697741","Heartbeat",{}]')
    assert call == Call("e2b81cc5-3670-4702-acac-283286697741", "Heartbeat", {})


@pytest.mark.parametrize(
    "message_id", ["1", "", "e2b81cc5-3670-4702-acac-283286697741", "ü—充電", "x" * 300, '"\\', 7, 1.5, None, True]
)
def test_an_id_is_echoed_as_it_came(message_id: object) -> None:  # H05
    call = frames.parse(orjson.dumps([2, message_id, "Heartbeat", {}]))
    assert isinstance(call, Call)
    assert orjson.loads(frames.result(call.id, {})) == [3, message_id, {}]


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (b'[3,"1",{"status":"Accepted"}]', Result("1", {"status": "Accepted"})),
        (b'[3,"1"]', Result("1", {})),
        (b'[4,"1","NotImplemented","no",{}]', Error("1", "NotImplemented", "no")),
        (b'[4,"1"]', Error("1", "", "")),
        (b'[4,"1",7,null,{}]', Error("1", "7", "None")),
        (b'[4,"1",' + b"[" * 900 + b"]" * 900 + b',{},{}]', Error("1", "", "")),
        (b'[2,"1","Heartbeat"]', Call("1", "Heartbeat", {}, ("frame:length",))),
        (b'[2,"1","Heartbeat",{},"more"]', Call("1", "Heartbeat", {}, ("frame:length",))),
        (b'[2,7,"Heartbeat",{}]', Call(7, "Heartbeat", {}, ("messageId:type",))),
        (b'[2,"1","MeterValues",{"v":NaN}]', Call("1", "MeterValues", {"v": "NaN"}, ("json",))),
        (b'[2,"1","A",{"v":1e999}]', Call("1", "A", {"v": "inf"}, ("json",))),
        (b'[2,"1","A",{"v":NaN,"w":99999999999999999999}]', Call("1", "A", {"v": "NaN", "w": "9" * 20}, ("json",))),
        (b'[2,"1","A",{"v":' + b"9" * 5000 + b"}]", Call("1", "A", {"v": "9" * 5000}, ("json",))),
        (b'\xef\xbb\xbf[2,"1","A",{}]', Call("1", "A", {}, ("json",))),
        (b'[2,"1","Authorize",{"idTag":"\xe9"}]', Call("1", "Authorize", {"idTag": "\ufffd"}, ("json",))),
        (b'[2,"1","Authorize",{"idTag":"\\ud800"}]', Call("1", "Authorize", {"idTag": "?"}, ("json",))),
        (b'[2,"1","Authorize",{"idTag":"\\u0000A"}]', Call("1", "Authorize", {"idTag": "\0A"}, (), nul=True)),
        (b'[2,"1","Authorize",{"idTag":"\x00A"}]', Call("1", "Authorize", {"idTag": "\0A"}, ("json",), nul=True)),
    ],
)  # fmt: skip
def test_what_can_be_read_is_read(data: bytes, frame: object) -> None:  # A13, D03, X17
    assert frames.parse(data) == frame


@pytest.mark.parametrize(
    ("data", "reply_to"),
    [
        (b"", "-1"),
        (b"hello", "-1"),
        (b'[2,"1","Heartbeat",{}', "-1"),
        (b"{}", "-1"),
        (b"[]", "-1"),
        (b"null", "-1"),
        (b"[" * 100_000, "-1"),
        (b'[2,["1"],"Heartbeat",{}]', "-1"),
        (b"[2]", "-1"),
        (b'[2,"1"]', "1"),
        (b'[2,"1",{},"Heartbeat"]', "1"),
        (b'[6,"1","NotifyPeriodicEventStream",{}]', None),
        (b'[5,"1","InternalError","",{}]', None),
        (b'["2","1","Heartbeat",{}]', None),
        (b"[3]", None),
        (b"[4]", None),
        (b'[3,{"id":1},{}]', None),
    ],
)
def test_what_cannot_be_read_says_whom_to_answer(data: bytes, reply_to: object) -> None:  # A13, H04
    frame = frames.parse(data)
    assert isinstance(frame, Unreadable)
    assert frame.reply_to == reply_to


def test_callerror_codes_are_those_of_the_spec() -> None:
    named = {error.code for error in exceptions.OCPPError.__subclasses__()}
    assert {code.value for code in ErrorCode} <= named
    assert ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION == "OccurenceConstraintViolation"  # 1.6 spells it so


def test_a_callerror_has_five_parts() -> None:
    assert orjson.loads(frames.error("1", ErrorCode.GENERIC_ERROR, "x" * 300)) == [
        4,
        "1",
        "GenericError",
        "x" * 255,
        {},
    ]
