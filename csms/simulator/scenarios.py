"""The stories that real chargers told: each is one coroutine that plays a charger's part and returns what came of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from csms.simulator.charge_point import ChargePoint
from csms.simulator.clock import RealClock, SimClock
from csms.simulator.connector import RemoteStart, Transaction
from csms.simulator.profile import Profile
from csms.simulator.wire import CommandReceived, Exchange, OnFrame, Payload, Unserved

CLOCK_OF_2018 = datetime(2018, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the driver does. `samples` are taken one sample interval apart, so they are the length of the charge.

    `starts_at` None is now, or for a charge that nobody watched so far in the past that it ends now. `patience_s` is how
    long to wait for the CSMS (a RemoteStart, a queue's delivery), `stop_patience_s` how long after the last sample for its
    RemoteStop; both of the wall clock.
    """

    id_token: str = "04A1B2C3D4"
    connector: int = 1
    samples: int = 5
    real_time: bool = False
    starts_at: datetime | None = None
    boot_attempts: int = 1
    patience_s: float = 60.0
    stop_patience_s: float = 0.0
    on_frame: OnFrame | None = None


@dataclass(frozen=True, kw_only=True)
class ScenarioResult:
    """`answers` is each call of the charger's with its fate, in order; `energy_mwh` what the car really got, whatever was
    reported; `authorization` the last word on the card, None when nobody presented one."""

    station_id: str
    answers: tuple[Exchange, ...]
    commands: tuple[CommandReceived, ...]
    transaction_id: int | None = None
    authorization: str | None = None
    energy_mwh: int = 0

    @property
    def energy_wh(self) -> Decimal:
        return Decimal(self.energy_mwh) / 1000

    def answered(self, action: str) -> tuple[Exchange, ...]:
        return tuple(exchange for exchange in self.answers if exchange.action == action)


class Scenario(Protocol):
    """Raises Unserved when the CSMS did not play its part, TimeoutError when it took longer than the plan's patience."""

    def __call__(self, profile: Profile, plan: Plan = ..., /) -> Awaitable[ScenarioResult]: ...


# ---- the stories ----------------------------------------------------------------------------------------------------


