"""What no schema can say of a network file: what must be unique, exist, or agree with something else in it.

Every rule also survives a document that the schema refuses, so that an operator sees all mistakes at once.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from csms import clock
from csms.billing.choice import covers, outranks
from csms.countries import ALPHA_3
from csms.tokens import normalize

Document = Mapping[str, Any]
Party = tuple[str, str]
TariffKey = tuple[str, str, str]  # country_code, party_id, casefolded id
Found = Iterator[str]  # problems, as "place: sentence"

PREFERENCES = "CHARGING_PREFERENCES_CAPABLE"

DATED = re.compile(r"\d{4}-\d\d-\d\d")


def inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def party_of(item: Mapping[str, Any], default: Party) -> Party:
    given = item.get("party")
    if not isinstance(given, Mapping):
        return default
    return str(given.get("country_code")), str(given.get("party_id"))


def _each(parent: Mapping[str, Any], name: str, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    entries = parent.get(name)
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping):
            yield f"{inside(place, name)}[{number}]", entry


def _stations(document: Document) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for place, location in _each(document, "locations"):
        for station_place, station in _each(location, "stations", place):
            yield station_place, station, location


def _evses(document: Document) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for place, station, location in _stations(document):
        for evse_place, evse in _each(station, "evses", place):
            yield evse_place, evse, location


def _parties(document: Document, default: Party) -> Found:
    known = {default} | {party_of({"party": party}, default) for _, party in _each(document, "parties")}
    for name in ("tariffs", "locations", "tokens"):
        for place, item in _each(document, name):
            if (party := party_of(item, default)) not in known:
                yield f"{place}.party: {party[0]}-{party[1]} is neither the default party nor listed under parties"


def _repeats(document: Document, default: Party) -> Found:
    """What must be unique, without regard to case (LO-21)."""
    seen: list[tuple[str, str, tuple[Any, ...]]] = []
    for place, named in _each(document, "parties"):
        seen.append((place, "party", party_of({"party": named}, default)))
    for name in ("tariffs", "locations"):
        seen += [
            (f"{place}.id", name, (party_of(item, default), _key(item, "id"))) for place, item in _each(document, name)
        ]
    for place, station, _ in _stations(document):
        seen.append((f"{place}.id", "station", (station.get("id"),)))
        seen += [(f"{spot}.evse", "number", (place, evse.get("evse"))) for spot, evse in _each(station, "evses", place)]
    for place, evse, location in _evses(document):
        party = party_of(location, default)
        seen.append((f"{place}.uid", "evse", (party, _key(evse, "uid"))))
        if "evse_id" in evse:
            seen.append((f"{place}.evse_id", "evse_id", (_key(evse, "evse_id"),)))
        for spot, connector in _each(evse, "connectors", place):
            seen.append((f"{spot}.id", "connector", (place, _key(connector, "id"))))
    for place, token in _each(document, "tokens"):
        uid = normalize(str(token.get("uid", "")))
        seen.append((f"{place}.uid", "token", (party_of(token, default), uid, token.get("type", "RFID"))))
    first: dict[tuple[str, str], str] = {}
    for place, what, key in seen:
        if None not in key and (what, repr(key)) in first:
            yield f"{place}: is already used at {first[what, repr(key)]}"
        first.setdefault((what, repr(key)), place)


def _key(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value.casefold() if isinstance(value, str) else None


def tariffs_exist(document: Document, default: Party, known: Container[TariffKey]) -> Found:
    here = {(*party_of(tariff, default), _key(tariff, "id")) for _, tariff in _each(document, "tariffs")}
    for place, evse, location in _evses(document):
        party = party_of(location, default)
        for spot, connector in _each(evse, "connectors", place):
            wanted = connector.get("tariff_ids")
            for number, tariff_id in enumerate(wanted if isinstance(wanted, list) else ()):
                key = (*party, str(tariff_id).casefold())
                if key not in here and key not in known:
                    yield f"{spot}.tariff_ids[{number}]: there is no tariff {tariff_id} of {party[0]}-{party[1]}"


def tariffs_agree(document: Document, default: Party, known: Mapping[TariffKey, Any]) -> Found:
    """One tariff for a kind of session at a time (LO-49), and one for the wishes that are offered (LO-50). `known`: the rows
    of the tariffs that are there already."""
    here = {
        (*party_of(given, default), _key(given, "id")): _priced_by(given) for _, given in _each(document, "tariffs")
    }
    for place, evse, location in _evses(document):
        party = party_of(location, default)
        for spot, connector in _each(evse, "connectors", place):
            wanted = connector.get("tariff_ids")
            named: list[tuple[Any, Any]] = []
            for number, tariff_id in enumerate(wanted if isinstance(wanted, list) else ()):
                key = (*party, str(tariff_id).casefold())
                tariff = here.get(key) or known.get(key)
                if tariff is None:
                    continue
                rival = next((id_ for id_, first in named if outranks(first, tariff) and covers(first, tariff)), None)
                if rival is not None:
                    yield (
                        f"{spot}.tariff_ids[{number}]: nobody would pay by {tariff_id} while {rival} before it is in force; "
                        "name one of them, or give them dates that do not overlap"
                    )
                named.append((tariff_id, tariff))
            if _offers_wishes(evse) and not any(str(tariff.type).startswith("PROFILE_") for _, tariff in named):
                yield f"{spot}.tariff_ids: {PREFERENCES} needs one of type PROFILE_CHEAP, PROFILE_FAST or PROFILE_GREEN"


def _offers_wishes(evse: Mapping[str, Any]) -> bool:
    capabilities = evse.get("capabilities")
    return isinstance(capabilities, list) and PREFERENCES in capabilities


def _tariff_dates(document: Document, _: Party) -> Found:
    for place, given in _each(document, "tariffs"):
        begin, end = (clock.read(given.get(name)) for name in ("start_date_time", "end_date_time"))
        if begin is not None and end is not None and end <= begin:
            yield f"{place}.end_date_time: must be later than start_date_time"


def _priced_by(given: Mapping[str, Any]) -> Any:
    """As a tariff's row says it; without what the schema refuses."""
    partners = given.get("partners")
    named = isinstance(partners, list) and all(isinstance(partner, str) for partner in partners)
    dates = {name: given[name] for name in ("start_date_time", "end_date_time") if isinstance(given.get(name), str)}
    return SimpleNamespace(type=given.get("type"), details={"partners": partners, **dates} if named else dates)


