"""Our own platform with one thing spoilt: the checker finds that, under the id of its rule, and nothing else."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from ocpi_bridge.checker.rules import RULES
from tests.ocpi_bridge.checker.surface import Spoiler, Told, checked, ids, our_surface, shown
from tests.ocpi_bridge.roaming_world import World

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

Spoil = Callable[[Told], None]
LATER = "2030-01-01T00:00:00Z"


def objects(module: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Every object of the module, in lists and alone; its parts alone are left as they are."""

    def spoil(told: Told) -> None:
        if told.lists(module):
            for entry in told.data:
                change(entry)
        elif re.search(f"/{module}/[^/]+$", told.path) and told.data:
            change(told.data)

    return spoil


def header(name: str, value: str | None, *, on: str = "/cpo/") -> Spoil:
    def spoil(told: Told) -> None:
        if on in told.path and (value is not None or name in told.headers):
            if value is None:
                del told.headers[name]
            else:
                told.headers[name] = value

    return spoil


def envelope(change: Callable[[dict[str, Any]], object], *, ending: str = "") -> Spoil:
    def spoil(told: Told) -> None:
        if told.authorized and told.path.endswith(ending) and told.status == 200 and told.body["status_code"] == 1000:
            change(told.body)

    return spoil


def status(code: int, *, when: Callable[[Told], bool]) -> Spoil:
    def spoil(told: Told) -> None:
        if when(told):
            told.status = code

    return spoil


def evses(change: Callable[[dict[str, Any]], object]) -> Spoil:
    return objects("locations", lambda location: [change(evse) for evse in location.get("evses", ())])


def connectors(change: Callable[[dict[str, Any]], object]) -> Spoil:
    return evses(lambda evse: [change(connector) for connector in evse["connectors"]])


def first_twice(told: Told) -> None:
    if told.lists("tariffs") and told.data and "limit" not in told.query and "date_from" not in told.query:
        told.data.append({**told.data[0], "id": told.data[0]["id"].swapcase()})
        told.headers["x-total-count"] = str(len(told.data))


def the_page_size(told: Told) -> None:
    if told.lists("tariffs") and told.query.get("limit") == "1":
        told.headers["x-total-count"] = str(len(told.data))


def no_link(told: Told) -> None:
    told.headers.pop("link", None)


def empty_link(told: Told) -> None:
    if told.lists("tariffs"):
        told.headers.setdefault("link", "")


def relative_link(told: Told) -> None:
    if "link" in told.headers:
        told.headers["link"] = "</next?limit=1&offset=1>; rel=next"


def forgetful_link(told: Told) -> None:
    if "link" in told.headers:
        told.headers["link"] = told.headers["link"].replace("date_from", "from")


def turning(told: Told) -> None:
    """Another order, asked a second time."""
    if told.lists("tariffs") and not told.query:
        turns = turning.__dict__
        turns["asked"] = turns.get("asked", 0) + 1
        if turns["asked"] % 2:
            told.data.reverse()


def newest_first(told: Told) -> None:
    if told.lists("tariffs") and len(told.data) > 1:
        told.data.reverse()


def another_alone(told: Told) -> None:
    if told.path.endswith("/locations/LOC1"):
        told.data["name"] = "Elsewhere"


def server_error(told: Told) -> None:
    if told.status == 404:
        told.status = 500


def one_role_twice(told: Told) -> None:
    if told.path.endswith("/credentials") and told.authorized:
        told.data["roles"] *= 2


def foreign_token(told: Told) -> None:
    if told.path.endswith("/credentials") and told.authorized:
        told.data["token"] = "another"


