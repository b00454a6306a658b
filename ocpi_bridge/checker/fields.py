"""A body is held against the specification's own field tables: what is required, how long, of which type, of which enum."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ocpi_bridge.checker.report import short
from ocpi_bridge.checker.rules import REQUIRED, REQUIRED_211

TABLES = Path(__file__).with_name("field_tables")

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
SIZED = re.compile(r"(CiString|string|int)(?:\((\d+)\))?")
LATITUDE = re.compile(r"-?\d{1,2}\.\d{5,7}")
LONGITUDE = re.compile(r"-?\d{1,3}\.\d{5,7}")
# What the prose adds to a class of the tables.
ADDED: dict[str, dict[str, dict[str, str]]] = {
    "VersionDetails": {"version": {"type": "string(10)", "card": "1"}, "endpoints": {"type": "Endpoint", "card": "+"}},
}
# Agreed between peers, and not for us to judge.
OPEN = {"ModuleID", "VersionNumber"}


class Wrong(NamedTuple):
    """`path` is of the field, from the object down: `.evses[0].status`."""

    id: str
    path: str
    seen: str


@cache
def tables(version: str) -> Mapping[str, Any]:
    read: dict[str, Any] = json.loads((TABLES / f"{version}.json").read_text(encoding="utf-8"))
    return {"classes": {**read["classes"], **ADDED}, "enums": {n: set(e["values"]) for n, e in read["enums"].items()}}


def wrongs(body: Any, kind: str, version: str, path: str = "", under: str = "TR-15") -> Iterator[Wrong]:
    """What in `body` is not as the table of the class `kind` says. `under` is the id of what it is part of."""
    if not isinstance(body, dict):
        yield Wrong("TY-18" if not path else under, path, f"{short(body)}, no {kind}")
        return
    fields = tables(version)["classes"][kind]
    under = (REQUIRED_211 if version == "2.1.1" else REQUIRED).get(kind, under)
    for name in body.keys() - fields.keys():
        yield Wrong("TY-16", f"{path}.{name}", "a field that the specification does not know")
    for name, rule in fields.items():
        at = f"{path}.{name}"
        needed, many = rule["card"] in "1+", rule["card"] in "*+"
        if name not in body:
            if needed:
                yield Wrong(under, at, "missing")
            continue
        value = body[name]
        if value is None:
            yield Wrong(under if needed else "TY-10", at, "null")
        elif many and not isinstance(value, list):
            yield Wrong(under, at, f"{short(value)}, no list")
        elif not many and isinstance(value, list):
            yield Wrong(under, at, "a list, not one value")
        elif needed and value == []:
            yield Wrong(under, at, "an empty list")
        else:
            for number, entry in enumerate(value if many else [value]):
                yield from _value(entry, rule["type"], version, f"{at}[{number}]" if many else at, under, needed)


def _value(value: Any, kind: str, version: str, at: str, under: str, needed: bool) -> Iterator[Wrong]:
    known = tables(version)
    if kind in known["classes"]:
        yield from wrongs(value, kind, version, at, under)
    elif kind in known["enums"]:
        if not isinstance(value, str) or (kind not in OPEN and value not in known["enums"][kind]):
            yield Wrong("TY-17", at, f"{short(value)} is no {kind}")
    elif value == "" and kind != "number":
        yield Wrong(under if needed else "TY-10", at, "an empty string")
    elif kind in SCALARS:
        yield from SCALARS[kind](value, at)
    else:
        sized = SIZED.fullmatch(kind)
        assert sized is not None, f"the tables have no type {kind}"
        yield from SCALARS[sized[1]](value, at)
        if sized[1] != "int" and isinstance(value, str) and len(value) > int(sized[2]):
            yield Wrong("TY-06", at, f"{len(value)} characters of at most {sized[2]}")
        if isinstance(value, str):
            yield from _coordinate(value, at, version)


def _coordinate(value: str, at: str, version: str) -> Iterator[Wrong]:
    pattern = LATITUDE if at.endswith(".latitude") else LONGITUDE if at.endswith(".longitude") else None
    if pattern is None:
        return
    decimals = len(value.partition(".")[2])
    if not pattern.fullmatch(value) or (version == "2.1.1" and decimals != 6):
        yield Wrong("TY-15", at, short(value))


# ---- scalars ---------------------------------------------------------------------------------------------------------


def _string(value: Any, at: str) -> Iterator[Wrong]:
    if not isinstance(value, str):
        yield Wrong("TY-05", at, f"{short(value)}, no string")
    elif not value.isprintable():
        yield Wrong("TY-05", at, f"characters that do not print: {short(value)}")


def _ci_string(value: Any, at: str) -> Iterator[Wrong]:
    yield from _string(value, at)
    if isinstance(value, str) and not value.isascii():
        yield Wrong("TY-04", at, f"not ASCII: {short(value)}")


def _url(value: Any, at: str) -> Iterator[Wrong]:
    if not isinstance(value, str) or not re.match(r"https?://[^/\s]", value, re.IGNORECASE):
        yield Wrong("TY-12", at, f"no absolute URL: {short(value)}")
    elif len(value) > 255:
        yield Wrong("TY-12", at, f"{len(value)} characters")


def _date_time(value: Any, at: str) -> Iterator[Wrong]:
    if not isinstance(value, str) or not DATE_TIME.fullmatch(value) or moment(value) is None:
        yield Wrong("TY-01", at, short(value))


def _number(value: Any, at: str) -> Iterator[Wrong]:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        yield Wrong("TY-08", at, f"{short(value)}, no number")
    elif isinstance(value, Decimal) and -int(value.normalize().as_tuple().exponent) > 4:
        yield Wrong("TY-08", at, f"{value}, more than 4 decimals")


def _int(value: Any, at: str) -> Iterator[Wrong]:
    if isinstance(value, bool) or not isinstance(value, int):
        yield Wrong("TY-08", at, f"{short(value)}, no integer")


def _boolean(value: Any, at: str) -> Iterator[Wrong]:
    if not isinstance(value, bool):
        yield Wrong("TY-08", at, f"{short(value)}, no boolean")


SCALARS: dict[str, Callable[[Any, str], Iterator[Wrong]]] = {
    "string": _string,
    "CiString": _ci_string,
    "URL": _url,
    "DateTime": _date_time,
    "number": _number,
    "int": _int,
    "boolean": _boolean,
}


def moment(text: Any) -> datetime | None:
    """As tolerant as a reader must be (TY-02, TY-03): without a zone it is UTC. None when it is no time."""
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def read_json(body: bytes) -> Any:
    """Numbers exact. Raises ValueError for what is no JSON, NaN and a hopeless nesting included."""

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(body, parse_float=Decimal, parse_constant=no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
