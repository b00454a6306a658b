"""Workers and the api are redeployed under live sessions: no socket closes, no event is lost, none counts twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from websockets.exceptions import ConnectionClosed

from csms.models import ChargeRecord, Connection, JournalEntry, MeterSampleRow, Transaction
from tests.paths.plain_charger import PlainCharger, plain_charger, plain_chargers
from tests.paths.records import records_of
from tests.paths.roles import Deployment
from tests.paths.service import OWN_CARDS, STATIONS

SESSIONS = 500
START_WH = 1000
NAMES = [f"MANY-{number}" for number in range(SESSIONS)]
WORKERS = ("worker-1", "worker-2")


async def all_at_once(chargers: Iterable[PlainCharger], act: Callable[[PlainCharger], Awaitable[object]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for charger in chargers:
            tasks.create_task(act(charger))  # type: ignore[arg-type]


@pytest.mark.timeout(300)
async def test_a_redeploy_under_five_hundred_sessions_closes_no_socket_and_loses_nothing(  # B15, K09
    deployment: Deployment,
) -> None:
    await deployment.start("gateway-1", "gateway-2", *WORKERS, "api-1")
    await deployment.open_many(NAMES)
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)
    said = 0

    async def meter(charger: PlainCharger) -> None:
        await charger.meter(START_WH + 100 * said, at=began + timedelta(minutes=said))

    places = [(deployment.ocpp_urls[number % 2], name) for number, name in enumerate(NAMES)]
    async with plain_chargers(places) as chargers:
        await all_at_once(chargers, lambda charger: charger.boot())
        await all_at_once(
            chargers, lambda charger: charger.begin(f"CARD-{charger.station_id}", at=began, meter_wh=START_WH)
        )

        # One worker and the api, as a rolling redeploy does it.
        said += 1
        talking = asyncio.create_task(all_at_once(chargers, meter))
        await deployment.leave("worker-1", "api-1")
        await talking
        await deployment.start("worker-1", "api-1")

        # All workers at once: what is said meanwhile waits for the next.
        await deployment.leave(*WORKERS)
        said += 1
        talking = asyncio.create_task(all_at_once(chargers, meter))
        await deployment.start("worker-2")
        await talking
        said += 1
        await all_at_once(
            chargers, lambda charger: charger.finish(START_WH + 100 * said, at=began + timedelta(minutes=said))
        )

        with records_of(deployment.database_url) as records:
            sockets = select(func.count(), func.count(Connection.closed_at)).select_from(Connection)
            assert records.rows(sockets) == [(SESSIONS, 0)]
            ended = select(Transaction.station_id, Transaction.state, Transaction.energy_mwh, Transaction.sample_count)
            assert sorted(records.rows(ended)) == sorted((name, "ended", 100_000 * said, said - 1) for name in NAMES)
            samples = select(func.count()).select_from(MeterSampleRow)
            assert records.rows(samples) == [(SESSIONS * (said - 1),)]
            facts = select(JournalEntry.station_id, JournalEntry.type).where(JournalEntry.type.like("transaction_%"))
            of_each: dict[str, list[str]] = {name: [] for name in NAMES}
            for station_id, kind in records.rows(facts.order_by(JournalEntry.id)):
                of_each[station_id].append(kind.removeprefix("transaction_"))
            assert {tuple(kinds) for kinds in of_each.values()} == {("started", *["sampled"] * (said - 1), "ended")}
            bills = select(func.count()).select_from(ChargeRecord)
            await records.until(bills, lambda rows: rows == [(SESSIONS,)])


@pytest.mark.timeout(300)
async def test_without_workers_a_station_boots_and_beats_and_is_sent_away_with_what_must_be_kept(  # B15
    deployment: Deployment,
) -> None:
    await deployment.open("gateway-1", "worker-1")
    url, station_id, card = deployment.ocpp_url, STATIONS[0], OWN_CARDS[0]
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
    async with plain_charger(url, station_id) as charger:
        assert (await charger.boot())["status"] == "Accepted"
    await deployment.leave("worker-1")
    async with plain_charger(url, station_id) as charger:
        told = await charger.boot()
        assert (told["status"], told["interval"]) == ("Accepted", 300)
        assert set(await charger.say("Heartbeat")) == {"currentTime"}
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionClosed) as closed:
            await charger.begin(card, at=at)
        waited_s = asyncio.get_running_loop().time() - began
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert 24 < waited_s < 35

    # Its event is still in the stream, and it says it again: that is one transaction.
    await deployment.start("worker-1")
    async with plain_charger(url, station_id) as charger:
        assert (await charger.begin(card, at=at))["idTagInfo"]["status"] == "Accepted"
    with records_of(deployment.database_url) as records:
        assert records.rows(select(Transaction.number, Transaction.state)) == [(charger.transaction, "active")]
