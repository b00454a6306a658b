"""What a strict eMSP would refuse in an object: `problems` names each fault with its place, and changes nothing."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocpi_bridge.emsp_simulator.fields import ENUMS, OBJECTS
from ocpi_bridge.emsp_simulator.fields_211 import ENUMS_211, OBJECTS_211

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
LATITUDE = re.compile(r"-?\d{1,2}\.\d{5,7}")
LONGITUDE = re.compile(r"-?\d{1,3}\.\d{5,7}")
HOUR_MINUTE = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# Progress values of a Session that have no place in a CDR (SE-21).
SESSION_ONLY = frozenset({"CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE"})
ROUNDING = Decimal("0.0001")  # OCPI numbers have four decimals; sums may differ by one of the last place per addend

Problems = Iterator[str]

TABLES = {"2.2.1": (OBJECTS, ENUMS), "2.1.1": (OBJECTS_211, ENUMS_211)}


@dataclass(frozen=True, kw_only=True)
class Field:
    type: str
    required: bool
    many: bool
    at_least_one: bool


@cache
def fields(kind: str, version: str) -> Mapping[str, Field]:
    found: dict[str, Field] = {}
    for entry in TABLES[version][0][kind].split():
        name, _, declared = entry.partition(":")
        mark = declared[-1] if declared[-1] in "?*+" else ""
        found[name] = Field(
            type=declared.rstrip("?*+"), required=mark in ("", "+"), many=mark in ("*", "+"), at_least_one=mark == "+"
        )
    return found


def read_json(raw: bytes) -> tuple[Any, list[str]]:
    """The body with exact numbers, and what is wrong with its notation. Raises ValueError when it is not JSON."""
    found: list[str] = []

    def number(text: str) -> Decimal:
        if "e" in text.lower():
            found.append(f"{text} is written with an exponent (TY-08)")
        return Decimal(text)

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

    return json.loads(raw.decode("utf-8"), parse_float=number, parse_constant=constant), found


def parse_time(text: str) -> datetime:
    """Reads what peers write: with or without zone, which then is UTC (TY-02). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def problems(kind: str, body: Any, *, partial: bool = False, at: str = "", version: str = "2.2.1") -> Problems:
    """What is wrong with `body` as a `kind`. `partial`: a PATCH, which holds some fields and, since 2.2, last_updated."""
    here = at or kind
    if not isinstance(body, dict):
        yield f"{here} is no object"
        return
    table = fields(kind, version)
    for name in body.keys() - table.keys():
        yield f"{here}.{name} is no field of {kind}"
    for name, field in table.items():
        if name not in body:
            if (field.required and not partial) or (partial and name == "last_updated" and version != "2.1.1"):
                yield f"{here}.{name} is missing"
        elif field.many:
            yield from _list_problems(field, body[name], f"{here}.{name}", version)
        else:
            yield from _value_problems(field.type, body[name], f"{here}.{name}", version)
    rule = (RULES_211 if version == "2.1.1" else RULES).get(kind)
    if rule is not None and not partial:
        try:
            yield from (f"{here}: {text}" for text in rule(body))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            return  # its parts are wrong, and were named above


def _list_problems(field: Field, value: Any, at: str, version: str) -> Problems:
    if value is None:
        yield f"{at} is null (TY-10)"
    elif not isinstance(value, list):
        yield f"{at} is no list"
    elif field.at_least_one and not value:
        yield f"{at} is empty"
    else:
        for index, entry in enumerate(value):
            yield from _value_problems(field.type, entry, f"{at}[{index}]", version)


def _value_problems(kind: str, value: Any, at: str, version: str) -> Problems:
    objects, enums = TABLES[version]
    if value is None:
        yield f"{at} is null (TY-10)"
    elif kind in objects:
        yield from problems(kind, value, at=at, version=version)
    elif kind in enums:
        if value not in enums[kind].split():
            yield f"{at}: {value!r} is no {kind}"
    else:
        name = kind.rstrip("0123456789")
        wrong = SCALARS[name](value, int(kind[len(name) :] or 0))
        if wrong:
            yield f"{at}: {value!r} {wrong}"


# ---- scalars: what is wrong, or nothing ------------------------------------------------------------------------------