async def plug_charge_leave(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """A driver taps a card, plugs in, charges, taps again, unplugs and leaves. A refused card ends it at the reader."""
    async with _powered(profile, plan) as charge_point:
        await charge_point.start(boot_attempts=plan.boot_attempts)
        return await _charge(charge_point, plan)


async def clock_of_2018(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """The same by a charger whose clock stands at New Year 2018 and ignores currentTime (F04)."""
    return await plug_charge_leave(replace(profile, clock_frozen_at=CLOCK_OF_2018, follows_current_time=False), plan)


async def mixed_units(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """The same with meterStart in Wh, MeterValues in kWh and meterStop in Wh (E10)."""
    return await plug_charge_leave(replace(profile, start_unit="Wh", meter_unit="kWh", stop_unit="Wh"), plan)


async def register_reset(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """The power fails in mid-charge; the charger boots with its register at zero and charges on (E08, E09)."""
    async with _powered(replace(profile, register_resets_on_boot=True), plan) as charge_point:
        await charge_point.start(boot_attempts=plan.boot_attempts)
        return await _charge(charge_point, plan, halfway=charge_point.reboot)


async def offline_burst(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """A whole charge without a line; then the line comes up and everything is delivered late, in order and, because the
    first answers are lost on the way, each message twice under two ids (E02, E03, X02, X03)."""
    profile = replace(profile, lost_answers=max(1, profile.lost_answers))
    async with _powered(profile, plan, ends_now=True) as charge_point:
        await charge_point.plug(plan.connector)
        transaction = await charge_point.start_transaction(plan.connector, plan.id_token)
        await _sample(charge_point, transaction, plan.samples)
        await charge_point.stop_transaction(plan.connector)
        await charge_point.unplug(plan.connector)
        await charge_point.start(boot_attempts=plan.boot_attempts)
        await charge_point.outbox.drained(timeout_s=plan.patience_s)
        return _result(charge_point, transaction)


async def remote_start(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """The charger waits for a RemoteStart and charges until a RemoteStop or the plan's last sample (R01)."""
    async with _powered(profile, plan) as charge_point:
        await charge_point.start(boot_attempts=plan.boot_attempts)
        asked = await _asked(charge_point, plan)
        plan = replace(plan, connector=asked.connector, id_token=asked.id_token)
        return await _charge(
            charge_point, plan, authorizes=charge_point.configuration.flag("AuthorizeRemoteTxRequests")
        )


async def no_show(profile: Profile, plan: Plan = Plan(), /) -> ScenarioResult:
    """The charger accepts a RemoteStart and the driver never comes; it lets ConnectionTimeOut pass (R03)."""
    async with _powered(profile, plan) as charge_point:
        await charge_point.start(boot_attempts=plan.boot_attempts)
        asked = await _asked(charge_point, plan)
        await charge_point.set_status(asked.connector, "Preparing")
        await charge_point.clock.advance(charge_point.configuration.count("ConnectionTimeOut"))
        await charge_point.set_status(asked.connector, "Available")
        return _result(charge_point, None)


SCENARIOS: dict[str, Scenario] = {
    "plug_charge_leave": plug_charge_leave,
    "offline_burst": offline_burst,
    "clock_of_2018": clock_of_2018,
    "mixed_units": mixed_units,
    "register_reset": register_reset,
    "no_show": no_show,
    "remote_start": remote_start,
}


# ---- what they lean on ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _powered(profile: Profile, plan: Plan, *, ends_now: bool = False) -> AsyncIterator[ChargePoint]:
    lasts = timedelta(seconds=plan.samples * profile.sample_interval_s if ends_now else 0)
    clock = RealClock() if plan.real_time else SimClock(plan.starts_at or datetime.now(UTC) - lasts)
    async with ChargePoint(profile, clock=clock, on_frame=plan.on_frame) as charge_point:
        yield charge_point


async def _charge(
    charge_point: ChargePoint,
    plan: Plan,
    *,
    authorizes: bool = True,
    halfway: Callable[[], Awaitable[None]] | None = None,
) -> ScenarioResult:
    if authorizes:
        status = _card_status(await charge_point.authorize(plan.id_token))
        if status != "Accepted":
            return _result(charge_point, None, authorization=status)
    await charge_point.plug(plan.connector)
    transaction = await charge_point.start_transaction(plan.connector, plan.id_token)
    first_half = plan.samples // 2 if halfway else plan.samples
    await _sample(charge_point, transaction, first_half)
    if halfway:
        await halfway()
        await _sample(charge_point, transaction, plan.samples - first_half)
    await _remote_stop(transaction, plan.stop_patience_s)
    await charge_point.stop_transaction(plan.connector)
    await charge_point.unplug(plan.connector)
    await charge_point.outbox.drained(timeout_s=plan.patience_s)
    return _result(charge_point, transaction)


async def _sample(charge_point: ChargePoint, transaction: Transaction, samples: int) -> None:
    """One sample each interval, as long as the transaction runs."""
    for _ in range(samples):
        await charge_point.clock.advance(charge_point.configuration.count("MeterValueSampleInterval"))
        if transaction.ended:
            return
        await charge_point.meter_values(transaction.connector)


async def _remote_stop(transaction: Transaction, patience_s: float) -> None:
    if patience_s > 0:
        try:
            async with asyncio.timeout(patience_s):
                await transaction.over.wait()
        except TimeoutError:
            return


async def _asked(charge_point: ChargePoint, plan: Plan) -> RemoteStart:
    try:
        async with asyncio.timeout(plan.patience_s):
            return await charge_point.remote_starts.get()
    except TimeoutError:
        raise Unserved(f"{charge_point.profile.station_id}: no RemoteStart came in {plan.patience_s:g} s") from None


def _card_status(answer: Payload) -> str:
    return str((answer.get("idTagInfo") or {}).get("status"))


def _result(
    charge_point: ChargePoint, transaction: Transaction | None, *, authorization: str | None = None
) -> ScenarioResult:
    return ScenarioResult(
        station_id=charge_point.profile.station_id,
        transaction_id=transaction.transaction_id if transaction else None,
        authorization=transaction.authorization if transaction else authorization,
        energy_mwh=transaction.energy_mwh if transaction else 0,
        answers=tuple(charge_point.exchanges),
        commands=tuple(charge_point.commands),
    )
