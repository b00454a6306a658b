"""Each partner is told the tariffs that it pays, when they come, change and end; of those of others it hears nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import groupby
from typing import Any

import pytest

from csms import tariff_changes
from csms.database import Database
from csms.import_network import import_network
from csms.journal import append
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.push import resync
from tests.ocpi_bridge.roaming_world import World, until, world_of

TNM, OTH = ("DE", "TNM"), ("FR", "OTH")
HERE = "BE/BEC"
AT_THE_CONNECTOR = "PATCH locations LOC1/CP001-1/1"  # LO-06
only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def tariff(id_: str, price: str = "0.25", **words: Any) -> dict[str, Any]:
    elements = [{"price_components": [{"type": "ENERGY", "price": price, "vat": "20.0", "step_size": 1}]}]
    return {"id": id_, "currency": "EUR", "type": "REGULAR", "elements": elements, **words}


def site(*tariff_ids: str) -> dict[str, Any]:
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "CABLE",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "tariff_ids": list(tariff_ids),
    }
    return {
        "id": "LOC1",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "time_zone": "Europe/Brussels",
        "publish": True,
        "stations": [{"id": "CP001", "evses": [{"evse": 1, "uid": "CP001-1", "connectors": [connector]}]}],
    }


class Network:
    """An operator's file and the two partners that it is told to."""

    def __init__(self, world: World, tnm: EmspSimulator, oth: EmspSimulator) -> None:
        self.world, self.tnm, self.oth = world, tnm, oth
        self._read: dict[str, int] = {}

    def imports(self, *tariffs: dict[str, Any], locations: list[dict[str, Any]] | None = None) -> None:
        document = {"tariffs": list(tariffs)} | ({} if locations is None else {"locations": locations})
        self.world.clock.advance(minutes=1)
        with self.world.database.write() as connection:
            import_network(
                connection, document, default_party=("BE", "BEC"), operator_name="Example", now=self.world.clock()
            )
        self.world.heard()

    def watches(self) -> None:
        """As the service does every few seconds."""
        with self.world.database.write() as connection:
            now = self.world.clock()
            append(connection, tariff_changes.come_and_go(connection, now), now=now)
        self.world.heard()

    def greets(self, partner_id: int) -> None:
        with self.world.database.write() as connection:
            resync(connection, partner_id, self.world.clock())

    async def told(self) -> tuple[list[str], list[str]]:
        """What TNM and the other got since the last time, as method and place, once nothing is due any more."""
        await self.world.all_told(pass_time=True)
        return self._news(self.tnm), self._news(self.oth)

    def _news(self, emsp: EmspSimulator) -> list[str]:
        name = emsp.party[1]
        seen, self._read[name] = self._read.get(name, 0), len(emsp.requests)
        calls = [(request.method, request.path.partition("/2.2.1/")[2]) for request in emsp.requests[seen:]]
        told = [f"{method} {path.replace(f'/{HERE}/', ' ')}" for method, path in calls]
        alike = groupby(told, key=lambda call: call.rpartition(" ")[0])  # tariffs go several at a time
        return [call for _, calls_ in alike for call in sorted(calls_)]


def named(emsp: EmspSimulator) -> Any:
    return emsp.locations["LOC1"]["evses"][0]["connectors"][0].get("tariff_ids")


@pytest.fixture
async def network(database: Database) -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_of(database))
        tnm = await stack.enter_async_context(EmspSimulator(party=TNM, strict=True))
        oth = await stack.enter_async_context(EmspSimulator(party=OTH, strict=True))
        world.trust(tnm, "tnm")
        world.trust(oth, "oth")
        await stack.enter_async_context(world.delivering())
        yield Network(world, tnm, oth)
        assert (tnm.complaints, oth.complaints) == ([], [])