def _string(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        return "is no string"
    if not value:
        return "is empty: leave it out (TY-10)"
    if longest and len(value) > longest:
        return f"is longer than {longest}"
    return "" if value.isprintable() else "holds characters that do not print (TY-05)"


def _ci_string(value: Any, longest: int) -> str:
    return _string(value, longest) or ("" if value.isascii() else "is not ASCII (TY-04)")


def _url(value: Any, _: int) -> str:
    return _string(value, 255) or ("" if re.match(r"https?://[^/\s]", value) else "is no absolute URL")


def _time(value: Any, _: int) -> str:
    if not isinstance(value, str) or not DATE_TIME.fullmatch(value):
        return "is no DateTime in UTC with Z (TY-01)"
    try:
        parse_time(value)
    except ValueError:
        return "is no date"
    return ""


def _number(value: Any, _: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return "is no JSON number (TY-08)"
    places = -int(Decimal(value).normalize().as_tuple().exponent)
    return f"has {places} decimals (TY-08)" if places > 4 else ""


def _int(value: Any, _: int) -> str:
    return "is no integer" if isinstance(value, bool) or not isinstance(value, int) else ""


def _bool(value: Any, _: int) -> str:
    return "" if isinstance(value, bool) else "is no boolean"


SCALARS: dict[str, Callable[[Any, int], str]] = {
    "s": _string,
    "ci": _ci_string,
    "url": _url,
    "time": _time,
    "number": _number,
    "int": _int,
    "bool": _bool,
}


# ---- rules across fields ---------------------------------------------------------------------------------------------


def _geo_location(it: Any) -> Problems:
    if not LATITUDE.fullmatch(it["latitude"]):
        yield f"latitude {it['latitude']} has not 5 to 7 decimals (TY-15)"
    if not LONGITUDE.fullmatch(it["longitude"]):
        yield f"longitude {it['longitude']} has not 5 to 7 decimals (TY-15)"


def _six_decimals(it: Any) -> Problems:
    for name in ("latitude", "longitude"):
        if len(it[name].partition(".")[2]) != 6:
            yield f"{name} {it[name]} has not 6 decimals (V1-17)"


def _location(it: Any) -> Problems:
    if not re.fullmatch(r"[A-Z]{3}", it["country"]):
        yield "country is no alpha-3 code (LO-20)"
    if it["publish"] and it.get("publish_allowed_to"):
        yield "publish_allowed_to with publish (LO-26)"
    if not _is_time_zone(it["time_zone"]):
        yield f"time_zone {it['time_zone']} is no IANA zone (LO-23)"
    if any(parse_time(evse["last_updated"]) > parse_time(it["last_updated"]) for evse in it.get("evses", ())):
        yield "an EVSE is newer than its Location (LO-04)"


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _evse(it: Any) -> Problems:
    if any(parse_time(connector["last_updated"]) > parse_time(it["last_updated"]) for connector in it["connectors"]):
        yield "a Connector is newer than its EVSE (LO-04)"


def _hours(it: Any) -> Problems:
    if it["twentyfourseven"] is bool(it.get("regular_hours")):
        yield "regular_hours and twentyfourseven exclude each other (LO-70)"


def _regular_hours(it: Any) -> Problems:
    begin, end = it["period_begin"], it["period_end"]
    if not (HOUR_MINUTE.fullmatch(begin) and HOUR_MINUTE.fullmatch(end) and begin < end and 1 <= it["weekday"] <= 7):
        yield f"weekday {it['weekday']} {begin}-{end} is no period of one day (LO-72)"


def _session(it: Any) -> Problems:
    if it["status"] == "COMPLETED" and "end_date_time" not in it:
        yield "COMPLETED without end_date_time (SE-24)"
    yield from _in_order(it.get("charging_periods", ()))


def _cdr(it: Any) -> Problems:
    periods = it["charging_periods"]
    yield from _in_order(periods)
    if parse_time(periods[0]["start_date_time"]) != parse_time(it["start_date_time"]):
        yield "the first period does not begin with the CDR (CD-17)"
    if parse_time(it["end_date_time"]) < parse_time(periods[-1]["start_date_time"]):
        yield "the last period begins after the CDR's end (CD-17)"
    volumes: dict[str, list[Decimal]] = {}
    for dimension in (entry for period in periods for entry in period["dimensions"]):
        volumes.setdefault(dimension["type"], []).append(Decimal(dimension["volume"]))
    for name in SESSION_ONLY & volumes.keys():
        yield f"{name} has no place in a CDR (SE-21)"
    for total, names in SUMS.items():
        addends = [volume for name in names for volume in volumes.get(name, ())]
        stated = it.get(total)
        if stated is not None and abs(sum(addends, Decimal(0)) - stated) > ROUNDING * (len(addends) + 1):
            yield f"{total} {stated} is not the sum of its periods {sum(addends)} (CD-18)"
    known = {tariff["id"].casefold() for tariff in it.get("tariffs", ())}
    for unknown in {period["tariff_id"] for period in periods if "tariff_id" in period}:
        if unknown.casefold() not in known:
            yield f"tariff {unknown} of a period is not in tariffs (CD-20)"
    if it.get("credit", False) is not ("credit_reference_id" in it):
        yield "credit and credit_reference_id belong together (CD-07)"


def _cdr_211(it: Any) -> Problems:
    yield from _in_order(it["charging_periods"])
    if parse_time(it["stop_date_time"]) < parse_time(it["charging_periods"][-1]["start_date_time"]):
        yield "the last period begins after the CDR's end (CD-17)"


SUMS = {
    "total_energy": ("ENERGY",),
    "total_time": ("TIME", "PARKING_TIME", "RESERVATION_TIME"),
    "total_parking_time": ("PARKING_TIME",),
}


def _in_order(periods: Any) -> Problems:
    starts = [parse_time(period["start_date_time"]) for period in periods]
    if starts != sorted(starts):
        yield "charging_periods are not in the order of time (CD-17)"


RULES: dict[str, Callable[[Any], Problems]] = {
    "GeoLocation": _geo_location,
    "Location": _location,
    "EVSE": _evse,
    "Hours": _hours,
    "RegularHours": _regular_hours,
    "Session": _session,
    "CDR": _cdr,
}
RULES_211: dict[str, Callable[[Any], Problems]] = {
    "GeoLocation": _six_decimals,
    "EVSE": _evse,
    "RegularHours": _regular_hours,
    "CDR": _cdr_211,
}
