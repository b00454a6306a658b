"""What no field table can say: rules between the fields of an object, and between objects of several lists."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocpi_bridge.checker.fields import Wrong, moment, wrongs
from ocpi_bridge.checker.report import short

Object = Mapping[str, Any]

SESSION_ONLY = {"CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE"}
SUMS = {
    "total_energy": ("ENERGY",),
    "total_time": ("TIME", "PARKING_TIME", "RESERVATION_TIME"),
    "total_parking_time": ("PARKING_TIME",),
}
ROUNDING = Decimal("0.0001")  # of each volume, so of a sum as often as it has addends
HOUR_MINUTE = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)


def judge(entry: Any, kind: str, version: str) -> Iterator[Wrong]:
    """By its table, then by its rules. A rule over fields that cannot be read is silent: the table has said so."""
    yield from wrongs(entry, kind, version)
    if isinstance(entry, dict) and kind in RULES:
        try:
            yield from list(RULES[kind](entry))
        except UNREADABLE:
            return


def _location(it: Object) -> Iterator[Wrong]:
    if not re.fullmatch(r"[A-Z]{3}", it["country"]):
        yield Wrong("LO-20", ".country", f"{short(it['country'])} is not alpha-3")
    if it.get("publish") and it.get("publish_allowed_to"):
        yield Wrong("LO-26", ".publish_allowed_to", "given although publish is true")
    for number, allowed in enumerate(it.get("publish_allowed_to") or ()):
        named = {name for name in ("uid", "type", "visual_number", "issuer", "group_id") if allowed.get(name)}
        if not named & {"uid", "visual_number", "group_id"} or any(
            one in named and other not in named for one, other in (("uid", "type"), ("visual_number", "issuer"))
        ):
            yield Wrong("LO-27", f".publish_allowed_to[{number}]", ", ".join(sorted(named)) or "nothing")
    if it.get("time_zone") and not _is_zone(it["time_zone"]):
        yield Wrong("LO-23", ".time_zone", short(it["time_zone"]))
    yield from _hours(it.get("opening_times") or {})
    sources = (it.get("energy_mix") or {}).get("energy_sources")
    if sources and abs(sum((Decimal(source["percentage"]) for source in sources), Decimal(-100))) > Decimal("0.1"):
        yield Wrong("LO-52", ".energy_mix.energy_sources", "percentages that are not 100 together")
    seen: set[str] = set()
    for number, evse in enumerate(it.get("evses") or ()):
        yield from _newer(it, evse, f".evses[{number}]")
        if evse["uid"].casefold() in seen:
            yield Wrong("LO-21", f".evses[{number}].uid", f"{short(evse['uid'])} twice in one Location")
        seen.add(evse["uid"].casefold())
        ids = [connector["id"].casefold() for connector in evse["connectors"]]
        if len(ids) > len(set(ids)):
            yield Wrong("LO-21", f".evses[{number}].connectors", "one id twice in one EVSE")
        for place, connector in enumerate(evse["connectors"]):
            yield from _newer(evse, connector, f".evses[{number}].connectors[{place}]")


def _newer(parent: Object, child: Object, at: str) -> Iterator[Wrong]:
    above, below = moment(parent["last_updated"]), moment(child["last_updated"])
    if above and below and below > above:
        yield Wrong("LO-04", f"{at}.last_updated", f"{child['last_updated']}, above it {parent['last_updated']}")


def _hours(it: Object) -> Iterator[Wrong]:
    if not it:
        return
    regular = it.get("regular_hours")
    if bool(it.get("twentyfourseven")) is bool(regular):
        both = "both" if regular else "neither"
        if regular or not (it.get("exceptional_openings") or "twentyfourseven" in it):
            yield Wrong("LO-70", ".opening_times", f"{both} of regular_hours and twentyfourseven")
    for number, hours in enumerate(regular or ()):
        at = f".opening_times.regular_hours[{number}]"
        begin, end = hours["period_begin"], hours["period_end"]
        if not (HOUR_MINUTE.fullmatch(begin) and HOUR_MINUTE.fullmatch(end) and 1 <= hours["weekday"] <= 7):
            yield Wrong("LO-71", at, f"weekday {hours['weekday']} {begin}-{end}")
        elif end <= begin:
            yield Wrong("LO-72", at, f"{begin}-{end}")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _session(it: Object) -> Iterator[Wrong]:
    if it["status"] == "COMPLETED" and not (it.get("end_date_time") or it.get("end_datetime")):
        yield Wrong("SE-24", ".end_date_time", "missing in a COMPLETED session")
    periods = it.get("charging_periods") or ()
    yield from _in_order(periods)
    volumes = _volumes(periods).get("ENERGY", [])
    if sum(volumes, Decimal(0)) > Decimal(it["kwh"]) + ROUNDING * (len(volumes) + 1):
        yield Wrong("SE-18", ".kwh", f"{it['kwh']}, its periods {sum(volumes)}")


def _cdr(it: Object) -> Iterator[Wrong]:
    periods = it["charging_periods"]
    yield from _in_order(periods)
    start, end = moment(it["start_date_time"]), moment(it.get("end_date_time") or it.get("stop_date_time"))
    first, last = moment(periods[0]["start_date_time"]), moment(periods[-1]["start_date_time"])
    if first and start and first != start:
        yield Wrong("CD-17", ".charging_periods[0]", f"begins {periods[0]['start_date_time']}, not with the CDR")
    if last and end and last > end:
        yield Wrong("CD-17", ".charging_periods", "the last begins after the CDR's end")
    volumes = _volumes(periods)
    for name in sorted(SESSION_ONLY & volumes.keys()):
        yield Wrong("SE-21", ".charging_periods", f"a dimension {name}")
    for total, names in SUMS.items():
        addends = [volume for name in names for volume in volumes.get(name, ())]
        stated = it.get(total)
        if stated is not None and abs(sum(addends, Decimal(0)) - Decimal(stated)) > ROUNDING * (len(addends) + 1):
            yield Wrong("CD-18", f".{total}", f"{stated}, its periods {sum(addends, Decimal(0))}")
    known = {tariff["id"].casefold() for tariff in it.get("tariffs") or ()}
    for number, period in enumerate(periods):
        if period.get("tariff_id") and period["tariff_id"].casefold() not in known:
            yield Wrong("CD-20", f".charging_periods[{number}].tariff_id", short(period["tariff_id"]))
    if bool(it.get("credit")) is not bool(it.get("credit_reference_id")):
        yield Wrong("CD-07", ".credit", "one of credit and credit_reference_id without the other")


def _volumes(periods: Sequence[Object]) -> dict[str, list[Decimal]]:
    volumes: dict[str, list[Decimal]] = {}
    for period in periods:
        for dimension in period["dimensions"]:
            volumes.setdefault(dimension["type"], []).append(Decimal(dimension["volume"]))
    return volumes


def _in_order(periods: Sequence[Object]) -> Iterator[Wrong]:
    starts = [start for period in periods if (start := moment(period["start_date_time"]))]
    if starts != sorted(starts):
        yield Wrong("CD-17", ".charging_periods", "not in the order of time")


def _credentials(it: Object) -> Iterator[Wrong]:
    if not re.fullmatch(r"[\x21-\x7e]{1,64}", it["token"]):
        yield Wrong("CR-30", ".token", f"{len(it['token'])} characters, or some that do not print")
    roles = [
        (role["role"], role["country_code"].casefold(), role["party_id"].casefold()) for role in it.get("roles") or ()
    ]
    if len(roles) > len(set(roles)):
        yield Wrong("CR-31", ".roles", "a role twice")


RULES: dict[str, Callable[[Object], Iterator[Wrong]]] = {
    "Location": _location,
    "Session": _session,
    "CDR": _cdr,
    "Credentials": _credentials,
}


# ---- between lists ---------------------------------------------------------------------------------------------------


def identity(entry: Object, module: str) -> tuple[str, ...] | None:
    """What no other entry of a list may share; None when it cannot be read."""
    names = {
        "tokens": ("country_code", "party_id", "uid", "type"),
        "hubclientinfo": ("country_code", "party_id", "role"),
    }.get(module, ("country_code", "party_id", "id"))
    values = [entry.get(name, "") for name in names]
    if not all(isinstance(value, str) for value in values) or not any(values[2:]):
        return None
    return tuple(value.casefold() for value in values)


def name_of(entry: Any) -> str:
    """How an object is called in a report; a token's uid is somebody's card and is cut."""
    if not isinstance(entry, Mapping):
        return "?"
    if "uid" in entry and "whitelist" in entry:
        return f"{str(entry['uid'])[:4]}..."
    return str(entry.get("id", "?"))


def across(lists: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str, str, str]]:
    """(id, module, object, what was seen) of what one list says of another, for lists that were read to their end."""
    if "locations" in lists and "tariffs" in lists:
        known = {str(tariff.get("id")).casefold() for tariff in _objects(lists["tariffs"])}
        for location in _objects(lists["locations"]):
            for evse in _objects(location.get("evses")):
                for connector in _objects(evse.get("connectors")):
                    told = connector.get("tariff_ids") or [connector.get("tariff_id")]
                    for tariff in told if isinstance(told, list) else []:
                        if tariff and str(tariff).casefold() not in known:
                            yield "TA-01", "locations", name_of(location), f"tariff {short(tariff)} is not listed"
    if "sessions" in lists and "cdrs" in lists:
        sessions = {str(session.get("id")).casefold(): session for session in _objects(lists["sessions"])}
        bills = Counter(str(cdr.get("session_id")).casefold() for cdr in _objects(lists["cdrs"]))
        for cdr in _objects(lists["cdrs"]):
            if bills[str(cdr.get("session_id")).casefold()] > 1:  # corrected by a credit and a new one (CD-08)
                continue
            session = sessions.get(str(cdr.get("session_id")).casefold())
            if session is None or cdr.get("credit") or session.get("status") != "COMPLETED":
                continue
            one, other = session.get("total_cost"), cdr.get("total_cost")
            if one is not None and other is not None and one != other:
                yield "TC-28", "cdrs", name_of(cdr), "another total_cost than its session"


def _objects(value: Any) -> list[Object]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
