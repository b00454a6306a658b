"""How many ordinary sessions are priced in a second on one core: periods, charges and lines, from frames that are loaded."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from csms.billing.periods import Frame
from csms.billing.pricing import TO_FOUR_DECIMALS
from csms.billing.sessions import Known, priced
from csms.billing.tariffs import Tariff
from csms.events import MeterSample, SampledValue
from csms.lifecycle import Cause

TARGET = 1_000
STARTED_AT = datetime(2026, 6, 1, 20, 10, tzinfo=UTC)
MINUTES = 90


def component(type_: str, price: str) -> dict[str, Any]:
    return {"type": type_, "price": price, "vat": "21.0", "step_size": 1}


TARIFF = Tariff.from_json(
    id="standard-ac",
    version=1,
    document={
        "currency": "EUR",
        "elements": [
            {
                "price_components": [component("ENERGY", "0.21"), component("TIME", "0.50")],
                "restrictions": {"start_time": "23:00", "end_time": "07:00"},
            },
            {"price_components": [component("ENERGY", "0.39")], "restrictions": {"min_kwh": "10"}},
            {"price_components": [component("FLAT", "0.50"), component("ENERGY", "0.45"), component("TIME", "1.00")]},
        ],
    },
)


def session() -> tuple[Any, Known]:
    """An hour and a half at 11 kW, sampled every minute; it begins by day and ends by night."""
    frames = []
    for minute in range(1, MINUTES + 1):
        at = STARTED_AT + timedelta(minutes=minute)
        wh = str(1_000_000 + minute * 183)
        values = (
            SampledValue(value=wh, unit="Wh"),
            SampledValue(value="10980", unit="W", measurand="Power.Active.Import"),
        )
        samples = (MeterSample(occurred_at=at, values=values),)
        frames.append(Frame(received_at=at, occurred_at=at, samples=samples, event_id=f"event-{minute}"))
    transaction = SimpleNamespace(
        started_at=STARTED_AT,
        started_rule="charger",
        ended_at=STARTED_AT + timedelta(minutes=MINUTES, seconds=20),
        last_sample_at=None,
        cause=Cause.LOCAL.value,
        meter_start_mwh=1_000_000_000,
        energy_mwh=MINUTES * 183_000,
        snapshot={"location": {"time_zone": "Europe/Brussels"}},
    )
    return transaction, Known(frames=frames, statuses=(), tariff=TARIFF, rounding=TO_FOUR_DECIMALS)


def sessions_per_second(count: int = 100, rounds: int = 7) -> float:
    """The best of several rounds: what else the machine does is none of ours."""
    transaction, known = session()
    best = 0.0
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(count):
            priced(transaction, known)
        best = max(best, count / (time.process_time() - began))
    return best
