"""kill -9 takes nothing that a charger or a partner was told, and doubles nothing that they tell again."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from websockets.exceptions import ConnectionClosed

from csms.models import ChargeRecord, MeterSampleRow, Transaction
from tests.paths.charger import Charger, Lost, charging_point
from tests.paths.partner import Emsp
from tests.paths.records import Records, records_of
from tests.paths.service import OWN_CARDS, PASSWORD, STATIONS, Service

DRIVER = "04CCCC01"
STORM_AT_LEAST = 40  # answers to each charger before the crash


async def test_a_session_lives_through_two_kills_and_its_bill_leaves_once(service: Service, emsp: Emsp) -> None:
    partner = await emsp.party("NL-KIL", kind="C")
    await partner.register(*await service.invite("Kill"))
    await partner.push(await partner.issue(DRIVER, listed=False))
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)

    async def meter(charger: Charger, *minutes: int) -> None:
        for minute in minutes:
            await charger.meter(started.transaction_id, 1000 + 250 * minute, at=began + timedelta(minutes=minute))

    async def finish(charger: Charger) -> None:
        await charger.finish(started.transaction_id, 3000, at=began + timedelta(minutes=8), uid=DRIVER)

    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await charger.boot()
        started = await charger.begin(DRIVER, at=began)
        await meter(charger, 2, 4)
        await partner.session("ACTIVE", kwh=1)  # what is on its way in a crash would leave again only 15 s later
        service.kill()

    await service.start()
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await meter(charger, 4, 6)  # it does not know whether the last value arrived, and says it again
        running = await partner.session("ACTIVE", kwh=1.5)
        await partner.close()  # so that the bill surely has not left
        await finish(charger)
        service.kill()

    await partner.close(False)
    assert await partner.requests("POST", "/cdrs") == []
    await service.start()
    assert (await partner.session("COMPLETED"))["id"] == running["id"]
    cdr = await partner.cdr()
    assert (cdr["session_id"], cdr["total_energy"]) == (running["id"], 2)
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await finish(charger)
    assert await partner.list("cdrs") == [cdr]
    assert len(await partner.list("sessions")) == 1
    with records_of(service.database_url) as records:
        assert records.rows(select(func.count()).select_from(MeterSampleRow)) == [(3,)]
    assert len(await partner.requests("POST", "/cdrs")) == 1
    await partner.is_content()


class Driver:
    """A charger that works as fast as it is answered, and remembers which answers it had."""

    def __init__(self, service: Service, station_id: str, uid: str) -> None:
        self._service = service
        self._station_id = station_id
        self._uid = uid
        self._began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)
        self.begun: dict[int, int] = {}  # the start's meter reading: the transaction's number
        self.sampled: set[tuple[int, int]] = set()  # number, Wh
        self.finished: set[int] = set()
        self.busy = asyncio.Event()  # it had STORM_AT_LEAST answers
        self._answers = 0

    async def storm(self) -> None:
        """Until the line breaks."""
        with suppress(ConnectionClosed, Lost):
            async with charging_point(self._service.ocpp_url, self._station_id, PASSWORD) as charger:
                await charger.boot()
                for charge in range(1_000):
                    await self._charge(charger, 1000 * charge)

    async def again(self) -> None:
        """Everything of the last charge once more, as a charger does that is not sure; then it is brought to its end."""
        async with charging_point(self._service.ocpp_url, self._station_id, PASSWORD) as charger:
            await self._charge(charger, max(self.begun, default=0))

    async def _charge(self, charger: Charger, meter: int) -> None:
        began = self._began + timedelta(seconds=meter // 1000)
        number = (await charger.begin(self._uid, at=began, meter_wh=meter)).transaction_id
        self.begun[meter] = number
        self._answered()
        for wh in (1, 2, 3):
            await charger.meter(number, meter + wh, at=began + timedelta(milliseconds=wh))
            self.sampled.add((number, meter + wh))
            self._answered()
        await charger.finish(number, meter + 3, at=began + timedelta(seconds=1), uid=self._uid)
        self.finished.add(number)
        self._answered()

    def _answered(self) -> None:
        self._answers += 1
        if self._answers >= STORM_AT_LEAST:
            self.busy.set()


async def test_whatever_was_answered_in_a_storm_is_kept_once_through_a_kill(service: Service) -> None:
    drivers = [Driver(service, *pair) for pair in zip(STATIONS, OWN_CARDS, strict=True)]
    storms = [asyncio.create_task(driver.storm()) for driver in drivers]
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(*(driver.busy.wait() for driver in drivers))
        service.kill()
        async with asyncio.timeout(30):
            await asyncio.gather(*storms)
    finally:
        for storm in storms:
            storm.cancel()
        await asyncio.gather(*storms, return_exceptions=True)

    with records_of(service.database_url) as records:
        assert_kept_once(records, drivers)
        await service.start()
        await asyncio.gather(*(driver.again() for driver in drivers))
        assert_kept_once(records, drivers)
        ended = records.rows(select(Transaction.number).where(Transaction.state == "ended"))
        await records.until(select(ChargeRecord.transaction_id), lambda bills: len(bills) == len(ended))


def assert_kept_once(records: Records, drivers: list[Driver]) -> None:
    numbers = dict(records.rows(select(Transaction.number, Transaction.state)))
    rows = records.rows(
        select(Transaction.number, MeterSampleRow.energy_mwh).join(
            Transaction, Transaction.id == MeterSampleRow.transaction_id
        )
    )
    samples = [(number, energy_mwh // 1000) for number, energy_mwh in rows]
    assert len(samples) == len(set(samples))
    keys = records.rows(select(Transaction.station_id, Transaction.meter_start_mwh))
    assert len(keys) == len(set(keys)) == len(numbers)
    for driver in drivers:
        assert set(driver.begun.values()) <= numbers.keys()
        assert len(set(driver.begun.values())) == len(driver.begun)
        assert driver.sampled <= set(samples)
        assert {numbers[number] for number in driver.finished} <= {"ended"}
