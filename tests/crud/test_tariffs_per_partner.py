"""What each partner reads of tariffs: those that it pays, and on connectors their ids alone."""

from datetime import timedelta
from typing import Any

import pytest

from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.payers import payer
from crud.tariffs import TariffsCrud
from csms.billing.choice import Payer
from tests.adapters.rows import NOON, connector, evse, location, station, tariff
from tests.crud.network import ALL, OTHER, TNM, add, asked_by, partners

TARIFFS = {  # id: who it is for, and what else it says; none of it is told but the dates
    "for-tnm": {"partners": ["DE*TNM"]},
    "for-other": {"partners": ["other"]},
    "own-cards": {"partners": []},
    "over": {"end_date_time": "2026-03-01T00:00:00Z"},
    "awaited": {"start_date_time": "2027-01-01T00:00:00Z"},
    "public": {},
}


def priced_site(database: Any, *connectors: list[str]) -> None:
    told = {"over": "over", "awaited": "awaited"}
    versions = [
        tariff(
            id=number,
            tariff_id=name,
            tariff_key=name,
            details=details,
            told=told.get(name),
            created_at=NOON + timedelta(minutes=number),
        )
        for number, (name, details) in enumerate(TARIFFS.items(), 1)
    ]
    plugs = [
        row
        for number, ids in enumerate(connectors, 1)
        for row in (evse(number), connector(number, id=number, tariff_ids=ids))
    ]
    add(database, *partners(), location(), station(), *versions, *plugs)


def plugs_of(body: Any) -> list[list[str] | None]:
    return [plug.get("tariff_ids") for each in body["evses"] for plug in each["connectors"]]


@pytest.mark.parametrize(
    ("caller", "seen"), [(TNM, ["for-tnm", "awaited", "public"]), (OTHER, ["for-other", "awaited", "public"])]
)
async def test_a_partner_lists_the_tariffs_that_it_pays(database: Any, caller: Any, seen: list[str]) -> None:  # TA-06
    priced_site(database)
    crud = TariffsCrud(database)
    with asked_by(caller):
        listed, total, last = await crud.list(ALL)
        page, of_all, _ = await crud.list(ALL | {"offset": 1, "limit": 1})
    assert ([each.dict()["id"] for each in listed], total, last) == (seen, 3, True)
    assert ([each.dict()["id"] for each in page], of_all) == (seen[1:2], 3)
    assert not any("partners" in each.dict() for each in listed)
    with database.read() as connection:
        shown = CurrentState(locations=None, sessions=None, cdrs=None, tariffs=crud)  # type: ignore[arg-type]
        pushed = [shown(connection, "tariffs", str(row), caller.partner_id) for row in range(1, len(TARIFFS) + 1)]
    assert [each["id"] for each in pushed if each is not None] == seen


async def test_connectors_name_the_tariffs_that_their_reader_pays(database: Any) -> None:  # LO-33, LO-49, TA-06
    priced_site(
        database,
        ["for-tnm", "public"],
        ["for-other", "over"],
        ["own-cards", "for-other", "for-tnm", "public"],
        ["over", "own-cards"],
    )
    crud = LocationsCrud(database)
    bodies = {}
    for caller in (TNM, OTHER):
        with asked_by(caller):
            got, (listed,) = await crud.get("LOC1"), (await crud.list(ALL))[0]
        assert got is not None
        with database.read() as connection:
            shown = CurrentState(locations=crud, sessions=None, cdrs=None, tariffs=None)  # type: ignore[arg-type]
            pushed = shown(connection, "locations", "1", caller.partner_id)
            part = shown(connection, "evses", "1", caller.partner_id)
        assert got.dict() == listed.dict() == pushed  # PU-13: whichever way it is read
        assert part == got.dict()["evses"][0]
        bodies[caller.name] = got.dict()
    assert plugs_of(bodies["tnm"]) == [["for-tnm"], None, ["for-tnm"], None]
    assert plugs_of(bodies["other"]) == [["public"], ["for-other"], ["for-other"], None]
    without = [{**body, "evses": [{**each, "connectors": []} for each in body["evses"]]} for body in bodies.values()]
    assert without[0] == without[1]


async def test_partners_who_pay_the_same_share_what_was_rendered(database: Any) -> None:
    priced_site(database, ["public"])
    crud = LocationsCrud(database)
    with database.read() as connection:
        one, same, other = (
            crud.current(connection, 1, Payer(name=name, parties=frozenset({party})))
            for name, party in (("a", "DE*TNM"), ("b", "de*tnm"), ("c", "FR*OTH"))
        )
    assert one is same
    assert one is not other


def test_a_partner_is_known_by_its_name_and_its_parties() -> None:
    roles = [{"country_code": "DE", "party_id": "TNM", "role": "EMSP"}, {"country_code": "NL", "party_id": "TNM"}]
    assert payer("tnm", roles) == Payer(name="tnm", parties=frozenset({"DE*TNM", "NL*TNM"}))