def kept(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda entry: entry.update({name: value})


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda entry: entry.pop(name, None)


def long(name: str, length: int) -> Callable[[dict[str, Any]], object]:
    return kept(name, "x" * length)


def period(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda entry: change(entry["charging_periods"][0])


# The id under which it is found, those that follow from it, and what is spoilt.
CASES: dict[str, tuple[tuple[str, ...], Spoil]] = {
    # ---- every answer ------------------------------------------------------------------------------------------------
    "no status_code": (("TR-13", "LO-01"), envelope(without("status_code"), ending="/locations/LOC1/CP001-1")),
    "status_code as text": (("TR-13", "LO-01"), envelope(kept("status_code", "1000"), ending="/LOC1/CP001-1")),
    "no timestamp": (("TR-13",), envelope(without("timestamp"))),
    "a timestamp of microseconds": (("TY-01",), envelope(kept("timestamp", "2026-03-04T12:00:00.123456Z"))),
    "a code of its own": (("TR-25",), envelope(kept("status_code", 1900))),
    "a list around one object": (
        ("TR-15", "CR-11"),
        envelope(lambda b: b.update(data=[b["data"]]), ending="credentials"),
    ),
    "no data": (("TR-15",), envelope(without("data"), ending="/locations/LOC1/CP001-1")),
    "request id not returned": (("ID-01",), header("x-request-id", None)),
    "another correlation id": (("ID-02",), header("x-correlation-id", "mine")),
    "routing headers on credentials": (("RT-02",), header("ocpi-to-party-id", "TNM", on="/credentials")),
    "routing headers not turned": (("RT-03",), header("ocpi-from-party-id", "TNM", on="/locations")),
    "403 to strangers": (("TR-07",), status(403, when=lambda told: told.status == 401)),
    "200 to an unknown object": (("TR-20",), status(200, when=lambda told: told.status == 404)),
    "500 to an unknown object": (("LO-02", "TR-19"), server_error),
    # ---- lists -------------------------------------------------------------------------------------------------------
    "no X-Total-Count": (("PG-05",), header("x-total-count", None)),
    "a wrong X-Total-Count": (("PG-05",), header("x-total-count", "7")),
    "the page size as X-Total-Count": (("PG-05",), the_page_size),
    "no X-Limit": (("PG-06",), header("x-limit", None)),
    "no next link": (("PG-07",), no_link),
    "an empty Link": (("PG-07",), empty_link),
    "a relative Link": (("PG-07", "PG-08"), relative_link),
    "a link without its filter": (("PG-08", "PG-07"), forgetful_link),
    "another page each time": (("PG-11", "PG-10", "PG-03", "PG-07"), turning),
    "an order that depends on the page": (("PG-10", "PG-03", "PG-07"), newest_first),
    "an object twice": (("TA-10", "PG-10"), first_twice),
    # ---- versions and credentials ------------------------------------------------------------------------------------
    "a version twice": (("VE-01",), envelope(lambda b: b["data"].append(b["data"][0]), ending="/versions")),
    "details of another version": (
        ("VE-02",),
        envelope(lambda b: b["data"].update(version="2.2"), ending="/ocpi/2.2.1"),
    ),
    "an endpoint without a role": (
        ("VE-02", "VE-06"),
        envelope(
            lambda b: b["data"]["endpoints"].append({"identifier": "x", "url": "https://x"}), ending="/ocpi/2.2.1"
        ),
    ),
    "no credentials": (
        ("VE-03",),
        envelope(
            lambda b: b["data"].update(
                endpoints=[e for e in b["data"]["endpoints"] if e["identifier"] != "credentials"]
            ),
            ending="/ocpi/2.2.1",
        ),
    ),
    "another token in credentials": (("CR-11",), foreign_token),
    "a role twice": (("CR-31",), one_role_twice),
    "a token with a space": (
        ("CR-30", "CR-11"),
        envelope(lambda b: b["data"].update(token="a b"), ending="/credentials"),
    ),
    # ---- fields ------------------------------------------------------------------------------------------------------
    "a location without a country": (("LO-20",), objects("locations", without("country"))),
    "an EVSE without connectors": (("LO-40", "LO-01"), evses(kept("connectors", []))),
    "a connector without its standard": (("LO-47", "LO-01"), connectors(without("standard"))),
    "a status of its own": (("TY-17", "LO-01"), evses(kept("status", "BUSY"))),
    "a city too long": (("TY-06",), objects("locations", long("city", 46))),
    "a country of two letters": (("LO-20",), objects("locations", kept("country", "BE"))),
    "an id that is not ASCII": (("TY-04", "LO-01"), evses(kept("evse_id", "BE*BEC*É1"))),
    "a name of two lines": (("TY-05",), objects("locations", kept("name", "one\ntwo"))),
    "an optional null": (("TY-10",), objects("locations", kept("directions", None))),
    "a time without its zone": (("TY-01",), objects("tariffs", kept("last_updated", "2026-03-04T12:00:00"))),
    "four decimals of latitude": (
        ("TY-15",),
        objects("locations", lambda entry: entry["coordinates"].update(latitude="51.0475")),
    ),
    "a voltage as text": (("TY-08", "LO-01"), connectors(kept("max_voltage", "230"))),
    "a relative URL": (("TY-12", "LO-01"), connectors(kept("terms_and_conditions", "/terms"))),
    "a field of its own": (("TY-16",), objects("locations", kept("colour", "blue"))),
    "a time zone that is none": (("LO-23",), objects("locations", kept("time_zone", "CET+1"))),
    "an EVSE newer than its location": (("LO-04", "LO-01"), evses(kept("last_updated", LATER))),
    "publish_allowed_to in public": (
        ("LO-26",),
        objects("locations", kept("publish_allowed_to", [{"uid": "A1", "type": "RFID"}])),
    ),
    "a tariff without elements": (("TA-10",), objects("tariffs", kept("elements", []))),
    "a component without a price": (
        ("TA-11",),
        objects("tariffs", lambda entry: entry["elements"][0]["price_components"][0].pop("price")),
    ),
    "a session without a token": (("SE-08",), objects("sessions", without("cdr_token"))),
    "a completed session without an end": (("SE-24",), objects("sessions", without("end_date_time"))),
    "energy in Wh": (("SE-18",), objects("sessions", period(kept("dimensions", [{"type": "ENERGY", "volume": 3200}])))),
    "a CDR without its location": (("CD-11",), objects("cdrs", without("cdr_location"))),
    "a CDR location without evse_id": (("CD-14",), objects("cdrs", lambda entry: entry["cdr_location"].pop("evse_id"))),
    "a sum that is none": (("CD-18",), objects("cdrs", kept("total_energy", 99))),
    "periods that begin later": (("CD-17",), objects("cdrs", period(kept("start_date_time", LATER)))),
    "a tariff that is not in the CDR": (("CD-20",), objects("cdrs", period(kept("tariff_id", "other")))),
    "a credit without its reference": (("CD-07",), objects("cdrs", kept("credit", True))),
    "a power in a CDR": (
        ("SE-21",),
        objects("cdrs", lambda e: e["charging_periods"][0]["dimensions"].append({"type": "POWER", "volume": 1})),
    ),
    # ---- between objects ---------------------------------------------------------------------------------------------
    "a tariff that nobody lists": (("TA-01", "LO-01"), connectors(kept("tariff_ids", ["gone"]))),
    "another price in the CDR": (("TC-28",), objects("cdrs", kept("total_cost", {"excl_vat": 9}))),
    "an object of another party": (("RT-11",), objects("locations", kept("party_id", "XXX"))),
    "an object alone is another": (("LO-01",), another_alone),
}


@only_sqlite
async def test_what_is_spoilt_is_found_under_its_id(world: World) -> None:
    spoiler = Spoiler()
    wrong = {}
    async with our_surface(world, spoiler) as url:
        for name, (due, spoil) in CASES.items():
            spoiler.answer = spoil
            report = await checked(world, url)
            found = ids(report)
            if due[0] not in found or not found <= set(due):
                wrong[name] = (due, shown(report))
    assert wrong == {}, "\n\n".join(f"{name}: {due}\n{told}" for name, (due, told) in wrong.items())


def ignoring(*names: str) -> Callable[[str, dict[str, str]], None]:
    def ask(path: str, query: dict[str, str]) -> None:
        for name in names:
            query.pop(name, None)
        if path.endswith("/sessions"):
            query.setdefault("date_from", "2000-01-01T00:00:00Z")

    return ask


@only_sqlite
@pytest.mark.parametrize(
    ("name", "due"),
    [("offset", "PG-03"), ("limit", "PG-04"), ("date_from", "PG-02"), ("date_to", "PG-02")],
)
async def test_a_parameter_that_is_ignored_is_found(world: World, name: str, due: str) -> None:  # XT-02
    async with our_surface(world, Spoiler(ask=ignoring(name))) as url:
        report = await checked(world, url)
    musts = {finding.id for finding in report.findings() if finding.level == "MUST"}
    assert due in musts, shown(report)
    assert musts <= {due, "PG-07", "PG-08"}, shown(report)


def test_every_case_and_finding_is_of_a_known_rule() -> None:
    assert {id for due, _ in CASES.values() for id in due} <= set(RULES)
