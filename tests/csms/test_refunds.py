"""Charges that ended in a failure are looked at by a person, and nobody is paid by itself."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms import refunds
from csms.database import Database
from csms.events import MeterSample, SampledValue, StopReason
from csms.journal import Fact, FactType, append
from csms.lifecycle import CAUSE, PARKED, Cause
from csms.metering import END
from csms.models import ChargeRecord, JournalEntry, RefundEvaluation
from csms.refunds import NATURE, Nature, RefundDecided, Suggestion, UnknownRefund, car_was_done, suggest
from tests.csms.billing.test_charge_records import bill_all
from tests.csms.core_story import NOON, Story, told

FAILURES = {Cause.EV_DISCONNECTED, Cause.POWER_LOSS, Cause.EMERGENCY_STOP, Cause.REBOOT}
FLAT_AND_ENERGY = [
    {
        "price_components": [
            {"type": "FLAT", "price": "0.50", "vat": "20.0", "step_size": 1},
            {"type": "ENERGY", "price": "0.25", "vat": "20.0", "step_size": 1},
        ]
    }
]
FREE = [{"price_components": [{"type": "ENERGY", "price": "0", "vat": "20.0", "step_size": 1}]}]


def sample(seconds: float, *, wh: int | None = None, power_w: int | None = None, context: str | None = None) -> Any:
    context = context or "Sample.Periodic"
    values = []
    if wh is not None:
        values.append(SampledValue(value=str(wh), unit="Wh", context=context))
    if power_w is not None:
        values.append(SampledValue(value=str(power_w), unit="W", measurand="Power.Active.Import", context=context))
    return MeterSample(occurred_at=NOON + timedelta(seconds=seconds), values=tuple(values))


# ---- what is a failure, and what we would suggest -------------------------------------------------------------------


def test_every_reason_to_stop_is_normal_a_failure_or_for_operations() -> None:  # E05
    assert set(NATURE) == set(Cause)
    assert {cause for cause, nature in NATURE.items() if nature is Nature.FAILURE} == FAILURES
    assert {NATURE[cause] for cause in CAUSE.values()} == set(Nature)


@pytest.mark.parametrize(
    ("cause", "energy_mwh", "duration_s", "done", "beside", "free", "expected"),
    [
        (Cause.POWER_LOSS, 99_999, 3600, False, True, False, Suggestion.FULL),
        (Cause.POWER_LOSS, 5_000_000, 119, False, True, False, Suggestion.FULL),
        (Cause.POWER_LOSS, 100_000, 120, False, True, False, Suggestion.PARTIAL),
        (Cause.POWER_LOSS, 100_000, 120, False, False, False, Suggestion.NONE),
        (
            Cause.POWER_LOSS,
            100_000,
            120,
            True,
            True,
            False,
            Suggestion.PARTIAL,
        ),  # a full car is no reason to lose power
        (Cause.POWER_LOSS, 0, 0, False, True, True, Suggestion.NONE),
        (Cause.EV_DISCONNECTED, 5_000_000, 3600, True, True, False, Suggestion.NONE_CAR_WAS_DONE),
        (Cause.EV_DISCONNECTED, 5_000_000, 3600, False, True, False, Suggestion.PARTIAL),
        (Cause.EV_DISCONNECTED, 99_999, 3600, True, True, False, Suggestion.FULL),
        (Cause.EV_DISCONNECTED, 0, 3600, True, False, False, Suggestion.FULL),  # energy that never came
    ],
)
def test_what_is_suggested(
    cause: Cause, energy_mwh: int, duration_s: int, done: bool, beside: bool, free: bool, expected: Suggestion
) -> None:  # E05
    words = {"car_was_done": done, "charged_beside_energy": beside, "free": free}
    assert suggest(cause, energy_mwh=energy_mwh, duration_s=duration_s, **words) is expected


@given(st.sampled_from(Cause), st.integers(0, 10**9), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_who_paid_nothing_gets_nothing_and_who_got_nothing_gets_all(
    cause: Cause, energy_mwh: int, duration_s: int, done: bool, beside: bool
) -> None:
    words: dict[str, Any] = {"car_was_done": done, "charged_beside_energy": beside, "duration_s": duration_s}
    assert suggest(cause, energy_mwh=energy_mwh, free=True, **words) is Suggestion.NONE
    assert suggest(cause, energy_mwh=0, free=False, **words) is Suggestion.FULL


@pytest.mark.parametrize(
    ("samples", "findings", "done"),
    [
        ([sample(0, power_w=11_000), sample(600, power_w=40)], [], True),
        ([sample(0, power_w=40), sample(600, power_w=11_000)], [PARKED], False),  # it paused, and charged again
        ([sample(0, power_w=11_000), sample(600, power_w=0, context=END)], [], False),  # power is gone once unplugged
        ([sample(0, wh=1000), sample(600, wh=5000), sample(1200, wh=5009)], [], True),
        ([sample(0, wh=1000), sample(600, wh=5000), sample(1200, wh=5010)], [], False),
        ([sample(0, wh=1000), sample(600, wh=5000), sample(610, wh=5000)], [], False),  # ten seconds say nothing
        ([sample(0, wh=1000), sample(610, wh=5000)], [PARKED], False),
        ([], [PARKED], True),
        ([], [], False),
    ],
)
def test_whether_the_car_was_done(samples: list[MeterSample], findings: list[str], done: bool) -> None:  # E05
    assert car_was_done(samples, findings) is done


# ---- the evaluation -------------------------------------------------------------------------------------------------


async def charge(story: Story, reason: StopReason, *, minutes: int = 40, wh: int = 10_000, **end: Any) -> None:
    number = (await story.start()).transaction_id
    story.pass_time(minutes=minutes)
    await story.end(number, 1_000_000 + wh * 1000, reason=reason, **end)
    bill_all(story.database)


async def ready(story: Story, tariff: list[dict[str, Any]] | None = FLAT_AND_ENERGY) -> None:
    story.site("CP1")
    story.tariff(tariff)
    story.card()
    await story.boot()


@pytest.mark.parametrize("reason", StopReason)
async def test_a_failure_opens_one_evaluation_beside_its_bill(database: Database, reason: StopReason) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        await charge(story, reason)
        ended = Fact(type=FactType.TRANSACTION_ENDED, subject=story.transaction().id)
        with database.write() as connection:
            append(connection, [ended], now=story.now)
        bill_all(database)
        assert len(story.rows(ChargeRecord)) == 1
        evaluations = story.rows(RefundEvaluation)
        opened = story.rows(JournalEntry, JournalEntry.type == "refund_opened")
        assert len(evaluations) == len(opened) == (1 if CAUSE[reason] in FAILURES else 0)
        for evaluation in evaluations:
            assert (evaluation.cause, evaluation.state) == (CAUSE[reason].value, "open")
            assert (evaluation.energy_mwh, evaluation.duration_s) == (10_000_000, 2400)
            assert (evaluation.total_incl_vat, evaluation.currency) == (Decimal("3.6000"), "EUR")
            assert (evaluation.suggestion, evaluation.owner) == ("partial", None)
            assert opened[0].data == {"cause": evaluation.cause, "suggestion": "partial"}


async def test_a_charge_that_brought_nothing_is_suggested_in_full(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        await charge(story, StopReason.EV_DISCONNECTED, wh=0)
        (evaluation,) = story.rows(RefundEvaluation)
        assert (evaluation.suggestion, evaluation.total_incl_vat) == ("full", Decimal("0.6000"))


async def test_what_cost_nothing_is_evaluated_and_nothing_is_suggested(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story, FREE)
        await charge(story, StopReason.POWER_LOSS, wh=0)
        assert [row.suggestion for row in story.rows(RefundEvaluation)] == ["none"]


async def test_a_driver_who_unplugs_a_full_car_is_no_failure_of_ours(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        for minute in range(10, 61, 10):
            story.pass_time(minutes=10)
            await story.sample(number, 1000 + min(6_000, 200 * minute))
        story.pass_time(minutes=1)
        await story.end(number, 7_000_000, reason=StopReason.EV_DISCONNECTED)
        bill_all(database)
        assert [row.suggestion for row in story.rows(RefundEvaluation)] == ["none_car_was_done"]


async def test_a_held_session_is_evaluated_without_a_price(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        await charge(story, StopReason.POWER_LOSS, violations=("meterStop",))
        assert story.rows(ChargeRecord) == []
        (evaluation,) = story.rows(RefundEvaluation)
        assert (evaluation.total_incl_vat, evaluation.currency, evaluation.suggestion) == (None, None, "partial")


# ---- what a person does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), [(refunds.grant, "granted"), (refunds.decline, "declined")])
async def test_a_person_decides_once_and_says_why(database: Database, verb: Any, state: str) -> None:  # E05, E12
    async with told(database) as story:
        await ready(story)
        await charge(story, StopReason.POWER_LOSS)
        (evaluation,) = story.rows(RefundEvaluation)
        later = story.pass_time(hours=5)
        with database.write() as connection:
            refunds.take(connection, evaluation.id, "cli:ann", later)
            verb(connection, evaluation.id, "cli:bob", "the street was dark", later)
        (decided,) = story.rows(RefundEvaluation)
        assert (decided.state, decided.owner, decided.decided_by) == (state, "cli:ann", "cli:bob")
        assert (decided.decision, decided.closed_at) == ("the street was dark", later)
        (fact,) = story.rows(JournalEntry, JournalEntry.type == "refund_decided")
        assert fact.subject == story.transaction().id
        assert fact.data == {"refund": decided.id, "state": state, "by": "cli:bob", "reason": "the street was dark"}
        for again in (refunds.grant, refunds.decline):
            with pytest.raises(RefundDecided, match=f"{state} by cli:bob"), database.write() as connection:
                again(connection, decided.id, "cli:eve", "no", later)
        with pytest.raises(UnknownRefund), database.write() as connection:
            refunds.take(connection, 99, "cli:eve", later)
        assert len(story.rows(ChargeRecord)) == 1  # nothing is paid back by itself


async def test_of_two_who_decide_at_once_one_wins(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        await charge(story, StopReason.POWER_LOSS)
        (evaluation,) = story.rows(RefundEvaluation)

        def decide(verb: Any) -> bool:
            try:
                with database.write() as connection:
                    verb(connection, evaluation.id, "cli:one", "-", NOON)
            except RefundDecided:
                return False
            return True

        won = await asyncio.gather(*(asyncio.to_thread(decide, v) for v in (refunds.grant, refunds.decline) * 3))
        assert won.count(True) == 1
