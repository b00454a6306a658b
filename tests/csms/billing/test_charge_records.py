"""The journal's reader "billing", from what chargers told to the bill, on both databases."""

import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from adapters.cdrs import cdr_to_ocpi
from adapters.sessions import session_to_ocpi
from csms.billing.charge_records import TOLD, bill, session_price
from csms.billing.periods import closed
from csms.billing.pricing import Price, Rounding
from csms.billing.roundings import keep
from csms.billing.tariffs import Period
from csms.billing.verdict import CAUSE_VERDICT, FLAG_VERDICT, Verdict
from csms.database import Database
from csms.events import ConnectorStatus, StopReason
from csms.journal import Fact, FactType, Handler, Subscriber, Wake, append
from csms.lifecycle import Cause, Flag
from csms.models import Alert, ChargeRecord, DeadLetter, JournalEntry, MeterSampleRow, Review, Tariff, Transaction
from csms.watch import UNBILLED_AFTER, unbilled_transactions
from tests.csms.core_story import NOON, Story, told

CARD = "04A1B2C3D4"
ENERGY_AND_START = [
    {
        "price_components": [
            {"type": "FLAT", "price": "0.50", "vat": "20.0", "step_size": 1},
            {"type": "ENERGY", "price": "0.25", "vat": "20.0", "step_size": 1},
        ]
    }
]
BY_CURRENT = [
    {
        "price_components": [{"type": "ENERGY", "price": "0.25", "vat": None, "step_size": 1}],
        "restrictions": {"max_current": "32"},
    }
]


def reader(database: Database, handle: Handler = bill) -> Subscriber:
    return Subscriber("billing", database, handle, wake=Wake())


def bill_all(database: Database, handle: Handler = bill) -> None:
    billing = reader(database, handle)
    while billing.catch_up():
        pass


def told_facts(story: Story, *types: FactType) -> list[Any]:
    return story.rows(JournalEntry, JournalEntry.type.in_([type_.value for type_ in types]))


def price_now(story: Story) -> tuple[tuple[Period, ...], Price]:
    with story.database.read() as connection:
        return session_price(connection, story.transaction())


async def ready(story: Story, *stations: str, tariff: list[dict[str, Any]] | None = None, **card: Any) -> None:
    story.site(*stations or ("CP1",))
    story.tariff(tariff)
    story.card(**card)
    for station in stations or ("CP1",):
        await story.boot(station)


async def charge(story: Story, minutes: int = 40, *, card: str = CARD, **end: Any) -> None:
    """10 Wh a minute, sampled every five."""
    started = await story.start(card)
    for minute in range(1, minutes + 1):
        story.pass_time(minutes=1)
        if minute % 5 == 0:
            await story.sample(started.transaction_id, 1000 + 10 * minute)
    await story.end(started.transaction_id, 1_000_000 + 10_000 * minutes, **end)


def put_ended(connection: Connection, model: Any = Transaction, **changes: Any) -> str:
    """A transaction as the core leaves it, which a test may bend."""
    transaction_id = str(uuid.uuid4())
    row = {
        "id": transaction_id,
        "number": next(_numbers),
        "country_code": "BE",
        "party_id": "BEC",
        "station_id": "CP1",
        "ocpp_version": "1.6",
        "evse": 1,
        "connector": 1,
        "state": "ended",
        "cause": Cause.LOCAL.value,
        "flags": [],
        "owner_id": 0,
        "id_token": "",
        "id_token_key": "",
        "authorization": "accepted",
        "auth_method": "WHITELIST",
        "tariff_row": connection.execute(select(Tariff.id)).scalar_one(),
        "snapshot": {"location": None, "token": None},
        "boot_epoch": 1,
        "dedup_key": transaction_id,
        "started_at": NOON,
        "started_received_at": NOON,
        "started_rule": "charger",
        "start_event_id": "-",
        "ended_at": NOON + timedelta(hours=1),
        "ended_received_at": NOON + timedelta(hours=1),
        "meter_start_mwh": 0,
        "energy_mwh": 2_000_000,
        "created_at": NOON,
        "last_updated": NOON,
        **changes,
    }
    connection.execute(insert(model).values(**row))
    append(connection, [Fact(type=FactType.TRANSACTION_ENDED, subject=transaction_id, station_id="CP1")], now=NOON)
    return transaction_id


_numbers = itertools.count(1_000_000)


# ---- the bill -------------------------------------------------------------------------------------------------------


