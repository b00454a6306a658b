"""What a session costs: one price function, for the running session and for the final record alike (TC-28).

Priced here: FLAT, ENERGY and TIME with VAT, looked up for each dimension on its own (TC-01 to TC-03). What a tariff has
beyond that is named in `Price.unsupported` where it would change the price of this very session, so that its record is
looked at instead of being wrong. Amounts are exact; each money field is rounded once, half up, to four decimals (TC-27), so
lines may differ from their total in the last digit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

Money = tuple[Decimal, Decimal]  # without and with VAT

ZERO: Money = (Decimal("0.0000"), Decimal("0.0000"))


@dataclass(frozen=True, kw_only=True)
class PriceComponent:
    """`price` is per kWh, hour or session, without VAT; `vat` in per cent, None: no VAT applies. `step_size` counts Wh or
    seconds."""

    type: str
    price: Decimal
    vat: Decimal | None
    step_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Element:
    price_components: tuple[PriceComponent, ...]
    restrictions: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """One version of a tariff. `min_price` and `max_price` are (without VAT, with VAT or None)."""

    id: str
    version: int
    currency: str
    elements: tuple[Element, ...]
    type: str | None
    min_price: tuple[Decimal, Decimal | None] | None = None
    max_price: tuple[Decimal, Decimal | None] | None = None

    @classmethod
    def from_json(cls, *, id: str, version: int, document: dict[str, Any]) -> "Tariff":
        """From the stored document: OCPI 2.2.1's field names, numbers as strings or as numbers. Raises KeyError or
        decimal.InvalidOperation where it is no tariff."""
        return cls(
            id=id,
            version=version,
            currency=document["currency"],
            elements=tuple(_element(element) for element in document["elements"]),
            type=document.get("type"),
            min_price=_bound(document.get("min_price")),
            max_price=_bound(document.get("max_price")),
        )


@dataclass(frozen=True, kw_only=True)
class Period:
    """A stretch of a session in which nothing that matters for the price changed. `parking`: connected, and the car asked
    for no power (TC-14)."""

    start: datetime
    end: datetime
    energy_mwh: int
    parking: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the bill: `quantity` kWh, hours (six decimals) or 1, as billed, beginning at `period_start`."""

    dimension: str
    quantity: Decimal
    unit: str
    price: Decimal
    vat: Decimal | None
    excl_vat: Decimal
    incl_vat: Decimal
    period_start: datetime


@dataclass(frozen=True, kw_only=True)
class Price:
    """`seconds` is the whole session, parking included. The costs are (without VAT, with VAT)."""

    currency: str
    lines: tuple[Line, ...]
    total_excl_vat: Decimal
    total_incl_vat: Decimal
    energy_cost: Money
    time_cost: Money
    fixed_cost: Money
    parking_cost: Money
    energy_mwh: int
    seconds: int
    parking_seconds: int
    unsupported: tuple[str, ...]


def price(tariff: Tariff | None, periods: Sequence[Period], time_zone: str, currency: str = "EUR") -> Price:
    """The price of `periods`, which are in order of time and one session's. `time_zone` is the site's: the hours and days
    of restrictions are local (TC-06). Without a tariff everything costs nothing, in `currency`.

    `unsupported` is empty when the price is right. Else it names, in any order: no_tariff, restrictions, PARKING_TIME,
    step_size, min_price, max_price, or a dimension that OCPI does not have.
    """
    unsupported: set[str] = set() if tariff else {"no_tariff"}
    charges = _charges(tariff, periods, unsupported) if tariff else []
    total = _sum(charges)
    if tariff:
        unsupported.update(_bounds_crossed(tariff, total))
    return Price(
        currency=tariff.currency if tariff else currency,
        lines=tuple(_line(charge) for charge in charges),
        total_excl_vat=_money(total[0]),
        total_incl_vat=_money(total[1]),
        energy_cost=_cost(charges, "ENERGY"),
        time_cost=_cost(charges, "TIME"),
        fixed_cost=_cost(charges, "FLAT"),
        parking_cost=_cost(charges, "PARKING_TIME"),
        energy_mwh=sum(period.energy_mwh for period in periods),
        seconds=_whole(sum((_length(period) for period in periods), Fraction())),
        parking_seconds=_whole(sum((_length(period) for period in periods if period.parking), Fraction())),
        unsupported=tuple(sorted(unsupported)),
    )


# ---- from periods to charges ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dimension:
    """`amount` of a period in the unit that step_size counts, `per` how many of these make the unit of the price."""

    amount: Callable[[Period], Fraction]
    per: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class _Charge:
    component: PriceComponent
    amount: Fraction
    start: datetime

    @property
    def quantity(self) -> Fraction:
        return self.amount / DIMENSIONS[self.component.type].per

    @property
    def excl_vat(self) -> Fraction:
        return self.quantity * Fraction(self.component.price)

    @property
    def incl_vat(self) -> Fraction:
        return self.excl_vat * (1 + Fraction(self.component.vat or 0) / 100)


