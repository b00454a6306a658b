"""A session begins with the tariff of who pays it, and stays on it; a tariff that comes or goes by its dates is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms import tariff_changes
from csms.billing.charge_records import bill
from csms.billing.choice import Payer
from csms.database import Database
from csms.import_network import import_network
from csms.journal import Subscriber, Wake
from csms.models import ChargeRecord, Connector, Evse, JournalEntry, Location, Tariff, Transaction
from csms.tariff_changes import TariffInUse, UnknownTariff, come_and_go, remove
from tests.csms.core_story import NOON, Story, told

PARTNERS = {7: Payer(name="TNM", parties=frozenset({"DE*TNM"})), 8: Payer(name="Other")}
only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def energy(price: str) -> list[dict[str, Any]]:
    return [{"price_components": [{"type": "ENERGY", "price": price, "vat": "20.0", "step_size": 1}]}]


def on_connectors(story: Story, *tariff_ids: str) -> None:
    with story.database.write() as connection:
        connection.execute(update(Connector).values(tariff_ids=list(tariff_ids)))


def facts(story: Story, since: int = 0) -> list[tuple[str, str]]:
    wanted = ("tariff_changed", "location_changed")
    rows = sorted(story.rows(JournalEntry, JournalEntry.type.in_(wanted)), key=lambda row: row.id)
    return [(row.type, row.subject) for row in rows][since:]


def turn(story: Story) -> list[str]:
    with story.database.write() as connection:
        return [fact.type.value for fact in come_and_go(connection, story.now)]


async def test_each_session_begins_with_the_tariff_of_who_pays_it(database: Database) -> None:  # TA-06, TA-12
    async with told(database, payers=lambda connection, owners: {id_: PARTNERS[id_] for id_ in owners}) as story:
        story.site("CP1", "CP2", "CP3")
        story.tariff(energy("0.30"), id="contract", details={"partners": ["DE*TNM"]})
        story.tariff(energy("0.60"), id="public", type="REGULAR")
        on_connectors(story, "contract", "public")
        story.card("04AA", owner_id=7, country_code="DE", party_id="TNM")
        story.card("04BB", owner_id=8, country_code="FR", party_id="OTH")
        story.card("04CC")
        for station, uid in (("CP1", "04AA"), ("CP2", "04BB"), ("CP3", "04CC")):
            await story.boot(station)
            await story.start(station_id=station, id_token=uid)
        begun = {row.owner_id: row.snapshot["tariff"]["tariff_id"] for row in story.rows(Transaction)}
        assert begun == {7: "contract", 8: "public", 0: "public"}


async def test_a_session_stays_on_the_version_it_began_with(database: Database) -> None:  # TA-18
    async with told(database) as story:
        story.site("CP1")
        story.card()
        words = {"id": "standard-ac", "currency": "EUR"}
        now = {"default_party": ("BE", "BEC"), "operator_name": "Example"}
        with database.write() as connection:
            import_network(connection, {"tariffs": [{**words, "elements": energy("0.25")}]}, **now, now=story.now)
        (old,) = story.rows(Tariff)
        await story.boot()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=10)
        with database.write() as connection:
            import_network(connection, {"tariffs": [{**words, "elements": energy("9")}]}, **now, now=story.now)
        kept, new = sorted(story.rows(Tariff), key=lambda row: row.version)
        assert (kept.elements, kept.last_updated, kept.current) == (old.elements, old.last_updated, False)
        story.pass_time(minutes=10)
        await story.end(number, 2_000_000)
        Subscriber("billing", database, bill, wake=Wake()).catch_up()
        (record,) = story.rows(ChargeRecord)
        assert (record.tariff_row, record.total_excl_vat) == (kept.id, story.transaction().energy_mwh * 25 / 10**8)
        assert new.version == 2


@pytest.mark.parametrize(("minutes", "version"), [(-1, 1), (0, 1), (2, 1), (3, 2), (5, 2), (6, 3), (8, 3)])
async def test_a_start_told_late_begins_with_the_version_of_its_time(
    database: Database, minutes: int, version: int
) -> None:  # TA-18, CD-13, E02
    async with told(database) as story:
        story.site("CP1")
        story.card()
        for number, after in ((1, 0), (2, 3), (3, 6)):
            since = NOON + timedelta(minutes=after)
            story.tariff(energy(f"0.{number}"), version=number, current=number == 3, last_updated=since)
        await story.boot()
        story.now = NOON + timedelta(minutes=8)
        await story.start(at=NOON + timedelta(minutes=minutes))
        assert story.transaction().snapshot["tariff"] == {"tariff_id": "standard-ac", "version": version}


async def test_old_and_new_stand_on_the_connector_and_switch_by_date(database: Database) -> None:  # TA-17
    switch = "2026-06-01T13:00:00Z"
    async with told(database) as story:
        story.site("CP1")
        story.tariff(id="old", details={"end_date_time": switch})
        story.tariff(id="new", details={"start_date_time": switch})
        story.tariff(id="always")
        on_connectors(story, "old", "new")
        story.card()
        assert turn(story) == ["tariff_changed", "tariff_changed"]  # first looked at
        assert turn(story) == []
        story.now = datetime(2026, 6, 1, 13, tzinfo=UTC)
        assert turn(story) == ["location_changed", "tariff_changed", "tariff_changed"]
        (site,) = story.rows(Location)
        assert {row.last_updated for row in (*story.rows(Evse), *story.rows(Connector), site)} == {story.now}
        assert {row.tariff_id: row.told for row in story.rows(Tariff)} == {
            "old": "over",
            "new": "in_force",
            "always": None,
        }
        assert {row.last_updated for row in story.rows(Tariff)} == {NOON}  # bills embed them as they were
        story.pass_time(hours=1)
        assert turn(story) == []
        await story.boot()
        await story.start()
        assert story.transaction().snapshot["tariff"]["tariff_id"] == "new"


@only_sqlite
async def test_what_comes_into_force_makes_its_sites_newer(database: Database) -> None:  # TA-17, LO-04
    async with told(database) as story:
        story.site("CP1")
        story.tariff(details={"start_date_time": "2026-06-01T13:00:00Z"}, told="awaited")
        assert turn(story) == []
        story.now = datetime(2026, 6, 1, 13, tzinfo=UTC)
        assert turn(story) == ["location_changed", "tariff_changed"]  # for who is told no tariff before its time
        assert story.rows(Location)[0].last_updated == story.now


async def test_a_tariff_that_is_for_others_now_makes_its_sites_newer(database: Database) -> None:  # TA-06, LO-04
    words = {"id": "standard-ac", "currency": "EUR", "elements": energy("0.25")}
    async with told(database) as story:
        story.site("CP1")
        options: dict[str, Any] = {"default_party": ("BE", "BEC"), "operator_name": "Example"}

        def take(**more: Any) -> list[tuple[str, str]]:
            seen = len(facts(story))
            story.pass_time(minutes=1)
            with database.write() as connection:
                import_network(connection, {"tariffs": [{**words, **more}]}, **options, now=story.now)
            return facts(story, seen)

        assert [type_ for type_, _ in take()] == ["tariff_changed"]
        assert [type_ for type_, _ in take(partners=["TNM"])] == ["tariff_changed", "location_changed"]
        assert story.rows(Location)[0].last_updated == story.now
        assert [type_ for type_, _ in take(partners=["TNM"], elements=energy("0.3"))] == ["tariff_changed"]
        assert [type_ for type_, _ in take(partners=["TNM"], elements=energy("0.3"))] == []
        over = take(end_date_time="2026-06-01T12:00:30Z")
        assert [type_ for type_, _ in over] == ["tariff_changed", "location_changed"]
        # Another kind or other dates change which of a connector's tariffs is shown there (LO-49).
        dated = take(end_date_time="2026-06-02T12:00:30Z")
        assert [type_ for type_, _ in dated] == ["tariff_changed", "location_changed"]
        assert [type_ for type_, _ in take(type="AD_HOC_PAYMENT")] == ["tariff_changed", "location_changed"]


async def test_a_tariff_is_removed_when_no_connector_names_it(database: Database) -> None:  # TA-03, TA-04
    async with told(database) as story:
        story.site("CP1")
        story.tariff()
        story.tariff(id="other")
        party = ("BE", "BEC")
        with database.write() as connection:
            with pytest.raises(TariffInUse) as refused:
                remove(connection, party, "Standard-AC", story.now)
            assert refused.value.args == ("CP1-1", "CP1-2")
            with pytest.raises(UnknownTariff):
                remove(connection, party, "nothing", story.now)
        on_connectors(story, "other")
        (before, _) = story.rows(Tariff)
        story.pass_time(hours=1)
        with database.write() as connection:
            (fact,) = remove(connection, party, "Standard-AC", story.now)
            gone = connection.execute(select(Tariff.id).where(Tariff.removed)).scalar_one()
            assert fact.subject == str(gone)
            with pytest.raises(UnknownTariff):
                remove(connection, party, "standard-ac", story.now)
            assert tariff_changes.touch_sites(connection, set(), story.now) == []
        assert story.rows(Tariff)[0].last_updated == before.last_updated  # bills embed it as it was (CD-06)
