"""Sessions that ended in one look of the journal are billed together, each as it would be alone."""

import json
from typing import Any

import pytest

from csms.billing import sessions
from csms.billing.charge_records import content
from csms.billing.sessions import known_of, priced
from csms.database import Database
from csms.events import ConnectorStatus, StopReason
from csms.models import ChargeRecord, JournalEntry, RefundEvaluation, Review, Transaction
from tests.csms.billing.test_charge_records import bill_all, charge, ready
from tests.csms.core_story import Story, told

STATIONS = ("CP1", "CP2", "CP3", "CP4")
PARKING = [
    {
        "price_components": [
            {"type": "ENERGY", "price": "0.25", "vat": "20.0", "step_size": 1},
            {"type": "PARKING_TIME", "price": "6.00", "vat": "20.0", "step_size": 60},
        ]
    }
]


def plain(columns: dict[str, Any]) -> Any:
    """As it stands in a row."""
    return json.loads(json.dumps(columns, default=str))


async def ended_on_several_days(story: Story) -> None:
    """One EVSE has two sessions, another parks, a third is unplugged, the last takes two days and its card is nobody's."""
    await ready(story, *STATIONS, tariff=PARKING)
    await charge(story, 20)
    story.pass_time(hours=30)
    await charge(story, 55)
    for station in STATIONS[1:]:
        story.card(station)
    for station in STATIONS[1:]:
        await story.status(ConnectorStatus.CHARGING, station_id=station)
    numbers = {station: (await story.start(station, station)).transaction_id for station in STATIONS[1:]}
    story.pass_time(minutes=10)
    await story.status(ConnectorStatus.SUSPENDED_EV, station_id="CP2")
    story.pass_time(minutes=25)
    await story.end(numbers["CP2"], 3_000_000, "CP2")
    await story.end(numbers["CP3"], 2_000_000, "CP3", reason=StopReason.EV_DISCONNECTED)
    story.pass_time(hours=50)
    await story.status(ConnectorStatus.SUSPENDED_EV, station_id="CP4")
    story.pass_time(hours=1)
    await story.end(numbers["CP4"], 5_000_000, "CP4")


@pytest.mark.parametrize("at_once", [1, 2, 50])
async def test_sessions_billed_together_have_the_bills_they_would_have_alone(  # E11, TC-28
    database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_AT_ONCE", at_once)
    async with told(database) as story:
        await ended_on_several_days(story)
        alone: dict[str, Any] = {}
        with database.read() as connection:
            for transaction in story.rows(Transaction):
                known = known_of(connection, transaction)
                alone[transaction.id] = content(transaction, known, priced(transaction, known))
        bill_all(database)
        records = story.rows(ChargeRecord)
        assert len(records) == len(alone) == 5
        for record in records:
            expected = alone[record.transaction_id]
            assert plain({name: getattr(record, name) for name in expected}) == plain(expected)
        assert sum(record.parking_s > 0 for record in records) == 2
        issued = story.rows(JournalEntry, JournalEntry.type == "charge_record_issued")
        assert sorted(fact.subject for fact in issued) == sorted(record.id for record in records)
        assert [one.cause for one in story.rows(RefundEvaluation)] == ["ev_disconnected"]
        assert story.rows(Review) == []