async def test_a_charge_is_billed_by_the_tariff_and_the_site_it_began_with(database: Database) -> None:  # E11, CD-13
    async with told(database) as story:
        await ready(story, tariff=ENERGY_AND_START, owner_id=7, country_code="NL", party_id="TNM")
        await charge(story)
        bill_all(database)
        transaction = story.transaction()
        (record,) = story.rows(ChargeRecord)
        assert (record.transaction_id, record.owner_id) == (transaction.id, 7)
        assert (record.country_code, record.party_id, record.currency, record.credit) == ("BE", "BEC", "EUR", False)
        assert (record.started_at, record.ended_at) == (transaction.started_at, transaction.ended_at)
        assert (record.energy_mwh, record.duration_s, record.parking_s) == (400_000, 2400, 0)
        assert (record.total_excl_vat, record.total_incl_vat) == (Decimal("0.6000"), Decimal("0.7200"))
        assert record.costs == {
            "fixed": ["0.5000", "0.6000"],
            "energy": ["0.1000", "0.1200"],
            "time": ["0.0000", "0.0000"],
            "parking": ["0.0000", "0.0000"],
        }
        assert [(line["dimension"], line["quantity"], line["price"], line["vat"]) for line in record.lines] == [
            ("FLAT", "1.000000", "0.50", "20.0"),
            ("ENERGY", "0.400000", "0.25", "20.0"),
        ]
        assert [period["energy_mwh"] for period in record.periods] == [150_000, 150_000, 100_000]
        assert record.snapshot == transaction.snapshot
        assert len(record.id) <= 36
        (issued,) = told_facts(story, FactType.CHARGE_RECORD_ISSUED)
        (ended,) = told_facts(story, FactType.TRANSACTION_ENDED)
        assert issued.subject == record.id
        assert issued.data == {"transaction_id": transaction.id}
        assert (issued.event_id, issued.station_id, issued.ocpp_version) == (ended.event_id, "CP1", "1.6")
        assert story.rows(Review) == []


async def test_a_record_is_read_as_a_cdr_whose_sums_hold(database: Database) -> None:  # CD-11, CD-17, CD-18
    async with told(database) as story:
        await ready(story, tariff=ENERGY_AND_START, owner_id=7, country_code="NL", party_id="TNM")
        await charge(story, 37)
        bill_all(database)
        cdr = cdr_to_ocpi(story.rows(ChargeRecord)[0], story.rows(Tariff)[0], story.transaction())
        assert cdr["total_energy"] == Decimal("0.37")
        assert cdr["total_time"] == Decimal("0.6167")
        assert cdr["total_cost"] == {"excl_vat": Decimal("0.5925"), "incl_vat": Decimal("0.711")}
        assert cdr["cdr_token"]["party_id"] == "TNM"
        assert len(cdr["charging_periods"]) == 3


async def test_a_least_price_is_in_the_total_alone(database: Database) -> None:  # CD-22, TC-23
    async with told(database) as story:
        story.site("CP1")
        story.tariff(ENERGY_AND_START, details={"min_price": {"excl_vat": "2.00", "incl_vat": "2.40"}})
        story.card(owner_id=7, country_code="NL", party_id="TNM")
        await story.boot()
        await charge(story)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        cdr = cdr_to_ocpi(record, story.rows(Tariff)[0], story.transaction())
        assert cdr["total_cost"] == {"excl_vat": 2, "incl_vat": Decimal("2.4")}
        parts = cdr["total_fixed_cost"]["excl_vat"] + cdr["total_energy_cost"]["excl_vat"]
        assert parts == Decimal("0.6")
        assert [line["dimension"] for line in record.lines] == ["FLAT", "ENERGY", "MIN_PRICE"]
        assert sum(Decimal(line["incl_vat"]) for line in record.lines) == record.total_incl_vat