def _places(document: Document, _: Party) -> Found:
    for place, location in _each(document, "locations"):
        country = location.get("country")
        if isinstance(country, str) and re.fullmatch("[A-Z]{3}", country) and country not in ALPHA_3:
            yield f"{place}.country: {country} is no country of ISO 3166 (three letters, such as BEL)"
        zone = location.get("time_zone")
        if isinstance(zone, str) and zone and not _is_zone(zone):
            yield f"{place}.time_zone: {zone!r} is no IANA time zone such as Europe/Brussels"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a relative path; a folder such as Europe
        return False
    return name not in ("localtime", "posixrules", "Factory")


def _hours(document: Document, _: Party) -> Found:
    for place, location in _each(document, "locations"):
        hours = location.get("opening_times")
        if not isinstance(hours, Mapping):
            continue
        spot = f"{place}.opening_times"
        regular = hours.get("regular_hours")
        if hours.get("twentyfourseven") is True and regular:
            yield f"{spot}.regular_hours: only where twentyfourseven is false"
        if hours.get("twentyfourseven") is False and not regular:
            yield f"{spot}.regular_hours: needs at least one entry, since twentyfourseven is false"
        for period_spot, period in _each(hours, "regular_hours", spot):
            begin, end = period.get("period_begin"), period.get("period_end")
            if isinstance(begin, str) and isinstance(end, str) and end <= begin:
                yield f"{period_spot}.period_end: must be later than period_begin; split at midnight into two days"


def _publication(document: Document, _: Party) -> Found:
    for place, location in _each(document, "locations"):
        if location.get("publish") is True and location.get("publish_allowed_to"):
            yield f"{place}.publish_allowed_to: only where publish is false"
        for spot, allowed in _each(location, "publish_allowed_to", place):
            if not allowed.keys() & {"uid", "visual_number", "group_id"}:
                yield f"{spot}: needs uid, visual_number or group_id"
            for name, other in (("uid", "type"), ("visual_number", "issuer")):
                if name in allowed and other not in allowed:
                    yield f"{spot}.{other}: is needed beside {name}"


MOMENTS = {"expires", "start_date_time", "end_date_time", "start_date", "end_date", "period_begin", "period_end"}


def _moments(document: Document, _: Party) -> Found:
    """Times and dates of the right shape that no calendar has."""
    yield from _moments_in(document, "")


def _moments_in(value: Any, place: str) -> Found:
    if isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _moments_in(entry, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            if isinstance(entry, Mapping | list):
                yield from _moments_in(entry, inside(place, name))
            elif name in MOMENTS and isinstance(entry, str) and DATED.match(entry) and not _is_moment(entry):
                yield f"{inside(place, name)}: {entry} is no moment of the calendar"


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _cards(document: Document, _: Party) -> Found:
    for place, token in _each(document, "tokens"):
        if isinstance(token.get("uid"), str) and not normalize(token["uid"]):
            yield f"{place}.uid: has nothing printable in it"


RULES: tuple[Callable[[Document, Party], Found], ...] = (
    _parties,
    _repeats,
    _places,
    _hours,
    _tariff_dates,
    _publication,
    _moments,
    _cards,
)
