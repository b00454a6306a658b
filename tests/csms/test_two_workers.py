"""Two workers on one database: in one process, and as two real processes; whichever takes an event, the rows are the same."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from csms.database import Database
from csms.events import AuthorizationStatus, ConnectorStatus
from csms.models import Evse, JournalEntry, MeterSampleRow, Tap
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

ROOT = Path(__file__).parents[2]
FORMS = ["04A1B2C3D4", "04a1b2c3d4", "\x0004A1B2C3D4", "04A1b2C3d4\u200b"]


async def two(stack: AsyncExitStack, database: Database) -> tuple[Story, Story]:
    first = await stack.enter_async_context(told(database))
    return first, await stack.enter_async_context(told(database))


async def test_fifty_starts_of_one_card_at_two_workers_charge_once(database: Database) -> None:  # D06
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        names = [f"CP{n}" for n in range(50)]
        workers[0].site(*names, evses=1)
        workers[0].card()
        starts = [workers[n % 2].start(FORMS[n % 4], station_id=name) for n, name in enumerate(names)]
        statuses = [answer.authorization.status for answer in await asyncio.gather(*starts)]
        assert statuses.count(AuthorizationStatus.ACCEPTED) == 1
        assert statuses.count(AuthorizationStatus.CONCURRENT_TX) == 49
        assert sorted(row.state for row in workers[0].transactions()) == ["active"] + ["refused"] * 49


async def test_one_start_sent_to_both_workers_is_one_transaction(database: Database) -> None:  # E03, X02
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        names = [f"CP{n}" for n in range(10)]
        workers[0].site(*names, evses=1)
        for name in names:
            workers[0].card(f"CARD-{name}")
        tellings = [(worker, name) for name in names for worker in workers for _ in range(2)]
        starts = (worker.start(f"CARD-{name}", station_id=name, at=NOON) for worker, name in tellings)
        answers = await asyncio.gather(*starts)
        for name in names:
            same = [answer for answer, (_, told_of) in zip(answers, tellings, strict=True) if told_of == name]
            assert len({answer.transaction_id for answer in same}) == 1
            assert {answer.authorization.status for answer in same} == {AuthorizationStatus.ACCEPTED}
        assert [row.state for row in workers[0].transactions()] == ["active"] * 10
        facts = [entry.type for entry in workers[0].rows(JournalEntry)]
        assert facts.count("transaction_started") == 10


async def test_one_end_and_its_samples_sent_to_both_workers_count_once(database: Database) -> None:  # E03
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        workers[0].site("CP1")
        workers[0].card()
        number = (await workers[0].start()).transaction_id
        for worker in workers:
            worker.pass_time(minutes=10)
        await asyncio.gather(*(worker.sample(number, 1500) for worker in workers for _ in range(3)))
        await asyncio.gather(*(worker.end(number, 2_000_000) for worker in workers for _ in range(3)))
        row = workers[0].transaction()
        assert (row.state, row.energy_mwh, row.sample_count) == ("ended", 1_000_000, 1)
        assert len(workers[0].rows(MeterSampleRow)) == 1
        facts = [entry.type for entry in workers[0].rows(JournalEntry, JournalEntry.subject == row.id)]
        assert facts == ["transaction_started", "transaction_sampled", "transaction_ended"]


async def test_a_lost_claim_does_not_swallow_that_the_old_transaction_was_overtaken(
    database: Database,
) -> None:  # LO-43
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        names = [f"CP{n}" for n in range(12)]
        workers[0].site(*names, evses=1)
        for name in names:
            workers[0].card(f"OLD-{name}")
            await workers[0].start(f"OLD-{name}", station_id=name)
        workers[0].card("NEW")
        for worker in workers:
            worker.pass_time(minutes=1)
        await asyncio.gather(
            *(workers[n % 2].start("NEW", station_id=name, meter=2_000_000) for n, name in enumerate(names))
        )
        states = [row.state for row in workers[0].transactions()]
        assert states[:12] == ["orphaned"] * 12
        assert sorted(states[12:]) == ["active"] + ["refused"] * 11
        assert [entry.type for entry in workers[0].rows(JournalEntry)].count("transaction_orphaned") == 12


async def test_cards_tapped_and_started_in_opposite_order_do_not_deadlock(database: Database) -> None:  # D06, D07
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        names = [f"CP{n}" for n in range(20)]
        cards = [f"CARD{n}" for n in range(20)]
        workers[0].site(*names)
        for card in cards:
            workers[0].card(card)
        for turn in range(3):
            asked = []
            for n, name in enumerate(names):
                asked += [
                    workers[0].tap(cards[n], station_id=name),
                    workers[1].tap(cards[-1 - n], station_id=names[-1 - n]),
                ]
            taps = await asyncio.gather(*asked)
            assert turn or {answer.status for answer in taps} == {AuthorizationStatus.ACCEPTED}
            starts = []
            for n in range(20):
                starts.append(workers[0].start(cards[n], station_id=names[n], evse=1, meter=turn))
                starts.append(workers[1].start(cards[-1 - n], station_id=names[n], evse=2, meter=turn))
            statuses = [answer.authorization.status for answer in await asyncio.gather(*starts)]
            assert len(statuses) == 40
            active = [row for row in workers[0].transactions() if row.state == "active"]
            assert len({row.token_id for row in active}) == len(active) > 0
        assert len(workers[0].rows(Tap)) == 20
        assert len(workers[0].transactions()) == 120


async def test_fifty_stations_tell_the_status_of_four_connectors_at_once(database: Database) -> None:  # X09
    async with AsyncExitStack() as stack:
        workers = await two(stack, database)
        names = [f"CP{n}" for n in range(50)]
        workers[0].site(*names, evses=4)
        watch = Watch(database, wake=lambda: None, clock=lambda: workers[0].now)  # type: ignore[arg-type]
        barrier, deadlocks = asyncio.Barrier(400), database.deadlocks

        async def tell(worker: Story, name: str, evse: int, status: ConnectorStatus) -> None:
            await barrier.wait()
            await worker.status(status, evse=evse, station_id=name)

        words = {0: ConnectorStatus.CHARGING, 1: ConnectorStatus.FAULTED}
        telling = [
            tell(workers[w], names[n if w else -1 - n], evse, word)
            for n in range(50)
            for evse in range(1, 5)
            for w, word in words.items()
        ]
        await asyncio.gather(*telling, asyncio.to_thread(watch.apply, "offline_stations"))
        evses = workers[0].rows(Evse)
        assert len(evses) == 200
        assert {row.status for row in evses} <= {"charging", "faulted"}
        assert database.deadlocks == deadlocks


async def test_two_processes_on_one_database_agree(database: Database, database_url: str) -> None:  # D06, E03
    async with told(database) as story:
        story.site(*(f"CP{n}" for n in range(50)), evses=1)
        story.card()
        story.card("TWICE")
        story.site("SHARED")

    def worker(which: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER, database_url, str(which)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    processes = [worker(which) for which in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert (await asyncio.to_thread(process.stdout.readline)).strip() == b"ready"
        outputs = await asyncio.gather(*(asyncio.to_thread(p.communicate, b"go\n", 60) for p in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    told_by = [json.loads(output) for output, _ in outputs]
    statuses = told_by[0]["statuses"] + told_by[1]["statuses"]
    assert (statuses.count("accepted"), statuses.count("concurrent_tx")) == (1, 49)
    assert len({*told_by[0]["numbers"], *told_by[1]["numbers"]}) == 1
    rows = [row for row in story.transactions() if row.station_id == "SHARED"]
    assert [(row.state, row.energy_mwh) for row in rows] == [("ended", 500_000)]
    facts = [entry.type for entry in story.rows(JournalEntry, JournalEntry.subject == rows[0].id)]
    assert facts == ["transaction_started", "transaction_ended"]


WORKER = """
import asyncio, json, sys
from csms.database import Database
from tests.csms.core_story import NOON, told

async def main(url, which):
    database = Database(url)
    async with told(database) as story:
        print("ready", flush=True)
        sys.stdin.readline()
        mine = range(which, 50, 2)
        starts = [story.start(station_id=f"CP{n}") for n in mine]
        same = [story.start("TWICE", station_id="SHARED", at=NOON) for _ in range(5)]
        answers = await asyncio.gather(*starts, *same)
        numbers = [answer.transaction_id for answer in answers[25:]]
        story.pass_time(minutes=5)
        await asyncio.gather(*(story.end(numbers[0], 1_500_000, station_id="SHARED") for _ in range(5)))
        statuses = [answer.authorization.status.value for answer in answers[:25]]
    database.dispose()
    print(json.dumps({"statuses": statuses, "numbers": numbers}), flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
