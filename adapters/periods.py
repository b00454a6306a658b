"""Charging Periods: their rounded volumes add up to the rounded totals, and those that were told never change after."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from adapters.datatypes import moment, plain, present, volume

MWH_PER_KWH = 1_000_000
MICROSECOND = timedelta(microseconds=1)
HOUR_US = 3_600_000_000


class Stretch(Protocol):
    """A csms.billing.tariffs.Period: energy and time in which nothing changed for the price."""

    @property
    def start(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...
    @property
    def energy_mwh(self) -> int: ...
    @property
    def parking(self) -> bool: ...


def charging_periods(stretches: Iterable[Stretch], tariff_id: str | None) -> list[dict[str, Any]]:
    """ENERGY in kWh and TIME or PARKING_TIME in hours for each stretch, whatever the tariff asks for (CD-25).

    Each volume is the difference of two rounded running totals, so that the sums hold to the last digit (CD-18).
    """
    totals = {"ENERGY": Decimal(0), "TIME": Decimal(0), "PARKING_TIME": Decimal(0)}
    told = dict(totals)
    periods = []
    for stretch in stretches:
        hours = Decimal((stretch.end - stretch.start) // MICROSECOND) / HOUR_US
        time = "PARKING_TIME" if stretch.parking else "TIME"
        totals["ENERGY"] += Decimal(stretch.energy_mwh) / MWH_PER_KWH
        totals[time] += hours
        dimensions = []
        for dimension in ("ENERGY", time):
            rounded = volume(totals[dimension])
            dimensions.append({"type": dimension, "volume": plain(rounded - told[dimension])})
            told[dimension] = rounded
        periods.append(
            present({"start_date_time": moment(stretch.start), "dimensions": dimensions, "tariff_id": tariff_id})
        )
    return periods


def reserved_period(start: datetime, end: datetime, tariff_id: str | None) -> list[dict[str, Any]]:
    """The one before all others of a charge that an EVSE was kept for; none where that was for no time."""
    hours = volume(Decimal((end - start) // MICROSECOND) / HOUR_US)
    if not hours:
        return []
    dimensions = [{"type": "RESERVATION_TIME", "volume": plain(hours)}]
    return [present({"start_date_time": moment(start), "dimensions": dimensions, "tariff_id": tariff_id})]


def total(periods: Iterable[dict[str, Any]], *dimensions: str) -> Decimal:
    """The sum of these dimensions over rendered periods."""
    return sum(
        (part["volume"] for period in periods for part in period["dimensions"] if part["type"] in dimensions),
        Decimal(0),
    )
