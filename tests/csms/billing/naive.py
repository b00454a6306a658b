"""A second calculator, deliberately plain: it walks through a session from minute to minute, stops also where a duration or an
amount of energy is reached, asks every element anew each time, and knows nothing of the first one.

It reads the tariff's JSON itself, shares no code with csms.billing, and is exact.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]


@dataclass
class Stretch:
    """Whole seconds from `start` on, `mwh` in all of them together, evenly."""

    start: datetime
    seconds: int
    mwh: int
    parking: bool = False
    amps: Fraction | None = None
    watts: int | None = None


def minutes(text: str) -> int:
    hours, _, rest = text.partition(":")
    return (int(hours) * 60 + int(rest)) % 1440


def matches(
    rules: dict[str, Any], now: datetime, zone: ZoneInfo, kwh: Fraction, age: Fraction, stretch: Stretch
) -> bool:
    local = now.astimezone(zone)
    if "start_time" in rules or "end_time" in rules:
        begin, end = minutes(rules.get("start_time", "00:00")), minutes(rules.get("end_time", "00:00"))
        at = local.hour * 60 + local.minute
        inside = True if begin == end else begin <= at < end if begin < end else (at >= begin or at < end)
        if not inside:
            return False
    if "start_date" in rules and local.date() < date.fromisoformat(rules["start_date"]):
        return False
    if "end_date" in rules and local.date() >= date.fromisoformat(rules["end_date"]):
        return False
    if rules.get("day_of_week") and DAYS[local.weekday()] not in rules["day_of_week"]:
        return False
    mean = Fraction(stretch.mwh * 3600, 1000 * stretch.seconds) if stretch.seconds else Fraction(0)
    watts = Fraction(stretch.watts) if stretch.watts is not None else Fraction(int(mean))
    for name, value in (("kwh", kwh), ("duration", age), ("current", stretch.amps), ("power", watts / 1000)):
        if f"min_{name}" in rules and (value is None or value < Fraction(str(rules[f"min_{name}"]))):
            return False
        if f"max_{name}" in rules and (value is None or value >= Fraction(str(rules[f"max_{name}"]))):
            return False
    return "reservation" not in rules


def total(tariff: dict[str, Any], stretches: list[Stretch], zone_name: str) -> tuple[Fraction, Fraction]:
    """Without and with VAT, exact."""
    zone = ZoneInfo(zone_name)
    used: dict[str, list[tuple[dict[str, Any], Fraction]]] = {"FLAT": [], "ENERGY": [], "TIME": [], "PARKING_TIME": []}
    mwh, age = Fraction(0), Fraction(0)
    for stretch in stretches:
        each = Fraction(stretch.mwh, stretch.seconds) if stretch.seconds else Fraction(0)
        for begin, end in pairwise(stops(tariff, stretch, each, mwh, age)):
            now = stretch.start.astimezone(UTC) + timedelta(microseconds=int(begin * 1_000_000))
            length = end - begin
            gained = {
                "FLAT": Fraction(1 if age == 0 else 0),
                "ENERGY": each * length / 1000,
                "TIME": Fraction(0) if stretch.parking else length,
                "PARKING_TIME": length if stretch.parking else Fraction(0),
            }
            for kind, amount in gained.items():
                if not amount:
                    continue
                for element in tariff["elements"]:
                    parts = [part for part in element["price_components"] if part["type"] == kind]
                    rules = element.get("restrictions") or {}
                    if parts and matches(rules, now, zone, mwh / 1_000_000, age, stretch):
                        used[kind].append((parts[0], amount))
                        break
            mwh += each * length
            age += length
    return priced(tariff, used)


def stops(tariff: dict[str, Any], stretch: Stretch, each: Fraction, mwh: Fraction, age: Fraction) -> list[Fraction]:
    """Seconds after the start of the stretch, its ends among them. No zone is off by less than whole minutes here."""
    into_minute = stretch.start.second
    found = {Fraction(0), Fraction(stretch.seconds)}
    found |= {Fraction(second) for second in range(60 - into_minute, stretch.seconds, 60)}
    for element in tariff["elements"]:
        rules = element.get("restrictions") or {}
        for bound in ("min", "max"):
            if f"{bound}_duration" in rules:
                found.add(rules[f"{bound}_duration"] - age)
            if f"{bound}_kwh" in rules and each:
                found.add((Fraction(rules[f"{bound}_kwh"]) * 1_000_000 - mwh) / each)
    return sorted(second for second in found if 0 <= second <= stretch.seconds)


def priced(tariff: dict[str, Any], used: dict[str, list[tuple[dict[str, Any], Fraction]]]) -> tuple[Fraction, Fraction]:
    def paid(kind: str) -> list[tuple[dict[str, Any], Fraction]]:
        return [(part, amount) for part, amount in used[kind] if Fraction(str(part["price"])) != 0]

    timed = "PARKING_TIME" if paid("PARKING_TIME") else "TIME"
    for kind, counted in (("ENERGY", used["ENERGY"]), (timed, paid(timed))):
        if counted:
            last = counted[-1][0]
            step = last["step_size"]
            if step > 0:
                sum_ = sum(amount for _, amount in counted)
                full = -(-sum_ // step) * step
                used[kind].append((last, full - sum_))
    excl = incl = Fraction(0)
    for kind, entries in used.items():
        unit = {"FLAT": 1, "ENERGY": 1000, "TIME": 3600, "PARKING_TIME": 3600}[kind]
        for part, amount in entries:
            cost = amount / unit * Fraction(str(part["price"]))
            excl += cost
            incl += cost * (100 + Fraction(str(part.get("vat") or 0))) / 100
    rates = {Fraction(str(part.get("vat") or 0)) for each in tariff["elements"] for part in each["price_components"]}
    alone = 1 + min(rates) / 100 if len(rates) == 1 else Fraction(1)
    for name, pick in (("min_price", max), ("max_price", min)):
        if tariff.get(name):
            bound = tariff[name]
            least = Fraction(str(bound["excl_vat"]))
            told = bound.get("incl_vat")
            rate = incl / excl if excl else alone
            incl = pick(incl, Fraction(str(told)) if told is not None else least * rate)
            excl = pick(excl, least)
    return excl, incl