async def test_the_operators_own_cards_are_billed_as_well(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert (record.owner_id, record.total_excl_vat) == (0, Decimal("0.1000"))


async def test_a_tariff_that_changed_on_the_way_changes_no_bill(database: Database) -> None:  # CD-13
    async with told(database) as story:
        await ready(story)
        started = await story.start()
        with database.write() as connection:
            old = dict(connection.execute(select(Tariff.__table__)).one()._mapping)
            connection.execute(update(Tariff).values(current=False))
            dearer = [{"price_components": [{"type": "ENERGY", "price": "9.00", "vat": None, "step_size": 1}]}]
            connection.execute(insert(Tariff).values(**old | {"id": old["id"] + 1, "version": 2, "elements": dearer}))
        story.pass_time(minutes=30)
        await story.end(started.transaction_id, 2_000_000)
        bill_all(database)
        assert story.rows(ChargeRecord)[0].total_excl_vat == Decimal("0.2500")


# ---- the running session --------------------------------------------------------------------------------------------


async def test_a_running_session_shows_the_price_that_its_bill_will_have(database: Database) -> None:  # TC-28, SE-07
    async with told(database) as story:
        await ready(story, tariff=ENERGY_AND_START)
        started = await story.start()
        assert price_now(story)[1].total_excl_vat == Decimal("0.5000")
        shown: tuple[Period, ...] = ()
        for minute in range(4, 61, 4):
            story.pass_time(minutes=4)
            await story.sample(started.transaction_id, 1000 + 7 * minute)
            stretches, price = price_now(story)
            assert price.energy_mwh == sum(period.energy_mwh for period in stretches) == 7_000 * minute
            assert stretches[-1].end == story.now
            assert stretches[: len(shown)] == shown
            shown = closed(stretches)
        story.pass_time(minutes=3)
        await story.end(started.transaction_id, 1_450_000)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        stretches, price = price_now(story)
        assert stretches[: len(shown)] == shown
        assert len(shown) == 3
        assert (price.total_excl_vat, price.total_incl_vat) == (record.total_excl_vat, record.total_incl_vat)
        assert [period.energy_mwh for period in stretches] == [period["energy_mwh"] for period in record.periods]


async def test_the_kwh_of_a_running_session_never_fall(database: Database) -> None:  # SE-19
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        told_kwh = []
        for minutes_ago, wh in ((0, 1500), (0, 1400), (9, 1100), (0, 1400), (3, 9000), (0, 300), (0, 800)):
            story.pass_time(minutes=5)
            await story.sample(number, wh, at=story.now - timedelta(minutes=minutes_ago))
            told_kwh.append(session_to_ocpi(story.transaction(), *price_now(story))["kwh"])
        story.pass_time(minutes=5)
        await story.end(number, 900_000)
        told_kwh.append(session_to_ocpi(story.transaction(), *price_now(story))["kwh"])
        assert told_kwh == sorted(told_kwh)
        assert told_kwh[0] == Decimal("0.5")


async def test_samples_after_the_end_change_no_price(database: Database) -> None:  # E04
    async with told(database) as story:
        await ready(story)
        await charge(story)
        before = price_now(story)
        story.pass_time(minutes=1)
        await story.sample(story.transaction().number, 1_200, at=NOON + timedelta(minutes=7))
        assert story.transaction().flags == ["late_samples"]
        assert price_now(story) == before
        bill_all(database)
        assert len(story.rows(ChargeRecord)) == 1


async def test_a_transaction_without_tariff_has_periods_and_no_price(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        await story.start()
        (only,), price = price_now(story)
        assert (only.start, only.end, only.energy_mwh) == (NOON, NOON, 0)
        assert price.unsupported == ("no_tariff",)


# ---- reviews and write-offs -----------------------------------------------------------------------------------------


def no_tariff(story: Story) -> None:
    with story.database.write() as connection:
        connection.execute(update(Transaction).values(tariff_row=None))


def nothing(story: Story) -> None:
    pass


@pytest.mark.parametrize(
    ("tariff", "id_token", "end", "bent", "reasons"),
    [
        (None, CARD, {}, no_tariff, ["no_tariff"]),
        (BY_CURRENT, CARD, {}, nothing, ["unsupported:max_current"]),
        (None, "UNKNOWN", {}, nothing, ["refused", "refused_start", "unknown_owner"]),
        (None, CARD, {"id_token": "SOMEBODY"}, nothing, ["foreign_stop_token"]),
        (None, CARD, {"violations": ("meterStop",)}, nothing, ["schema_violation"]),
        (BY_CURRENT, CARD, {"id_token": "SOMEBODY"}, nothing, ["foreign_stop_token", "unsupported:max_current"]),
    ],
)
async def test_what_cannot_simply_be_billed_waits_with_its_reasons(
    database: Database, tariff: Any, id_token: str, end: Any, bent: Callable[[Story], None], reasons: list[str]
) -> None:  # E07, E12, T10
    async with told(database) as story:
        await ready(story, tariff=tariff)
        await charge(story, card=id_token, **end)
        bent(story)
        bill_all(database)
        (review,) = story.rows(Review)
        assert (review.transaction_id, review.state, review.closed_at) == (story.transaction().id, "open", None)
        assert review.reasons == reasons
        (opened,) = told_facts(story, FactType.REVIEW_OPENED)
        assert (opened.subject, opened.data) == (review.transaction_id, {"reasons": reasons})
        assert story.rows(ChargeRecord) == []


@pytest.mark.parametrize(
    ("dimension", "paused", "total"),
    [
        ("ENERGY", True, "10.0000"),  # what stands still takes no energy
        ("TIME", False, "1.3333"),
        ("TIME", True, "0.6667"),
        ("PARKING_TIME", False, "0.0000"),
        ("PARKING_TIME", True, "0.6667"),
    ],
)
async def test_parked_time_is_never_billed_as_something_else(
    database: Database, dimension: str, paused: bool, total: str
) -> None:  # TC-14
    part = {"type": dimension, "price": "2.00", "vat": "20.0", "step_size": 1}
    async with told(database) as story:
        await ready(story, "CP1", tariff=[{"price_components": [part]}])
        started = await story.start(CARD)
        story.pass_time(minutes=20)
        if paused:
            await story.status(ConnectorStatus.SUSPENDED_EV)
        story.pass_time(minutes=20)
        await story.end(started.transaction_id, 6_000_000)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert (record.total_excl_vat, record.parking_s) == (Decimal(total), 1200 if paused else 0)


async def test_energy_in_no_time_waits(database: Database) -> None:  # F05
    async with told(database) as story:
        await ready(story)
        started = await story.start()
        await story.end(started.transaction_id, 1_000_500)
        bill_all(database)
        (review,) = story.rows(Review)
        assert "implausible" in review.reasons


async def test_a_refused_start_that_took_nothing_is_written_off(database: Database) -> None:  # C05
    async with told(database) as story:
        await ready(story)
        started = await story.start("UNKNOWN")
        story.pass_time(minutes=1)
        await story.end(started.transaction_id, 1_000_000, reason=StopReason.DEAUTHORIZED)
        bill_all(database)
        (review,) = story.rows(Review)
        assert (review.state, review.reasons) == ("written_off", ["refused"])
        assert review.closed_at is not None
        assert told_facts(story, FactType.REVIEW_OPENED, FactType.CHARGE_RECORD_ISSUED) == []


def test_every_cause_and_flag_is_billed_or_has_a_reason(database: Database) -> None:  # E12
    story = Story(database)
    story.tariff()
    with database.write() as connection:
        causes = {put_ended(connection, cause=cause.value): CAUSE_VERDICT[cause] for cause in Cause}
        flags = {put_ended(connection, flags=[flag.value]): FLAG_VERDICT[flag] for flag in Flag}
    bill_all(database)
    billed = {record.transaction_id for record in story.rows(ChargeRecord)}
    waiting = {review.transaction_id: review.reasons for review in story.rows(Review)}
    expected = causes | flags
    assert billed == {id_ for id_, decided in expected.items() if decided is Verdict.BILL}
    assert waiting.keys() == {id_ for id_, decided in expected.items() if decided is Verdict.REVIEW}
    assert all(waiting.values())
    assert {fact.type for fact in story.rows(JournalEntry)} == TOLD | {
        FactType.TRANSACTION_ENDED
    }  # so these are woken for


# ---- once, and never forgotten --------------------------------------------------------------------------------------


async def test_billing_that_stood_still_for_an_hour_bills_each_session_once(database: Database) -> None:  # A12
    async with told(database) as story:
        await ready(story, "CP1", "CP2")
        bill_all(database)
        for _ in range(6):  # chargers are answered as ever: billing is not asked
            await charge(story, 10)
            await story.sample(story.transactions()[-1].number, 2_000)
        again = await story.end(story.transactions()[0].number, 1_100_000)
        assert again is not None
        assert story.rows(ChargeRecord) == []
        billing = Subscriber("billing", database, bill, wake=Wake(), batch=7)
        while billing.catch_up():
            billing = Subscriber("billing", database, bill, wake=Wake(), batch=7)  # and restarts after each batch
        records = story.rows(ChargeRecord)
        assert sorted(record.transaction_id for record in records) == sorted(row.id for row in story.transactions())
        assert len(records) == len(told_facts(story, FactType.CHARGE_RECORD_ISSUED)) == 6


async def test_a_crash_before_the_commit_leaves_neither_a_bill_nor_a_gap(database: Database) -> None:  # A12
    async with told(database) as story:
        await ready(story)
        await charge(story)

        class PowerCut(BaseException):
            pass

        def fails_after(connection: Connection, facts: Any) -> None:
            bill(connection, facts)
            raise PowerCut

        with pytest.raises(PowerCut):
            reader(database, fails_after).catch_up()
        assert story.rows(ChargeRecord) == []
        bill_all(database)
        assert len(story.rows(ChargeRecord)) == 1


async def test_a_fact_read_again_changes_nothing_whatever_was_learnt_since(database: Database) -> None:  # CD-32
    async with told(database) as story:
        await ready(story)
        await charge(story)
        await charge(story, card="UNKNOWN")
        bill_all(database)
        with database.write() as connection:
            connection.execute(update(Transaction).values(flags=[Flag.METER_MISMATCH.value], owner_id=0))
            ended = [Fact(type=FactType.TRANSACTION_ENDED, subject=row.id) for row in story.transactions()]
            append(connection, ended, now=story.now)
        bill_all(database)
        assert (len(story.rows(ChargeRecord)), len(story.rows(Review))) == (1, 1)
        assert len(told_facts(story, FactType.CHARGE_RECORD_ISSUED, FactType.REVIEW_OPENED)) == 2
        assert story.rows(DeadLetter) == []


def test_what_cannot_be_billed_is_buried_and_alarmed_and_blocks_no_other(database: Database) -> None:  # A11, E11
    story = Story(database)
    story.tariff()
    with database.write() as connection:
        sound = put_ended(connection)
        broken = put_ended(connection, cause="struck by lightning")
        later = put_ended(connection)
    bill_all(database)
    assert {record.transaction_id for record in story.rows(ChargeRecord)} == {sound, later}
    (letter,) = story.rows(DeadLetter)
    assert letter.subscriber == "billing"
    assert "struck by lightning" in letter.reason
    with database.write() as connection:
        unbilled_transactions(connection, NOON + timedelta(hours=1) + UNBILLED_AFTER + timedelta(seconds=1))
    assert [(alert.kind, alert.subject) for alert in story.rows(Alert)] == [("transaction_unbilled", broken)]


async def test_bills_reviews_and_write_offs_are_settled_for_the_watch(database: Database) -> None:  # E11
    async with told(database) as story:
        await ready(story)
        await charge(story)
        await charge(story, card="UNKNOWN")
        started = await story.start("UNKNOWN")
        story.pass_time(minutes=1)
        await story.end(started.transaction_id, 1_000_000)
        late = story.now + UNBILLED_AFTER + timedelta(minutes=1)
        bill_all(database)
        with database.write() as connection:
            unbilled_transactions(connection, late)
        assert story.rows(Alert, Alert.kind == "transaction_unbilled") == []
        with database.write() as connection:
            connection.execute(delete(Review))
            unbilled_transactions(connection, late)
        assert len(story.rows(Alert, Alert.kind == "transaction_unbilled")) == 2  # also the one that took nothing


@pytest.mark.parametrize("changes", [{"ended_at": NOON - timedelta(seconds=1)}, {"energy_mwh": -1}])
def test_the_database_refuses_a_negative_length_or_energy(database: Database, changes: dict[str, Any]) -> None:  # E11
    Story(database).tariff()
    with pytest.raises(IntegrityError), database.write() as connection:
        put_ended(connection, **changes)


async def test_what_a_session_cost_stays_what_its_bill_says(database: Database) -> None:  # TC-28
    """Its samples are deleted one day, and a currency may be rounded otherwise: who reads it again sees the same."""
    first_minutes = {"restrictions": {"max_duration": 600}, "price_components": [{"type": "ENERGY", "price": "0.25"}]}
    later = {"price_components": [{"type": "ENERGY", "price": "1", "vat": "20"}]}
    async with told(database) as story:
        await ready(story, tariff=[first_minutes, later])
        number = (await story.start()).transaction_id
        for minutes, register_wh in ((9, 2000), (51, 2200)):
            story.pass_time(minutes=minutes)
            await story.sample(number, register_wh)
        await story.end(number, 2_200_000)
        before = price_now(story)
        bill_all(database)
        with database.write() as connection:
            keep(connection, {"EUR": Rounding(1)})
            connection.execute(delete(MeterSampleRow))
        assert before[1].total_excl_vat == Decimal("0.4471")
        assert price_now(story) == before
