"""What waits for a person is seen with its owner and age, decided once, and becomes a bill only then."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, update

from csms import refunds, reviews
from csms.billing.proposals import FIX
from csms.database import Database
from csms.events import MeterSample, MeterSampled, SampledValue, StopReason
from csms.gateway.quirks.fixes import FIXES
from csms.lifecycle import Flag
from csms.metering import SCALES
from csms.models import Alert, ChargeRecord, JournalEntry, RefundEvaluation, Review, Station, Transaction
from csms.reviews import AlreadyDecided, Balance, InvalidAdjustment, NotBillable, UnknownReview
from csms.watch import unbilled_transactions
from tests.csms.billing.test_charge_records import bill_all
from tests.csms.core_story import NOON, Story, told

WHY = "the photo of the meter says so"


async def ready(story: Story, *stations: str) -> None:
    story.site(*stations or ("CP1",))
    story.tariff()
    story.card()
    for station in stations or ("CP1",):
        await story.boot(station, firmware_version="1.2.3")


async def charge(story: Story, *, held: bool = True, minutes: int = 40, **end: Any) -> None:
    """400 Wh; a message that broke its schema holds the bill."""
    number = (await story.start()).transaction_id
    story.pass_time(minutes=minutes)
    await story.end(number, 1_400_000, **{"violations": ("meterStop",) if held else (), **end})
    bill_all(story.database)


def review_of(story: Story) -> Any:
    (review,) = story.rows(Review)
    return review


def decide(story: Story, verb: Callable[..., Any], *words: Any, **more: Any) -> Any:
    with story.database.write() as connection:
        return verb(connection, *words, now=story.now, **more)


def queue(story: Story, **which: Any) -> Any:
    with story.database.read() as connection:
        return reviews.queue(connection, **which)


def facts(story: Story, type_: str) -> list[Any]:
    return story.rows(JournalEntry, JournalEntry.type == type_)


async def told_beside_power(story: Story, number: int, wh: int, power_w: int) -> None:
    values = (
        SampledValue(value=str(wh), unit="Wh"),
        SampledValue(value=str(power_w), unit="W", measurand="Power.Active.Import"),
    )
    sample = MeterSample(occurred_at=story.now, values=values)
    await story.csms.report(
        MeterSampled(
            station_id="CP1",
            ocpp_version="1.6",
            received_at=story.now,
            occurred_at=story.now,
            evse=1,
            transaction_ref=str(number),
            samples=(sample,),
        )
    )


# ---- the queue ------------------------------------------------------------------------------------------------------


async def test_what_waits_has_an_owner_a_state_and_an_age(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story, reason=StopReason.POWER_LOSS)
        held, refund = queue(story)
        transaction = story.transaction()
        assert (held.kind, held.reasons, held.state, held.owner) == ("bill", ["schema_violation"], "open", None)
        assert (refund.kind, refund.reasons, refund.state) == ("refund", ["power_loss", "partial"], "open")
        assert refund.detail["total_incl_vat"] is None
        for item in (held, refund):
            assert (item.transaction_id, item.number) == (transaction.id, transaction.number)
            assert (item.station_id, item.energy_mwh) == ("CP1", 400_000)
            assert item.age(item.opened_at + timedelta(hours=2)) == timedelta(hours=2)
        decide(story, reviews.take, held.id, "cli:ann")
        decide(story, refunds.take, refund.id, "cli:bob")
        assert [item.kind for item in queue(story, owner="cli:ann")] == ["bill"]
        assert [item.owner for item in queue(story, kind="refund")] == ["cli:bob"]
        assert [fact.data["by"] for fact in facts(story, "review_taken")] == ["cli:ann"]
        decide(story, reviews.write_off, held.id, "cli:ann", WHY)
        assert [item.kind for item in queue(story)] == ["refund"]
        (closed,) = queue(story, state="written_off")
        assert closed.age(NOON + timedelta(days=99)) == closed.closed_at - closed.opened_at
        assert len(queue(story, state=None)) == 2


async def test_the_queue_is_read_page_by_page_the_oldest_first(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        for _ in range(4):
            await charge(story, reason=StopReason.POWER_LOSS)
        with database.write() as connection:
            connection.execute(update(Review).values(opened_at=NOON))
            connection.execute(update(RefundEvaluation).values(opened_at=NOON))
        whole = [item.key for item in queue(story)]
        assert len(set(whole)) == 8
        pages: list[str] = []
        while found := queue(story, limit=3, after=pages[-1] if pages else None):
            pages += [item.key for item in found]
        assert pages == whole
        for unknown in ("bill:99", "coffee:1", "bill:x", ""):
            with pytest.raises(UnknownReview):
                queue(story, after=unknown)


# ---- a held bill ----------------------------------------------------------------------------------------------------


async def test_a_released_session_is_billed_as_it_stands(database: Database) -> None:  # E07, E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        assert story.rows(ChargeRecord) == []
        decided_at = story.pass_time(days=2)
        record_id = decide(story, reviews.release, review_of(story).id, "cli:ann", WHY)
        (record,) = story.rows(ChargeRecord)
        transaction = story.transaction()
        assert (record.id, record.transaction_id, record.energy_mwh) == (record_id, transaction.id, 400_000)
        assert (record.started_at, record.ended_at) == (transaction.started_at, transaction.ended_at)
        assert record.total_excl_vat == Decimal("0.1000")
        assert (record.snapshot, record.created_at) == (transaction.snapshot, decided_at)
        review = review_of(story)
        assert (review.state, review.owner, review.decided_by, review.decision) == (
            "released",
            "cli:ann",
            "cli:ann",
            WHY,
        )
        assert review.closed_at == decided_at
        (issued,) = facts(story, "charge_record_issued")  # what partners are told by
        assert (issued.subject, issued.data) == (record_id, {"transaction_id": transaction.id})
        (told_,) = facts(story, "review_decided")
        assert told_.subject == transaction.id
        assert told_.data == {"review": review.id, "state": "released", "by": "cli:ann", "reason": WHY}
        bill_all(database)
        assert len(story.rows(ChargeRecord)) == 1


async def test_an_adjusted_session_is_billed_as_corrected_and_keeps_what_the_charger_said(
    database: Database,
) -> None:  # E07, E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        before = story.transaction()
        half_past = before.started_at + timedelta(minutes=30)
        decide(story, reviews.adjust, review_of(story).id, "api:office", WHY, energy_mwh=1_200_000, ended_at=half_past)
        (record,) = story.rows(ChargeRecord)
        assert (record.energy_mwh, record.duration_s, record.ended_at) == (1_200_000, 1800, half_past)
        assert record.total_excl_vat == Decimal("0.3000")
        assert [period["energy_mwh"] for period in record.periods] == [600_000, 600_000]
        assert story.transaction() == before
        said = {"energy_mwh": 400_000, "ended_at": before.ended_at.isoformat()}
        known = {"energy_mwh": 1_200_000, "ended_at": half_past.isoformat()}
        assert record.snapshot["adjustment"] == {
            "by": "api:office",
            "reason": WHY,
            "at": story.now.isoformat(),
            "before": said,
            "after": known,
        }
        review = review_of(story)
        assert (review.state, review.adjustment) == ("adjusted", {"before": said, "after": known})
        (item,) = queue(story, state="adjusted")
        assert item.detail["adjustment"] == review.adjustment


async def test_corrected_times_keep_what_the_meter_told_within_them(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        for wh in (1100, 1350, 1400, 1400):
            story.pass_time(minutes=10)
            await story.sample(number, wh)
        story.pass_time(hours=5)
        await story.end(number, 1_400_000, violations=("timestamp",))
        bill_all(database)
        decide(story, reviews.adjust, review_of(story).id, "cli:ann", WHY, ended_at=NOON + timedelta(minutes=40))
        (record,) = story.rows(ChargeRecord)
        assert (record.duration_s, record.energy_mwh) == (2400, 400_000)
        assert [period["energy_mwh"] for period in record.periods] == [225_000, 175_000, 0]


@pytest.mark.parametrize(
    ("correction", "why"),
    [
        ({}, "nothing was changed"),
        ({"energy_mwh": 400_000}, "nothing was changed"),
        ({"energy_mwh": -1}, "not negative"),
        ({"ended_at": NOON - timedelta(seconds=1)}, "before it starts"),
        ({"started_at": NOON + timedelta(minutes=41)}, "before it starts"),
        ({"ended_at": NOON + timedelta(days=1)}, "in the future"),
        ({"ended_at": NOON}, "in no time"),
    ],
)
async def test_what_cannot_have_been_is_no_correction(
    database: Database, correction: dict[str, Any], why: str
) -> None:  # E11, E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        with pytest.raises(InvalidAdjustment, match=why):
            decide(story, reviews.adjust, review_of(story).id, "cli:ann", WHY, **correction)
        assert (story.rows(ChargeRecord), review_of(story).state) == ([], "open")


async def test_a_session_that_is_written_off_is_never_billed(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story, reason=StopReason.REBOOT)
        decide(story, reviews.write_off, review_of(story).id, "cli:ann", WHY)
        bill_all(database)
        assert story.rows(ChargeRecord) == []
        assert (review_of(story).state, review_of(story).decision) == ("written_off", WHY)
        assert [fact.data["state"] for fact in facts(story, "review_decided")] == ["written_off"]
        (refund,) = story.rows(RefundEvaluation)
        assert (refund.state, refund.suggestion, refund.total_incl_vat) == ("open", "none", None)


async def test_the_refund_of_a_held_session_learns_what_its_bill_came_to(database: Database) -> None:  # E05, E12
    async with told(database) as story:
        await ready(story)
        await charge(story, reason=StopReason.POWER_LOSS)
        decide(story, reviews.adjust, review_of(story).id, "cli:ann", WHY, energy_mwh=80_000)
        (refund,) = story.rows(RefundEvaluation)
        assert (refund.energy_mwh, refund.total_incl_vat, refund.currency) == (80_000, Decimal("0.0240"), "EUR")
        assert refund.suggestion == "full"


@pytest.mark.parametrize(
    ("bent", "what"),
    [({"tariff_row": None}, "no_tariff"), ({"owner_id": None, "token_id": None}, "unknown_owner")],
)
async def test_no_word_makes_a_bill_without_a_price_or_a_payer(
    database: Database, bent: dict[str, Any], what: str
) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        with database.write() as connection:
            connection.execute(update(Transaction.__table__).values(**bent))  # type: ignore[arg-type]
        id_ = review_of(story).id
        for verb, more in ((reviews.release, {}), (reviews.adjust, {"energy_mwh": 1})):
            with pytest.raises(NotBillable, match=what):
                decide(story, verb, id_, "cli:ann", WHY, **more)
        assert (story.rows(ChargeRecord), review_of(story).state) == ([], "open")
        decide(story, reviews.write_off, id_, "cli:ann", WHY)


async def test_what_is_decided_stays_decided(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        id_ = review_of(story).id
        decide(story, reviews.release, id_, "cli:ann", WHY)
        for verb, words in (
            (reviews.take, ()),
            (reviews.release, (WHY,)),
            (reviews.adjust, (WHY,)),
            (reviews.write_off, (WHY,)),
        ):
            with pytest.raises(AlreadyDecided, match="released by cli:ann"):
                decide(story, verb, id_, "cli:eve", *words)
            with pytest.raises(UnknownReview):
                decide(story, verb, 99, "cli:eve", *words)
        assert review_of(story).decided_by == "cli:ann"
        assert len(story.rows(ChargeRecord)) == len(facts(story, "review_decided")) == 1


async def test_of_those_who_decide_at_once_one_wins(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story)
        id_ = review_of(story).id

        def decide_as(person: str, verb: Callable[[Connection, int, str, str, datetime], Any]) -> str | None:
            try:
                with database.write() as connection:
                    verb(connection, id_, person, WHY, NOON)
            except AlreadyDecided:
                return None
            return person

        verbs = (reviews.release, reviews.write_off) * 3
        took = await asyncio.gather(*(asyncio.to_thread(decide_as, f"cli:{n}", verb) for n, verb in enumerate(verbs)))
        (winner,) = [person for person in took if person is not None]
        review = review_of(story)
        assert review.decided_by == winner
        assert len(story.rows(ChargeRecord)) == (1 if review.state == "released" else 0)


async def test_a_lying_unit_waits_with_the_quirk_entry_that_would_put_it_right(database: Database) -> None:  # X16
    async with told(database) as story:
        await ready(story)
        await charge(story, held=False)
        with database.write() as connection:
            connection.execute(update(Station).values(vendor="OpenEVSE", model="WiFi"))
        number = (await story.start(meter=361_000)).transaction_id
        for wh in (361, 362):
            story.pass_time(minutes=7)
            await told_beside_power(story, number, wh, 9_451)
        await story.end(number, 362_000)
        bill_all(database)
        assert len(story.rows(ChargeRecord)) == 1
        (item,) = queue(story)
        assert item.reasons == [Flag.UNIT_SUSPECT.value]
        assert item.detail["quirk"] == {
            "vendor": "OpenEVSE",
            "model": "WiFi",
            "firmware": "1.2.3",
            "why": f"its unit is a thousandfold wrong, seen in transaction {number} of CP1",
            "fix": "wh_is_kwh",
            "scale": "the energy register, wherever it is told, by 1000",
        }


def test_a_proposed_fix_is_one_that_exists() -> None:  # X16
    assert set(FIX.values()) <= set(FIXES)
    assert set(FIX) <= set(SCALES)


# ---- closed against billed ------------------------------------------------------------------------------------------


async def test_every_session_of_a_day_is_accounted_for(database: Database) -> None:  # E11
    async with told(database) as story:
        await ready(story)
        await charge(story, held=False)
        for _ in range(4):
            await charge(story)
        ids = [review.id for review in story.rows(Review)]
        decide(story, reviews.release, ids[0], "cli:ann", WHY)
        decide(story, reviews.adjust, ids[1], "cli:ann", WHY, energy_mwh=1)
        decide(story, reviews.write_off, ids[2], "cli:ann", WHY)
        refused = (await story.start("NOBODY")).transaction_id
        await story.end(refused, 1_000_000)
        bill_all(database)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        await story.end(number, 1_400_000)  # billing has not seen it
        with database.read() as connection:
            today, yesterday = (
                reviews.daily_balance(connection, (NOON - timedelta(days=days)).date()) for days in (0, 1)
            )
        assert today == Balance(
            closed=7,
            billed=3,
            corrected=0,
            credited=0,
            in_review=1,
            written_off=1,
            exempt=1,
            unexplained=1,
            held={"schema_violation": 1},
        )
        assert yesterday == Balance(
            closed=0, billed=0, corrected=0, credited=0, in_review=0, written_off=0, exempt=0, unexplained=0, held={}
        )


async def test_the_alarm_over_a_missing_bill_is_taken_back_when_it_comes(database: Database) -> None:  # E11
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=30)
        await story.end(number, 1_400_000)

        def alerts() -> list[Any]:
            with database.write() as connection:
                unbilled_transactions(connection, story.now)
            return story.rows(Alert, Alert.kind == "transaction_unbilled")

        story.pass_time(minutes=16)
        assert [alert.closed_at for alert in alerts()] == [None]
        story.pass_time(days=1)
        assert [alert.closed_at for alert in alerts()] == [None, None]
        bill_all(database)
        billed_at = story.pass_time(minutes=1)
        assert [alert.closed_at for alert in alerts()] == [billed_at, billed_at]


async def test_what_is_open_is_counted_by_age(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        ages = (timedelta(minutes=5), timedelta(hours=5), timedelta(days=5), timedelta(days=50))
        for _ in ages:
            await charge(story, reason=StopReason.REBOOT)
        now = datetime(2026, 9, 1, tzinfo=UTC)
        with database.write() as connection:
            for review, age in zip(story.rows(Review), ages, strict=True):
                connection.execute(update(Review).where(Review.id == review.id).values(opened_at=now - age))
            connection.execute(update(RefundEvaluation).values(opened_at=now))
            counted = reviews.open_by_age(connection, now)
        assert counted == {
            "bill under 1 h": 1,
            "bill under 1 day": 1,
            "bill under 7 days": 1,
            "bill older": 1,
            "refund under 1 h": 4,
            "refund under 1 day": 0,
            "refund under 7 days": 0,
            "refund older": 0,
        }
