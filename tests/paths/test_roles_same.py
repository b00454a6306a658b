"""Whether it is one process or many, chargers hear the same and the same is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from csms.models import (
    AuthorizationDecision,
    ChargeRecord,
    Evse,
    JournalEntry,
    MeterSampleRow,
    StationBoot,
    Transaction,
)
from tests.paths.plain_charger import PlainCharger, plain_charger
from tests.paths.records import Records, records_of
from tests.paths.roles import Deployment
from tests.paths.service import OWN_CARDS, STATIONS, Service

KEPT: dict[str, Any] = {
    "boots": select(StationBoot.station_id, StationBoot.vendor, StationBoot.answer),
    "evses": select(Evse.station_id, Evse.evse, Evse.status),
    "decisions": select(AuthorizationDecision.station_id, AuthorizationDecision.status, AuthorizationDecision.reason),
    "transactions": select(
        Transaction.station_id,
        Transaction.state,
        Transaction.cause,
        Transaction.authorization,
        Transaction.energy_mwh,
        Transaction.sample_count,
        Transaction.started_at,
        Transaction.ended_at,
    ),
    "samples": select(MeterSampleRow.station_id, MeterSampleRow.energy_mwh, MeterSampleRow.occurred_at),
    "facts": select(JournalEntry.type, JournalEntry.station_id, JournalEntry.ocpp_version).where(
        JournalEntry.event_id != "-"
    ),
    "bills": select(ChargeRecord.energy_mwh, ChargeRecord.total_excl_vat, ChargeRecord.total_incl_vat),
}


async def charge(charger: PlainCharger, card: str, at: datetime) -> list[Any]:
    """What a charger says in a quarter of an hour, with its slips; and what it heard."""
    minute = timedelta(minutes=1)

    async def status(word: str) -> Any:
        return await charger.say("StatusNotification", connectorId=1, errorCode="NoError", status=word)

    heard = [await charger.boot(), await charger.say("Heartbeat"), await status("Available")]
    heard += [await charger.say("Authorize", idTag=tag) for tag in (card, card.lower(), "NOBODYS")]
    heard += [await charger.begin(card, at=at, meter_wh=500), await charger.begin(card, at=at, meter_wh=500)]
    heard += [await charger.meter(500 + 100 * n, at=at + n * minute) for n in (1, 2, 2, 3)]
    heard += [await charger.finish(900, at=at + 4 * minute), await charger.finish(900, at=at + 4 * minute)]
    heard += [
        await charger.begin("NOBODYS", at=at + 5 * minute, meter_wh=900),
        await charger.finish(900, at=at + 6 * minute),
    ]
    heard += [await status("Available"), await charger.say("DataTransfer", vendorId="nobody")]
    numbers: list[int] = []  # they may have gaps, and so are told by their order
    for answer in heard:
        answer.pop("currentTime", None)
        if "transactionId" in answer:
            number = answer["transactionId"]
            numbers += [] if number in numbers else [number]
            answer["transactionId"] = numbers.index(number)
    return heard


async def told(service: Service, urls: Sequence[str], at: datetime) -> tuple[list[Any], dict[str, Any]]:
    heard = []
    for number, (name, card) in enumerate(zip(STATIONS[:4], OWN_CARDS, strict=False)):
        async with plain_charger(urls[number % len(urls)], name) as charger:
            heard.append(await charge(charger, card, at))
    with records_of(service.database_url) as records:
        await records.until(KEPT["bills"], lambda bills: len(bills) == len(heard))
        return heard, {name: kept(records, query) for name, query in KEPT.items()}


def kept(records: Records, query: Any) -> list[Any]:
    return sorted((tuple(row) for row in records.rows(query)), key=repr)


@pytest.mark.timeout(300)
async def test_many_processes_answer_and_keep_what_one_does(  # B15
    tmp_path: Path, sqlite_url: str, deployment: Deployment
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=7)  # a busy machine has three to get through
    folder = tmp_path / "one"
    folder.mkdir()
    one = Service(folder, sqlite_url)
    try:
        await one.start()
        await one.open_site()
        alone = await told(one, [one.ocpp_url], at)
    finally:
        one.stop()
    await deployment.open("gateway-1", "gateway-2", "worker-1", "worker-2")
    heard, rows = await told(deployment, deployment.ocpp_urls, at)
    assert heard == alone[0]
    assert rows == alone[1]
