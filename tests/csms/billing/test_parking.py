"""Time in which the car asked for no power is parking, by the time at which the EVSE is believed to have said so (TC-14)."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from csms.billing import statuses
from csms.billing.parking import Change, behind, stretches
from csms.database import Database
from csms.events import ConnectorStatus, MeterSample, MeterSampled, SampledValue
from csms.models import ChargeRecord, JournalEntry, Review, Transaction
from tests.csms.billing.test_charge_records import bill_all, price_now, ready
from tests.csms.core_story import NOON, Story, told

CHARGING, PAUSED = ConnectorStatus.CHARGING, ConnectorStatus.SUSPENDED_EV
HOLDING_BACK = ConnectorStatus.SUSPENDED_EVSE


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def change(
    status: ConnectorStatus, minutes: float, *, received: float | None = None, claimed: float | None = None
) -> Change:
    received_at = at(minutes if received is None else received)
    return Change(
        status=status.value,
        at=at(minutes),
        received_at=received_at,
        claimed_at=None if claimed is None else at(claimed),
    )


def minutes(changes: Any, until: float = 60, rule: str = "charger") -> list[tuple[float, float]]:
    found = stretches(changes, NOON, at(until), rule)
    return [((since - NOON).total_seconds() / 60, (end - NOON).total_seconds() / 60) for since, end in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], []),
        ([change(PAUSED, 20)], [(20, 60)]),
        ([change(PAUSED, 20), change(CHARGING, 30)], [(20, 30)]),
        ([change(PAUSED, 20), change(HOLDING_BACK, 30)], [(20, 30)]),  # ADR 20: throttling is not the driver's doing
        ([change(HOLDING_BACK, 20)], []),
        ([change(PAUSED, 20), change(PAUSED, 25), change(CHARGING, 30)], [(20, 30)]),
        ([change(PAUSED, -0.5), change(CHARGING, 5)], [(0, 5)]),  # told a moment before the start
        ([change(PAUSED, -2), change(CHARGING, 5)], []),  # of what was there before
        ([change(PAUSED, 60), change(PAUSED, 70)], []),
        ([change(PAUSED, 10), change(CHARGING, 10)], []),  # told at once: charging time
        ([change(PAUSED, 10, received=11), change(CHARGING, 10, received=10)], [(10, 60)]),  # what came last holds
        ([change(PAUSED, 10), change(CHARGING, 20), change(PAUSED, 50)], [(10, 20), (50, 60)]),
    ],
)
def test_suspended_by_the_car_is_parked_and_nothing_else_is(
    changes: list[Change], expected: list[tuple[float, float]]
) -> None:  # TC-14
    assert minutes(changes) == expected


@pytest.mark.parametrize(
    ("claimed", "received", "rule", "expected"),
    [
        (20, 25, "charger", [(20, 60)]),  # near its reception: believed
        (20, 58, "charger", [(20, 60)]),  # told late, inside its own session
        (20, 58, "offline", [(20, 60)]),
        (20, 58, "server_past", [(58, 60)]),  # of a clock that was not believed for the start
        (-4_000_000, 25, "charger", [(25, 60)]),
        (400, 25, "charger", [(25, 60)]),
        (None, 25, "charger", [(25, 60)]),
    ],
)
def test_a_status_counts_from_its_believed_time(
    claimed: float | None, received: float, rule: str, expected: list[tuple[float, float]]
) -> None:  # T2
    assert minutes([change(PAUSED, received, claimed=claimed)], rule=rule) == expected


told_changes = st.builds(
    change,
    st.sampled_from([CHARGING, PAUSED, HOLDING_BACK, ConnectorStatus.FINISHING]),
    st.integers(-3, 65),
    received=st.none() | st.integers(0, 65),
    claimed=st.none() | st.integers(-30, 70),
)


@given(st.lists(told_changes, max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_and_number_of_equal_entries_is_irrelevant(two: tuple[list[Change], list[Change]]) -> None:
    first, second = two
    assert minutes(first) == minutes(second) == minutes([*second, *first])
    assert behind(first, NOON, at(60), "charger") == behind([*second, *second], NOON, at(60), "charger")


@given(st.lists(told_changes, max_size=8))
def test_stretches_are_apart_in_order_and_within(changes: list[Change]) -> None:
    edges = [edge for stretch in minutes(changes) for edge in stretch]
    assert edges == sorted(set(edges))
    assert all(0 <= edge <= 60 for edge in edges)


# ---- from the wire to the bill --------------------------------------------------------------------------------------

BY_TIME = [
    {
        "price_components": [
            {"type": "TIME", "price": "6.00", "vat": None, "step_size": 1},
            {"type": "PARKING_TIME", "price": "12.00", "vat": None, "step_size": 1},
        ]
    }
]


async def test_a_pause_is_parking_in_the_session_and_in_its_bill(database: Database) -> None:  # TC-14, CD-19
    async with told(database) as story:
        await ready(story, tariff=BY_TIME)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=10)
        await story.status(CHARGING)
        await story.sample(number, 2000)
        story.pass_time(minutes=10)
        await story.status(PAUSED)
        story.pass_time(minutes=5)
        await story.sample(number, 3000)
        stretches_so_far, cost = price_now(story)
        assert [(p.parking, (p.end - p.start).total_seconds()) for p in stretches_so_far] == [
            (False, 900),
            (False, 300),
            (True, 300),
        ]
        assert cost.total_excl_vat == Decimal("3.0000")  # 20 minutes of charging, 5 of parking
        story.pass_time(minutes=10)
        await story.status(CHARGING)
        story.pass_time(minutes=5)
        await story.end(number, 4_000_000)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert (record.duration_s, record.parking_s) == (2400, 900)
        assert record.costs["time"] == ["2.5000", "2.5000"]
        assert record.costs["parking"] == ["3.0000", "3.0000"]
        assert [entry["status"] for entry in record.evidence["statuses"]] == ["suspended_ev", "charging"]


async def test_a_pause_that_is_told_late_counts_from_when_it_was(database: Database) -> None:  # TC-14, C03
    async with told(database) as story:
        await ready(story, tariff=BY_TIME)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=20)
        await story.status(CHARGING)
        await story.status(PAUSED, at=at(15))  # late: it is charging again since 20
        story.pass_time(minutes=20)
        await story.end(number, 4_000_000)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert (record.duration_s, record.parking_s) == (2400, 300)


async def test_what_is_told_after_the_end_changes_no_bill(database: Database) -> None:
    async with told(database) as story:
        await ready(story, tariff=BY_TIME)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=8)
        await story.end(number, 4_000_000)
        story.pass_time(minutes=1)
        await story.status(PAUSED, at=at(2))
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert record.parking_s == 0


async def test_another_evses_pause_is_none_of_ours(database: Database) -> None:
    async with told(database) as story:
        await ready(story, tariff=BY_TIME)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=8)
        await story.status(PAUSED, evse=2)
        story.pass_time(minutes=8)
        await story.end(number, 4_000_000)
        bill_all(database)
        assert story.rows(ChargeRecord)[0].parking_s == 0


async def test_entries_of_before_are_read_by_when_they_were_written(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await story.start()
        story.pass_time(minutes=8)
        await story.status(PAUSED)
        with database.write() as connection:
            status = JournalEntry.type == "evse_status"
            connection.execute(update(JournalEntry).where(status).values(data={"status": "suspended_ev"}))
            transaction = connection.execute(select(Transaction.__table__)).one()
            (only,) = statuses.changes(connection, [transaction])[transaction.id]
        assert (only.status, only.at, only.claimed_at) == ("suspended_ev", at(8), None)


# ---- current and power ----------------------------------------------------------------------------------------------

BY_CURRENT = [
    {
        "price_components": [{"type": "ENERGY", "price": "0.50", "vat": None, "step_size": 0}],
        "restrictions": {"min_current": "30"},
    },
    {"price_components": [{"type": "ENERGY", "price": "0.25", "vat": None, "step_size": 0}]},
]
BY_POWER = [{**BY_CURRENT[0], "restrictions": {"min_power": "7"}}, BY_CURRENT[1]]


async def sampled(story: Story, number: int, wh: int, *beside: SampledValue) -> None:
    values = (SampledValue(value=str(wh), unit="Wh"), *beside)
    await story.csms.report(
        MeterSampled(
            station_id="CP1",
            ocpp_version="1.6",
            received_at=story.now,
            occurred_at=story.now,
            evse=1,
            transaction_ref=str(number),
            samples=(MeterSample(occurred_at=story.now, values=values),),
        )
    )


def amps(*by_phase: str) -> list[SampledValue]:
    return [
        SampledValue(value=value, unit="A", measurand="Current.Import", phase=f"L{number}")
        for number, value in enumerate(by_phase, 1)
    ]


def watts(value: str) -> list[SampledValue]:
    return [SampledValue(value=value, unit="W", measurand="Power.Active.Import")]


@pytest.mark.parametrize(
    ("tariff", "strong", "weak"),
    [(BY_CURRENT, amps("10.5", "10", "9.5"), amps("6", "6", "6")), (BY_POWER, watts("7000"), watts("6999.4"))],
)
async def test_each_measured_value_holds_until_the_next(  # TC-11
    database: Database, tariff: list[dict[str, Any]], strong: list[SampledValue], weak: list[SampledValue]
) -> None:
    async with told(database) as story:
        await ready(story, tariff=tariff)
        number = (await story.start()).transaction_id
        for wh, beside in ((2000, strong), (3000, strong), (4000, weak), (4500, weak), (5000, [])):
            story.pass_time(minutes=5)
            await sampled(story, number, wh, *beside)
        await story.end(number, 5_000_000)
        bill_all(database)
        assert story.rows(Review) == []
        (record,) = story.rows(ChargeRecord)
        # strong from the start to minute 15, where the weak value was measured: 3 kWh; 1 kWh after that
        assert record.costs["energy"][0] == "1.7500"
        assert [period["energy_mwh"] for period in record.periods] == [3_000_000, 1_000_000]


async def test_where_no_restriction_asks_values_cut_nothing(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        for minute in range(1, 11):
            story.pass_time(minutes=1)
            await sampled(story, number, 1000 + minute, *watts(str(minute * 100)), *amps(str(minute)))
        ((only,), _) = price_now(story)
        assert (only.current_a, only.power_w) == (None, None)
