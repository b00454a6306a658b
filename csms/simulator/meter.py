"""What went through a connector, to the mWh, whatever its register says and in whatever unit it is told."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

MWH_PER_UNIT = {"wh": 1_000, "kwh": 1_000_000}

PowerSteps = Sequence[tuple[float, int]]  # (seconds of charging, watts from then on), ascending, the first at 0


def in_unit(energy_mwh: int, unit: str) -> Decimal:
    """`unit` in any case, as vendors write it."""
    return Decimal(energy_mwh) / MWH_PER_UNIT[unit.casefold()]


def as_text(number: Decimal) -> str:
    """Plain digits without trailing zeros, never an exponent."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def energy_mwh(steps: PowerSteps, charged: timedelta) -> int:
    """Delivered after `charged` of charging. Cumulative, so that differences of it never lose a fraction twice."""
    watt_microseconds = 0
    end_us = charged // timedelta(microseconds=1)
    for index, (begin_s, watts) in enumerate(steps):
        until_us = round(steps[index + 1][0] * 1_000_000) if index + 1 < len(steps) else end_us
        watt_microseconds += watts * max(0, min(until_us, end_us) - round(begin_s * 1_000_000))
    return watt_microseconds // 3_600_000


def watts_at(steps: PowerSteps, charged: timedelta) -> int:
    return [watts for begin_s, watts in steps if begin_s <= charged.total_seconds()][-1]


class Meter:
    """A register that counts, and the truth about the running transaction beside it."""

    def __init__(self, steps: PowerSteps, *, register_mwh: int) -> None:
        self._steps = steps
        self._charged = timedelta()
        self._flows_since: datetime | None = None
        self._register_mwh = register_mwh
        self._delivered_mwh = 0

    def begin(self, now: datetime) -> None:
        """A transaction begins: its truth counts from zero, the register goes on."""
        self._charged = timedelta()
        self._delivered_mwh = 0
        self._flows_since = now

    def pause(self, now: datetime) -> None:
        self._settle(now)
        self._flows_since = None

    def resume(self, now: datetime) -> None:
        self._settle(now)
        self._flows_since = now

    def reset_register(self, now: datetime) -> None:
        """What some chargers do at every boot (E09)."""
        self._settle(now)
        self._register_mwh = 0

    def register_mwh(self, now: datetime) -> int:
        self._settle(now)
        return self._register_mwh

    def delivered_mwh(self, now: datetime) -> int:
        """What the car of the current or last transaction really got."""
        self._settle(now)
        return self._delivered_mwh

    def power_w(self, now: datetime) -> int:
        self._settle(now)
        return watts_at(self._steps, self._charged) if self._flows_since else 0

    def _settle(self, now: datetime) -> None:
        if self._flows_since is None:
            return
        self._charged += max(timedelta(), now - self._flows_since)
        self._flows_since = now
        delivered_mwh = energy_mwh(self._steps, self._charged)
        self._register_mwh += delivered_mwh - self._delivered_mwh
        self._delivered_mwh = delivered_mwh
