"""OCPI's primitive values: read as tolerantly as peers need them, written as strictly as the specification says (types)."""

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

DATETIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
NOT_PRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
PRINTABLE_ASCII = re.compile(r"[ -~]*")
MOST_ENTRIES = 1_000  # of one list; no partner has more roles, no charger takes more periods
MOST_VALUES = 10_000  # in a whole body


def read_datetime(text: str) -> datetime:
    """Aware, in UTC. With or without zone (none means UTC) and fraction, any offset (TY-02, TY-03); else ValueError."""
    match = DATETIME.fullmatch(text)
    if match is None:
        raise ValueError("not an OCPI DateTime such as 2026-03-04T05:06:07Z")
    date, time, fraction, zone = match.groups()
    offset = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        return datetime.fromisoformat(f"{date}T{time}.{(fraction or '')[:6]:0<6}{offset}").astimezone(UTC)
    except OverflowError as error:
        raise ValueError("outside the calendar") from error


def is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        return False


def plain(value: Any) -> Any:
    """The same tree in builtin types: py_ocpi's classes of strings and numbers and its enums must not reach a database
    driver, nor be read as what they say of themselves."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def holds_too_many(content: bytes | bytearray) -> bool:
    """Whether JSON opens more lists and objects than any object of OCPI holds: to make so many only to refuse them costs
    most of a second."""
    return content.count(b"[") + content.count(b"{") > MOST_VALUES


def is_crowded(body: Any) -> bool:
    """More values than any object of OCPI holds. To validate each of a megabyte of them, and to say what is wrong with
    it, takes half a minute in which nobody else is served."""
    waiting, seen = [body], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and len(value) > MOST_ENTRIES:
            return True
        if isinstance(value, list | dict):
            seen += len(value)
            if seen > MOST_VALUES:
                return True
            waiting.extend(value if isinstance(value, list) else value.values())
    return False


def same(one: str, other: str) -> bool:
    """CiStrings are equal without regard to case (TY-04)."""
    return one.casefold() == other.casefold()


class Folded(str):
    """A CiString that compares as one, whichever side of `==` py_ocpi puts it on."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.casefold())
