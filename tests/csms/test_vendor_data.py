"""Which vendors' words are understood, and what drivers are shown of their costs (C12, X14)."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update

from csms.billing.tariffs import Tariff
from csms.cost_messages import (
    OF_WHO_SHOWS,
    TOLD,
    CostTeller,
    final_cost,
    price_text,
    running_cost,
    unit_prices,
    user_price,
)
from csms.database import Database
from csms.events import ConnectorStatus, VendorDataReceived, VendorDataStatus
from csms.journal import Subscriber, Wake
from csms.models import ActualSetting, JournalEntry, RemoteRequest, Station
from csms.vendor_data import COST_MESSAGES, reply_to
from tests.csms.core_story import NOON, Story, told

ELEMENTS: list[dict[str, Any]] = [
    {"price_components": [{"type": "FLAT", "price": "0.50", "vat": "20", "step_size": 1}]},
    {
        "price_components": [{"type": "ENERGY", "price": "9", "step_size": 1}],
        "restrictions": {"start_time": "18:00"},
    },
    {
        "price_components": [
            {"type": "ENERGY", "price": "0.25", "vat": "20", "step_size": 1},
            {"type": "TIME", "price": "2", "vat": None, "step_size": 1},
            {"type": "PARKING_TIME", "price": "3", "vat": "10", "step_size": 1},
        ]
    },
]


def tariff(elements: list[dict[str, Any]]) -> Tariff:
    return Tariff.from_json(id="T", version=1, document={"currency": "EUR", "elements": elements})


def said(vendor_id: str, message_id: str | None, data: str | None = None) -> VendorDataReceived:
    return VendorDataReceived(
        station_id="CP1",
        ocpp_version="1.6",
        received_at=NOON,
        vendor_id=vendor_id,
        message_id=message_id,
        data=data,
    )


# ---- dialects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor_id", "message_id", "data", "status"),
    [
        ("Acme", "m", "d", VendorDataStatus.UNKNOWN_VENDOR),
        (COST_MESSAGES, None, None, VendorDataStatus.UNKNOWN_MESSAGE),
        (COST_MESSAGES, "FinalCost", "{}", VendorDataStatus.UNKNOWN_MESSAGE),
        (COST_MESSAGES, "ConnectorUnplugged", '{"transactionId":7}', VendorDataStatus.ACCEPTED),
        (COST_MESSAGES, "ConnectorUnplugged", '{"transactionId":"7"}', VendorDataStatus.ACCEPTED),
        (COST_MESSAGES, "ConnectorUnplugged", None, VendorDataStatus.REJECTED),
        (COST_MESSAGES, "ConnectorUnplugged", "[7]", VendorDataStatus.REJECTED),
        (COST_MESSAGES, "ConnectorUnplugged", '{"transactionId":null}', VendorDataStatus.REJECTED),
        (COST_MESSAGES, "ConnectorUnplugged", '{"transactionId":"seven"}', VendorDataStatus.REJECTED),
    ],
)
def test_a_dialect_is_a_row_and_the_rest_is_told_apart(
    vendor_id: str, message_id: str | None, data: str | None, status: VendorDataStatus
) -> None:  # C12, X14
    assert reply_to(said(vendor_id, message_id, data)).status is status


async def test_vendor_data_is_kept_whatever_is_answered(database: Database) -> None:  # C12
    async with told(database) as story:
        story.site("CP1")
        assert (await story.csms.report(said("Acme", "m", "d"))).status is VendorDataStatus.UNKNOWN_VENDOR
        accepted = await story.csms.report(said(COST_MESSAGES, "ConnectorUnplugged", '{"transactionId":7}'))
        assert accepted.status is VendorDataStatus.ACCEPTED
    facts = [row.data for row in story.rows(JournalEntry, JournalEntry.type == "vendor_data")]
    assert [(fact["vendor_id"], fact["data"]) for fact in facts] == [
        ("Acme", "d"),
        (COST_MESSAGES, '{"transactionId":7}'),
    ]


# ---- the messages ---------------------------------------------------------------------------------------------------


def test_unit_prices_are_with_vat_and_only_those_that_always_hold() -> None:  # X14
    """The energy costs more in the evening, so there is no one price for it."""
    assert unit_prices(tariff(ELEMENTS)) == {
        "FLAT": Decimal("0.600"),
        "TIME": Decimal("2.000"),
        "PARKING_TIME": Decimal("3.300"),
    }
    assert price_text(tariff(ELEMENTS)) == "2.00 EUR/h, 0.60 EUR per session, 3.30 EUR/h idle"
    assert price_text(tariff([])) == "see the operator's tariff T"
    assert price_text(tariff(ELEMENTS), [{"language": "nl", "text": "Dagtarief"}]) == "Dagtarief"


def test_costs_are_exact_numbers_on_the_wire() -> None:  # X14
    simple = tariff([{"price_components": [{"type": "ENERGY", "price": "0.1", "vat": None, "step_size": 1}]}])
    cost = Decimal("0.3000")
    at = datetime(2026, 6, 1, 13, 0, tzinfo=UTC)
    text = running_cost(number=7, at=at, meter_wh=4000, cost=cost, tariff=simple, idle=False)
    assert '"cost":0.300,' in text
    assert json.loads(text) == {
        "transactionId": 7,
        "timestamp": "2026-06-01T13:00:00.000Z",
        "meterValue": 4000,
        "cost": 0.3,
        "state": "Charging",
        "chargingPrice": {"kWhPrice": 0.1},
    }
    assert json.loads(final_cost(number=7, cost=cost, currency="EUR", energy_mwh=3_000_000, decimals=2)) == {
        "transactionId": 7,
        "cost": 0.3,
        "priceText": "0.30 EUR, 3.00 kWh",
    }
    assert json.loads(user_price(id_token="04A1", text="t")) == {"idToken": "04A1", "priceText": "t"}


# ---- who is told, and when ------------------------------------------------------------------------------------------


def shows_costs(story: Story, station_id: str = "CP1", *, connected: bool = True, **settings: str) -> None:
    values = {"CustomDisplayCostAndPrice": "True", **settings}
    with story.database.write() as connection:
        for key, value in values.items():
            row = {"station_id": station_id, "key": key, "value": value, "readonly": True, "read_at": NOON}
            connection.execute(insert(ActualSetting).values(row))
        if connected:
            here = update(Station).where(Station.station_id == station_id)
            connection.execute(here.values(connection_id="c1"))


class Display:
    """What the station would be told, in order."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._reader = Subscriber(
            "cost_messages",
            story.database,
            CostTeller(clock=lambda: story.now).handle,
            wake=Wake(),
            types=TOLD,
            only=OF_WHO_SHOWS,
        )
        self._seen: set[str] = set()

    def shows(self) -> list[tuple[str, dict[str, Any]]]:
        """Since the last look."""
        with self._story.database.write() as connection:
            # The story's clock stands still while the journal's runs.
            connection.execute(
                update(JournalEntry)
                .where(JournalEntry.recorded_at > self._story.now)
                .values(recorded_at=self._story.now)
            )
        while self._reader.catch_up():
            pass
        rows = [row for row in self._story.rows(RemoteRequest) if row.id not in self._seen]
        self._seen |= {row.id for row in rows}
        assert {(row.kind, row.requested_by) for row in rows} <= {("send_vendor_data", "job:cost_messages")}
        assert {row.command["vendor_id"] for row in rows} <= {COST_MESSAGES}
        return [(row.command["message_id"], json.loads(row.command["data"])) for row in rows]


