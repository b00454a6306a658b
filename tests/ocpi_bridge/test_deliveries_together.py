"""Deliveries are made ready, leased and settled together, and one that cannot be harms no other."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete

from crud.models import Delivery
from csms.database import Database
from ocpi_bridge import delivery, next_call
from ocpi_bridge.delivery import AHEAD, AT_ONCE
from ocpi_bridge.emsp_client import Delivery as Answer
from ocpi_bridge.emsp_client import Reply
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.ledger import Ledger
from tests.ocpi_bridge.roaming_world import PARTY, RECORD, SESSION, World, until, world_of


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site(evses=2)
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp


only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@only_sqlite
async def test_what_was_made_ready_for_a_partner_that_hangs_then_waits_for_no_call(
    world: World, emsp: EmspSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick partner is made ready for; when it hangs, its turn comes for AT_ONCE of them, and the others are free again."""
    monkeypatch.setattr(delivery, "PATIENT_S", 0.05)
    monkeypatch.setattr(delivery, "QUICK_S", 3.0)  # less than a call that hangs takes
    partner = world.trust(emsp, without=("tariffs", "locations"))
    ids = [f"session-{number}" for number in range(AHEAD)]
    world.session(partner, "the first")
    async with world.delivering() as deliveries:
        await world.told("sessions", "the first")
        emsp.fault("sessions", Fault.HANG, times=AT_ONCE)
        for id in ids:
            world.session(partner, id)
        world.wake()
        await until(lambda: len(emsp.requests) == 1 + AT_ONCE)
        assert deliveries._busy[partner] <= AHEAD
        await until(lambda: deliveries._busy[partner] == 0)  # the calls that hung are given up
        assert not deliveries._lines[partner].quick
        await world.all_told(pass_time=True)
    assert set(emsp.sessions) == {"the first", *ids}
    assert len(emsp.requests) == 1 + AT_ONCE + AHEAD
    assert emsp.complaints == []


async def test_an_answer_that_cannot_be_kept_harms_no_other_of_its_commit(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    ids = ["s-1", "s-2", "s-3"]
    for id in ids:
        world.session(partner, id)
    ledger = Ledger(world.database, world.partners, world.render.together, clock=world.clock)
    jobs = list(ledger.take(lambda _: AT_ONCE, (), {}))
    assert [job.row.object_id for job in jobs] == ids
    nobodys: Any = SimpleNamespace(**jobs[1].row._asdict() | {"partner_id": 999})
    jobs[1] = replace(jobs[1], row=nobodys)
    taken = Reply(delivery=Answer.CONFIRMED, at=world.clock(), http_status=200, status_code=1000)
    ledger.settle([(job, taken) for job in jobs])
    kept = [world.delivery("sessions", id) for id in ids]
    assert [(row.told, row.attempts) for row in kept] == [(1, 0), (0, 1), (1, 0)]
    assert "999" in kept[1].last_error


async def test_a_delivery_that_was_deleted_meanwhile_harms_no_other_of_its_commit(
    world: World, emsp: EmspSimulator
) -> None:
    partner = world.trust(emsp)
    ids = ["s-1", "s-2", "s-3", "s-4"]
    for id in ids:
        world.session(partner, id)
    ledger = Ledger(world.database, world.partners, world.render.together, clock=world.clock)
    jobs = list(ledger.take(lambda _: AT_ONCE, (), {}))
    nobodys: Any = SimpleNamespace(**jobs[0].row._asdict() | {"partner_id": 999})  # so that each is settled alone
    jobs[0] = replace(jobs[0], row=nobodys)
    with world.database.write() as connection:
        connection.execute(delete(Delivery).where(Delivery.object_id.in_(["s-1", "s-2"])))
    taken = Reply(delivery=Answer.CONFIRMED, at=world.clock(), http_status=200, status_code=1000)
    ledger.settle([(job, taken) for job in jobs])
    ledger.settle([(job, taken) for job in jobs[1:3]])
    ledger.broken(jobs[1].row.id, "it is gone")
    assert [world.delivery("sessions", id) for id in ids[:2]] == [None, None]
    assert [world.delivery("sessions", id).told for id in ids[2:]] == [1, 1]


@only_sqlite
async def test_what_was_told_by_another_since_it_was_made_ready_is_not_said_again(
    world: World, emsp: EmspSimulator
) -> None:  # SE-07: a PATCH of it would append its periods twice
    partner = world.trust(emsp)
    world.session(partner)
    taken = Reply(delivery=Answer.CONFIRMED, at=world.clock(), http_status=200, status_code=1000)

    def told_meanwhile(connection: Any, module: str, ids: Sequence[str], partner_id: int) -> Any:
        found = world.render.together(connection, module, ids, partner_id)
        other = Ledger(world.database, world.partners, world.render.together, clock=world.clock)
        other.settle([(job, taken) for job in other.take(lambda _: AT_ONCE, (), {})])
        world.progress(energy_mwh=1_500_000)
        return found

    ledger = Ledger(world.database, world.partners, told_meanwhile, clock=world.clock)
    assert ledger.take(lambda _: AT_ONCE, (), {}) == []
    row = world.delivery("sessions", SESSION)
    assert (row.told, row.wanted, row.next_attempt_at) == (1, 2, world.clock())


@only_sqlite
async def test_an_object_that_cannot_be_shown_silences_only_itself(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    world.session(partner, "broken")
    world.session(partner)

    def render(connection: Any, module: str, ids: Sequence[str], partner_id: int) -> Any:
        if "broken" in ids:
            raise ValueError("no such thing")
        return world.render.together(connection, module, ids, partner_id)

    async with world.delivering(render):
        await world.told("sessions", SESSION)
        row = await until(lambda: world.failed("sessions", "broken"))
    assert "no such thing" in row.last_error
    assert row.next_attempt_at > world.clock()


@only_sqlite
async def test_one_that_cannot_be_written_down_stops_no_deliveries(
    world: World, emsp: EmspSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CDR that must wait for its session, which cannot be kept, alone in its look."""
    partner = world.trust(emsp)
    world.session(partner)
    world.bill(partner)
    late = next_call.NextCalls._later

    def unwritable(self: Any, *what: Any) -> Any:
        step = late(self, *what)

        def fails(connection: Any) -> None:
            step(connection)
            raise ValueError("no room")

        return fails

    monkeypatch.setattr(next_call.NextCalls, "_later", unwritable)
    world.change(
        Delivery, Delivery.module == "sessions", attempts=1, next_attempt_at=world.clock() + timedelta(minutes=10)
    )
    ledger = Ledger(world.database, world.partners, world.render.together, clock=world.clock)
    assert ledger.take(lambda _: AT_ONCE, (), {}) == []
    row = world.delivery("cdrs", RECORD)
    assert (row.attempts, row.told) == (1, 0)
    assert row.next_attempt_at > world.clock()
    assert "no room" in row.last_error
