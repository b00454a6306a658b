"""What a connector's status does to its EVSE and site, in whatever order it arrives."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from csms import meanings
from csms.availability import AVAILABILITY, Availability
from csms.database import Database
from csms.events import ConnectorStatus
from csms.locations import availability
from csms.models import Evse, JournalEntry, Location, Station
from tests.csms.core_story import NOON, Story, told

AVAILABLE, PREPARING, CHARGING = ConnectorStatus.AVAILABLE, ConnectorStatus.PREPARING, ConnectorStatus.CHARGING


def evse(story: Story, number: int = 1) -> Any:
    (row,) = story.rows(Evse, Evse.evse == number)
    return row


def site(story: Story) -> Any:
    (row,) = story.rows(Location)
    return row


def test_each_state_of_the_charger_has_its_meaning_for_the_driver() -> None:  # C03
    assert set(AVAILABILITY) == set(ConnectorStatus)
    for status, meaning in AVAILABILITY.items():
        row = SimpleNamespace(removed=False, status=status.value)
        assert availability(row, station_offline=False) is meaning
        assert availability(row, station_offline=True) is Availability.UNKNOWN
    assert availability(SimpleNamespace(removed=True, status="charging"), station_offline=True) is Availability.REMOVED
    assert availability(SimpleNamespace(removed=False, status=None), station_offline=False) is Availability.UNKNOWN


@pytest.mark.parametrize("status", ConnectorStatus)
async def test_every_state_is_kept_with_its_errors(database: Database, status: ConnectorStatus) -> None:  # C03
    async with told(database) as story:
        story.site("CP1")
        await story.status(status, error_code="GroundFailure", vendor_error_code="E-17")
        row = evse(story)
        assert (row.status, row.error_code, row.vendor_error_code) == (status.value, "GroundFailure", "E-17")
        assert row.status_at == NOON
        (fact,) = story.rows(JournalEntry)
        told_at = {"at": NOON.isoformat(), "received_at": NOON.isoformat(), "claimed_at": NOON.isoformat()}
        assert (fact.type, fact.subject, fact.data) == ("evse_status", str(row.id), {"status": status.value, **told_at})


async def test_a_status_that_comes_late_does_not_go_back_in_time(database: Database) -> None:  # C03
    async with told(database) as story:
        story.site("CP1")
        story.pass_time(minutes=2)
        await story.status(CHARGING, at=NOON + timedelta(minutes=1))
        await story.status(PREPARING, at=NOON)
        assert (evse(story).status, evse(story).status_at) == ("charging", NOON + timedelta(minutes=1))
        late = story.rows(JournalEntry)[-1]
        assert (late.data["status"], late.data["at"]) == ("preparing", NOON.isoformat())
        assert late.data["then"] == {"status": "charging", "at": (NOON + timedelta(minutes=1)).isoformat()}


async def test_a_clock_that_is_set_back_does_not_silence_its_station(database: Database) -> None:  # C03, F01
    async with told(database) as story:
        story.site("CP1")
        await story.status(PREPARING, at=NOON + timedelta(minutes=9))
        story.pass_time(seconds=5)
        await story.status(CHARGING)
        assert evse(story).status == "charging"


@pytest.mark.parametrize("claim", [None, NOON.replace(year=2018), NOON + timedelta(days=400)])
async def test_a_status_of_another_year_counts_as_of_now(database: Database, claim: Any) -> None:  # F01, T2
    async with told(database) as story:
        story.site("CP1")
        await story.status(CHARGING, at=claim)
        assert (evse(story).status, evse(story).status_at) == ("charging", NOON)
        (station,) = story.rows(Station)
        assert station.clock_skew_s == (None if claim is None else (claim - NOON).total_seconds())


async def test_times_rise_only_when_a_driver_would_see_a_difference(database: Database) -> None:  # LO-04, PU-13, PU-14
    async with told(database) as story:
        story.site("CP1")
        story.pass_time(seconds=10)
        await story.status(AVAILABLE)
        first = story.now
        assert (evse(story).last_updated, site(story).last_updated) == (first, first)
        story.pass_time(seconds=10)
        await story.status(PREPARING)
        assert (evse(story).status, evse(story).last_updated) == ("preparing", first)
        story.pass_time(seconds=10)
        await story.status(CHARGING)
        assert (evse(story).last_updated, site(story).last_updated) == (story.now, story.now)
        assert evse(story, 2).last_updated == NOON


async def test_a_sites_time_never_falls(database: Database) -> None:  # LO-04
    async with told(database) as story:
        story.site("CP1")
        later = NOON + timedelta(hours=1)
        with database.write() as connection:
            connection.execute(update(Location).values(last_updated=later))
        await story.status(CHARGING)
        assert (evse(story).last_updated, site(story).last_updated) == (NOON, later)


async def test_connector_zero_speaks_of_the_station_and_a_strange_one_of_nothing(database: Database) -> None:  # C03, T6
    async with told(database) as story:
        story.site("CP1")
        await story.status(ConnectorStatus.FAULTED, evse=0, error_code="PowerMeterFailure")
        await story.status(CHARGING, evse=9)
        (station,) = story.rows(Station)
        assert (station.status, station.error_code) == ("faulted", "PowerMeterFailure")
        assert [row.status for row in story.rows(Evse)] == [None, None]


async def test_a_station_tells_only_of_its_own_evses(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2", evses=1)
        await asyncio.gather(story.status(CHARGING, station_id="CP1"), story.status(AVAILABLE, station_id="CP2"))
        assert {row.station_id: row.status for row in story.rows(Evse)} == {"CP1": "charging", "CP2": "available"}


async def test_what_the_operator_makes_of_a_state_is_told_of_the_evses_it_changes(database: Database) -> None:  # LO-61
    occupied = {PREPARING: Availability.OCCUPIED}
    async with told(database) as story:
        story.site("CP1")
        await story.status(PREPARING)
        before, facts = evse(story).last_updated, len(story.rows(JournalEntry))
        at = NOON + timedelta(hours=1)

        def keep(meant: Any) -> int:
            with database.write() as connection:
                return meanings.keep(connection, meant, at)

        assert keep({}) == 0
        assert evse(story).last_updated == before
        assert keep(occupied) == 1
        assert (evse(story).last_updated, site(story).last_updated) == (at, at)
        assert len(story.rows(JournalEntry)) == facts + 1
        assert keep(occupied) == 0  # a restart
        assert keep({}) == 1
        assert len(story.rows(JournalEntry)) == facts + 2


def test_states_keep_their_meaning_unless_the_operator_says_otherwise() -> None:  # LO-61
    told_ = meanings.meanings({PREPARING: Availability.OCCUPIED})
    assert {status for status in ConnectorStatus if told_[status] is not AVAILABILITY[status]} == {PREPARING}