def _length(period: Period) -> Fraction:
    return Fraction(max(0, (period.end - period.start) // timedelta(microseconds=1)), 1_000_000)


DIMENSIONS = {
    "FLAT": _Dimension(lambda period: Fraction(1), 1, "session"),
    "ENERGY": _Dimension(lambda period: Fraction(period.energy_mwh, 1000), 1000, "kWh"),
    "TIME": _Dimension(lambda period: Fraction() if period.parking else _length(period), 3600, "h"),
    "PARKING_TIME": _Dimension(lambda period: _length(period) if period.parking else Fraction(), 3600, "h"),
}


def _charges(tariff: Tariff, periods: Sequence[Period], unsupported: set[str]) -> list[_Charge]:
    kinds = {component.type for element in tariff.elements for component in element.price_components}
    unsupported |= kinds - DIMENSIONS.keys()
    charges = []
    for dimension in DIMENSIONS:
        found = _charges_of(dimension, tariff, periods, unsupported)
        if dimension == "PARKING_TIME":
            if any(charge.component.price for charge in found):
                unsupported.add(dimension)
        else:
            charges += _stepped(found, unsupported)
    return charges


def _charges_of(dimension: str, tariff: Tariff, periods: Sequence[Period], unsupported: set[str]) -> list[_Charge]:
    """Neighbouring periods under one component are one charge. FLAT falls due once, when the session begins."""
    charges: list[_Charge] = []
    for period in periods[:1] if dimension == "FLAT" else periods:
        amount = DIMENSIONS[dimension].amount(period)
        component = _component(dimension, tariff, unsupported) if amount else None
        if component is None:
            continue
        if charges and charges[-1].component is component:
            charges[-1] = replace(charges[-1], amount=charges[-1].amount + amount)
        else:
            charges.append(_Charge(component=component, amount=amount, start=period.start))
    return charges


def _component(dimension: str, tariff: Tariff, unsupported: set[str]) -> PriceComponent | None:
    """TC-01: the first element that has the dimension. A restricted one may or may not be it: passed over, and named."""
    for element in tariff.elements:
        for component in element.price_components:
            if component.type == dimension:
                if not element.restrictions:
                    return component
                unsupported.add("restrictions")
    return None


def _stepped(charges: list[_Charge], unsupported: set[str]) -> list[_Charge]:
    """A session's total is billed in whole steps, the rest of the last one in its last charge (TC-17, TC-18).

    A step of 1 bills whole Wh and seconds, as the specification's note on 115.2 Wh has it; 0 means no steps (TC-22). A
    longer one is exact for a total that happens to meet it, else it is named: how it rounds depends on parking.
    """
    if not charges or charges[-1].component.type == "FLAT":
        return charges
    last = charges[-1]
    step_size = last.component.step_size
    rest = -sum(charge.amount for charge in charges) % step_size if step_size >= 1 else Fraction()
    if rest and step_size > 1 and last.component.price:
        unsupported.add("step_size")
    return [*charges[:-1], replace(last, amount=last.amount + rest)] if step_size == 1 else charges


def _bounds_crossed(tariff: Tariff, total: tuple[Fraction, Fraction]) -> Iterable[str]:
    """The totals without and with VAT are bounded each on its own (TC-23)."""
    for name, bound, sign in (("min_price", tariff.min_price, 1), ("max_price", tariff.max_price, -1)):
        pairs = zip(bound or (), total, strict=False)
        if any(limit is not None and (Fraction(limit) - amount) * sign > 0 for limit, amount in pairs):
            yield name


# ---- from charges to money ------------------------------------------------------------------------------------------


def _sum(charges: Iterable[_Charge]) -> tuple[Fraction, Fraction]:
    charges = tuple(charges)
    return (
        sum((charge.excl_vat for charge in charges), Fraction()),
        sum((charge.incl_vat for charge in charges), Fraction()),
    )


def _cost(charges: Iterable[_Charge], dimension: str) -> Money:
    excl_vat, incl_vat = _sum(charge for charge in charges if charge.component.type == dimension)
    return _money(excl_vat), _money(incl_vat)


def _line(charge: _Charge) -> Line:
    return Line(
        dimension=charge.component.type,
        quantity=_rounded(charge.quantity, 6),
        unit=DIMENSIONS[charge.component.type].unit,
        price=charge.component.price,
        vat=charge.component.vat,
        excl_vat=_money(charge.excl_vat),
        incl_vat=_money(charge.incl_vat),
        period_start=charge.start,
    )


def _money(amount: Fraction) -> Decimal:
    return _rounded(amount, 4)


def _rounded(amount: Fraction, decimals: int) -> Decimal:
    return Decimal(_whole(amount * 10**decimals)).scaleb(-decimals)


def _whole(amount: Fraction) -> int:
    """Half up, away from zero."""
    return floor(amount + Fraction(1, 2)) if amount >= 0 else -floor(-amount + Fraction(1, 2))


# ---- from the stored document ---------------------------------------------------------------------------------------


def _element(document: dict[str, Any]) -> Element:
    restrictions = {name: value for name, value in (document.get("restrictions") or {}).items() if value is not None}
    return Element(
        price_components=tuple(
            PriceComponent(
                type=component["type"],
                price=Decimal(str(component["price"])),
                vat=_decimal(component.get("vat")),
                step_size=int(component.get("step_size", 1)),
            )
            for component in document["price_components"]
        ),
        restrictions=restrictions or None,
    )


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _bound(document: dict[str, Any] | None) -> tuple[Decimal, Decimal | None] | None:
    return (Decimal(str(document["excl_vat"])), _decimal(document.get("incl_vat"))) if document else None