async def test_each_partner_is_told_what_it_pays_and_sees_it_on_the_connector(network: Network) -> None:
    contract = tariff("contract", partners=["DE*TNM"])  # TA-06, LO-33
    network.imports(
        contract, tariff("public"), tariff("own", partners=[]), locations=[site("contract", "own", "public")]
    )
    seen = await network.told()
    assert seen == (
        ["PUT tariffs contract", "PUT tariffs public", "PUT locations LOC1"],  # TA-05
        ["PUT tariffs public", "PUT locations LOC1"],
    )
    assert (named(network.tnm), named(network.oth)) == (["contract"], ["public"])  # LO-49
    network.imports(tariff("contract", "0.20", partners=["DE*TNM"]))
    assert await network.told() == (["PUT tariffs contract"], [])
    assert "partners" not in network.tnm.tariffs["contract"]


async def test_a_tariff_that_ends_is_taken_back_at_its_time(network: Network) -> None:  # TA-04, TA-17
    noon = network.world.clock.now.replace(microsecond=0)
    switch = noon.replace(hour=18).isoformat().replace("+00:00", "Z")
    old, new = tariff("old", end_date_time=switch), tariff("new", "0.30", start_date_time=switch)
    network.imports(old, new, locations=[site("old", "new")])
    first = ["PUT tariffs new", "PUT tariffs old", "PUT locations LOC1"]
    assert await network.told() == (first, first)
    assert named(network.tnm) == ["old", "new"]
    network.watches()
    assert await network.told() == ([], [])
    network.world.clock.advance(hours=7)
    network.watches()
    then = [AT_THE_CONNECTOR, "DELETE tariffs old"]  # first nobody names it any more
    assert await network.told() == (then, then)
    assert named(network.oth) == ["new"]
    network.watches()
    assert await network.told() == ([], [])


async def test_a_tariff_passes_from_one_partner_to_the_other(network: Network) -> None:  # TA-06, LO-33
    network.imports(tariff("deal", partners=["tnm"]), locations=[site("deal")])
    assert await network.told() == (["PUT tariffs deal", "PUT locations LOC1"], ["PUT locations LOC1"])
    assert (named(network.tnm), named(network.oth)) == (["deal"], None)
    network.imports(tariff("deal", partners=["oth"]))
    assert await network.told() == (
        ["PUT locations LOC1", "DELETE tariffs deal"],  # a field is gone, which no PATCH can say (PU-06)
        ["PUT tariffs deal", AT_THE_CONNECTOR],
    )
    assert (named(network.tnm), named(network.oth)) == (None, ["deal"])
    # Who was told that it is gone, or never knew it, hears nothing of its further life.
    network.imports(tariff("deal", "0.30", partners=["oth"]))
    assert await network.told() == ([], ["PUT tariffs deal"])


@only_sqlite
async def test_a_removed_tariff_is_taken_back_where_it_was_told(network: Network) -> None:  # TA-03
    network.imports(tariff("deal", partners=["tnm"]), tariff("public"), locations=[site("deal", "public")])
    await network.told()
    network.imports(locations=[site("public")])
    world = network.world
    with world.database.write() as connection:
        append(connection, tariff_changes.remove(connection, ("BE", "BEC"), "deal", world.clock()), now=world.clock())
    world.heard()
    assert await network.told() == ([AT_THE_CONNECTOR, "DELETE tariffs deal"], [AT_THE_CONNECTOR])


@only_sqlite
async def test_what_perhaps_arrived_is_taken_back_too(network: Network) -> None:  # TA-03
    network.tnm.fault("tariffs", Fault.LOST_ANSWER, times=1)
    network.imports(tariff("deal", partners=["tnm"]))
    tnm = network.world.partner("tnm").id
    await until(lambda: (row := network.world.delivery("tariffs", "1", tnm)) and row.attempts)
    network.imports(tariff("deal", partners=["oth"]))
    assert (await network.told())[0] == ["PUT tariffs deal", "DELETE tariffs deal"]
    assert dict(network.tnm.tariffs) == {}


@only_sqlite
async def test_who_registers_later_is_told_its_own(network: Network) -> None:  # PU-18, TA-06
    network.imports(tariff("deal", partners=["tnm"]), tariff("public"), locations=[site("deal", "public")])
    await network.told()
    async with EmspSimulator(party=("NL", "NEW"), strict=True) as late:
        network.greets(network.world.trust(late, "late"))
        await network.told()
        assert list(late.tariffs) == ["public"]
        assert named(late) == ["public"]