async def test_a_driver_sees_the_price_the_cost_and_the_final_cost(database: Database) -> None:  # X14
    async with told(database) as story:
        story.tariff()
        story.site("CP1")
        story.card()
        shows_costs(story, NumberOfDecimalsForCostValues="2")
        display = Display(story)
        number = (await story.start()).transaction_id
        assert display.shows() == [("SetUserPrice", {"idToken": "04A1B2C3D4", "priceText": "0.30 EUR/kWh"})]

        story.pass_time(seconds=30)
        await story.sample(number, 2000)
        ((message, running),) = display.shows()
        assert (message, running["transactionId"], running["meterValue"]) == ("RunningCost", number, 2000)
        assert (running["cost"], running["state"], running["chargingPrice"]) == (0.3, "Charging", {"kWhPrice": 0.3})

        story.pass_time(seconds=30)
        await story.sample(number, 2500)
        assert display.shows() == []  # once a minute is enough
        story.pass_time(seconds=30)
        await story.status(ConnectorStatus.SUSPENDED_EV)
        await story.sample(number, 3000)
        assert [(message, shown["cost"], shown["state"]) for message, shown in display.shows()] == [
            ("RunningCost", 0.6, "Idle")
        ]

        story.pass_time(seconds=30)
        await story.end(number, 3_000_000)
        final = ("FinalCost", {"transactionId": number, "cost": 0.6, "priceText": "0.60 EUR, 2.00 kWh"})
        assert display.shows() == [final]
        await story.sample(number, 3000)  # late: no news for the driver
        unplugged = said(COST_MESSAGES, "ConnectorUnplugged", json.dumps({"transactionId": number}))
        await story.csms.report(unplugged)
        assert display.shows() == [final]
        for _ in range(3):  # a station that says it without end is not priced without end
            await story.csms.report(said(COST_MESSAGES, "ConnectorUnplugged", json.dumps({"transactionId": number})))
        assert display.shows() == []
        story.pass_time(minutes=1)
        await story.csms.report(said(COST_MESSAGES, "ConnectorUnplugged", json.dumps({"transactionId": number})))
        assert display.shows() == [final]


async def test_only_stations_that_show_costs_and_are_here_are_told(database: Database) -> None:  # X14
    async with told(database) as story:
        story.tariff()
        story.site("CP1", "CP2", "CP3")
        story.card()
        story.card("OTHER")
        story.card("THIRD")
        shows_costs(story, "CP2", CustomDisplayCostAndPrice="false")
        shows_costs(story, "CP3", connected=False)
        display = Display(story)
        await story.start()
        await story.start("OTHER", station_id="CP2")
        await story.start("THIRD", station_id="CP3")
        assert display.shows() == []


async def test_what_is_old_or_cannot_be_computed_is_not_told(database: Database) -> None:  # X14
    async with told(database) as story:
        story.tariff([{"price_components": [{"type": "MAGIC", "price": "1"}]}])
        story.site("CP1")
        story.card()
        shows_costs(story)
        display = Display(story)
        number = (await story.start()).transaction_id
        assert [message for message, _ in display.shows()] == ["SetUserPrice"]
        story.pass_time(seconds=30)
        await story.sample(number, 2000)
        assert display.shows() == []
        await story.end(number, 3_000_000)
        story.pass_time(minutes=10)
        assert display.shows() == []


async def test_data_without_end_is_cut_and_no_dialect_accepts_it(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        for event in (said("Acme", None, "x" * 1_000_000), said(COST_MESSAGES, "ConnectorUnplugged", " " * 20_000)):
            assert (await story.csms.report(event)).status is not VendorDataStatus.ACCEPTED
        facts = story.rows(JournalEntry, JournalEntry.type == "vendor_data")
        assert [(len(fact.data["data"]), fact.data["cut"]) for fact in facts] == [(10_000, True)] * 2
