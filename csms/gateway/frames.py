"""The OCPP-J envelope: bytes become a call, an answer or a fault that names itself, without any I/O.

OCPP-J 1.6 chapter 4. What a charger gets slightly wrong is read all the same and listed in `faults`, because the payload
behind it may be a transaction (A13).
"""

import json
import math
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import orjson

Json: TypeAlias = Any  # what a JSON text may hold

CALL, RESULT, ERROR = 2, 3, 4
NO_ID = "-1"  # answers what had no readable id
LONGEST_INTEGER = 400  # digits: more than the largest double has


class ErrorCode(StrEnum):
    """The CALLERROR codes in the spelling of OCPP-J 1.6, table 7 (its typing errors included)."""

    NOT_IMPLEMENTED = "NotImplemented"  # the action is unknown
    NOT_SUPPORTED = "NotSupported"  # the action is known, but not one we take
    INTERNAL_ERROR = "InternalError"
    PROTOCOL_ERROR = "ProtocolError"
    SECURITY_ERROR = "SecurityError"
    FORMATION_VIOLATION = "FormationViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    OCCURENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    GENERIC_ERROR = "GenericError"


class Call(msgspec.Struct, frozen=True):
    """`id` is echoed as it came, a string or what the charger sent instead. `nul`: a text in it holds U+0000, which no
    database takes (D03)."""

    id: Json
    action: str
    payload: Json
    faults: tuple[str, ...] = ()
    nul: bool = False


class Result(msgspec.Struct, frozen=True):
    id: Json
    payload: Json


class Error(msgspec.Struct, frozen=True):
    id: Json
    code: str
    description: str


class Unreadable(msgspec.Struct, frozen=True):
    """`reply_to` is the id to answer with a CALLERROR, None when nothing may be answered: an answer, or a message type of
    another version (H04)."""

    reason: str
    reply_to: Json | None = None


Frame: TypeAlias = Call | Result | Error | Unreadable


def parse(data: bytes | bytearray) -> Frame:
    faults: tuple[str, ...] = ()
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            message = _loads_leniently(data)
        except (ValueError, RecursionError):
            return Unreadable("not JSON", reply_to=NO_ID)
        faults = ("json",)
    if type(message) is not list or not message:
        return Unreadable("not a JSON array", reply_to=NO_ID)
    kind = message[0]
    if type(kind) is not int or kind not in _READERS:
        return Unreadable("unknown message type")
    if kind == CALL and len(message) == 4 and type(message[1]) is str and type(message[2]) is str:
        frame: Frame = Call(message[1], message[2], message[3], faults)  # as nearly all are
    else:
        frame = _READERS[kind](message, faults)
    # A backslash is sought first, since most have none and one byte is found soonest.
    if type(frame) is Call and ((b"\\" in data and b"\\u0000" in data) or b"\0" in data):
        return msgspec.structs.replace(frame, nul=True)
    return frame


def call(message_id: str, action: str, payload: Json) -> bytes:
    return orjson.dumps((CALL, message_id, action, payload))


def result(message_id: Json, payload: Json) -> bytes:
    return orjson.dumps((RESULT, message_id, payload))


def error(message_id: Json, code: ErrorCode, description: str) -> bytes:
    return orjson.dumps((ERROR, message_id, code.value, description[:255], {}))


def id_text(message_id: Json) -> str:
    """The id as the message log and our own table of open calls know it."""
    return message_id if type(message_id) is str else orjson.dumps(message_id).decode()


def _call(message: list[Json], faults: tuple[str, ...]) -> Frame:
    message_id = message[1] if len(message) > 1 else NO_ID
    if type(message_id) is not str:
        if isinstance(message_id, dict | list):
            return Unreadable("message id is no string", reply_to=NO_ID)
        faults += ("messageId:type",)
    if len(message) < 3 or type(message[2]) is not str:
        return Unreadable("a call without an action", reply_to=message_id)
    if len(message) != 4:
        faults += ("frame:length",)
    return Call(message_id, message[2], message[3] if len(message) > 3 else {}, faults)


def _result(message: list[Json], _faults: tuple[str, ...]) -> Frame:
    if len(message) < 2 or isinstance(message[1], dict | list):
        return Unreadable("an answer without an id")
    return Result(message[1], message[2] if len(message) > 2 else {})


def _error(message: list[Json], _faults: tuple[str, ...]) -> Frame:
    if len(message) < 2 or isinstance(message[1], dict | list):
        return Unreadable("an answer without an id")
    code, description = ("" if isinstance(part, dict | list) else str(part) for part in (*message[2:4], "", "")[:2])
    return Error(message[1], code, description)


_READERS = {CALL: _call, RESULT: _result, ERROR: _error}


def _loads_leniently(data: bytes | bytearray) -> Json:
    """What the strict parser refuses although it can be read: bare NaN and infinities (they become text, X17), raw control
    characters in strings (D03), bytes that are not UTF-8, a byte order mark, half surrogates, numbers beyond a double."""
    text = data.decode("utf-8-sig", "replace")
    return _encodable(json.loads(text, strict=False, parse_constant=str, parse_int=_integer))


def _integer(digits: str) -> int | str:
    """One of thousands of digits stays text: Python refuses to convert it."""
    return int(digits) if len(digits) <= LONGEST_INTEGER else digits


def _encodable(value: Json) -> Json:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value
