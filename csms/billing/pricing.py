"""What a session costs: one price function, for the running session and for the final record alike (TC-28).

Amounts are exact fractions until the end. Then each running sum of the lines is rounded, and a line is the difference of two
such sums: so the lines add up to the total to the last digit, and no line is more than one digit off (TC-27).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

from csms.billing.restrictions import (
    RESERVATION,
    RESERVATION_EXPIRES,
    Moment,
    applies,
    clock_changes,
    durations,
    levels,
)
from csms.billing.tariffs import Element, Period, PriceComponent, Tariff

Money = tuple[Decimal, Decimal]  # without and with VAT

MICROSECOND = timedelta(microseconds=1)
NO_TARIFF = "no_tariff"


@dataclass(frozen=True)
class Rounding:
    """`decimals` of the currency's unit; half goes up, or with `to_even` to the even digit."""

    decimals: int = 4
    to_even: bool = False

    def __call__(self, amount: Fraction) -> Decimal:
        whole, rest = divmod(abs(amount.numerator) * 10**self.decimals, amount.denominator)
        twice = 2 * rest - amount.denominator
        whole += twice > 0 or (twice == 0 and not (self.to_even and whole % 2 == 0))
        return Decimal(whole if amount >= 0 else -whole).scaleb(-self.decimals)


TO_FOUR_DECIMALS = Rounding()
ZERO: Money = (Decimal("0.0000"), Decimal("0.0000"))


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The time that an EVSE was kept free: until the session began, or, `expired`, until nobody came."""

    start: datetime
    end: datetime
    expired: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the bill: `quantity` kWh, hours (six decimals) or 1, as billed; `measured` before its last step was
    filled up. `element` and `component` are places in the tariff, `periods` those in the priced periods; of what the tariff's
    least or highest price added they are None and empty."""

    dimension: str
    quantity: Decimal
    measured: Decimal
    unit: str
    price: Decimal
    vat: Decimal | None
    excl_vat: Decimal
    incl_vat: Decimal
    period_start: datetime
    element: int | None = None
    component: int | None = None
    periods: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Price:
    """`periods` are those that were priced: cut wherever the price could change. `seconds` is the whole session, parking
    included; the time of the `reservation`, None where no element has a price for it, is none of it. The costs are (without
    VAT, with VAT); what a least or highest price changed is in the total alone."""

    currency: str
    periods: tuple[Period, ...]
    lines: tuple[Line, ...]
    total_excl_vat: Decimal
    total_incl_vat: Decimal
    energy_cost: Money
    time_cost: Money
    fixed_cost: Money
    parking_cost: Money
    reservation_cost: Money
    energy_mwh: int
    seconds: int
    parking_seconds: int
    unsupported: tuple[str, ...]
    reservation: Reservation | None = None


def price(
    tariff: Tariff | None,
    periods: Sequence[Period],
    time_zone: str,
    currency: str = "EUR",
    *,
    reservation: Reservation | None = None,
    rounding: Rounding = TO_FOUR_DECIMALS,
) -> Price:
    """The price of `periods`, which are in order of time and one session's; they are cut here where the price can change.
    `time_zone` is the site's (TC-06). Without a tariff everything costs nothing, in `currency`.

    `unsupported` is empty when the price is right. Else it names, in any order: no_tariff, a restriction on what nobody
    measured (max_current, ...) or that OCPI does not have, or such a dimension.
    """
    return price_of([(tariff, periods)], time_zone, currency, reservation=reservation, rounding=rounding)


def price_of(
    parts: Sequence[tuple[Tariff | None, Sequence[Period]]],
    time_zone: str,
    currency: str = "EUR",
    *,
    reservation: Reservation | None = None,
    rounding: Rounding = TO_FOUR_DECIMALS,
) -> Price:
    """As `price`, for a session whose tariff changed on the way: each part has its own. Steps are filled up once, at the
    end (TC-20); a start fee is the first tariff's, the least and highest price are the last one's."""
    zone = ZoneInfo(time_zone)
    began = next((period.start for _, periods in parts for period in periods), None)
    session = _Session(began, zone)
    for tariff, periods in parts:
        session.add(tariff, periods)
    reserved = _reserved(parts[0][0], reservation, zone, session.unsupported) if reservation and parts else []
    charges = [*reserved, *session.charges()]
    last = parts[-1][0] if parts else None
    charges += _adjustments(last, charges, began or (reservation.start if reservation else datetime.now(UTC)))
    return _totalled(charges, session, last.currency if last else currency, rounding, reservation if reserved else None)


# ---- from periods to charges ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dimension:
    """`amount` of a period, of which `parts` make the unit that step_size counts, and `per` of these the unit of the price."""

    amount: Callable[[Period], int]
    parts: int
    per: int
    unit: str


def _length(period: Period) -> int:
    """In microseconds."""
    return max(0, (period.end - period.start) // MICROSECOND)


DIMENSIONS = {
    "FLAT": _Dimension(lambda period: 1, 1, 1, "session"),
    "ENERGY": _Dimension(lambda period: period.energy_mwh, 1000, 1000, "kWh"),
    "TIME": _Dimension(lambda period: 0 if period.parking else _length(period), 1_000_000, 3600, "h"),
    "PARKING_TIME": _Dimension(lambda period: _length(period) if period.parking else 0, 1_000_000, 3600, "h"),
}
OF_RESERVATION = {"FLAT": "RESERVATION_FLAT", "TIME": "RESERVATION_TIME"}
UNIT = {name: (dimension.per, dimension.unit) for name, dimension in DIMENSIONS.items()} | {
    "RESERVATION_FLAT": (1, "reservation"),
    "RESERVATION_TIME": (3600, "h"),
    "MIN_PRICE": (1, "session"),
    "MAX_PRICE": (1, "session"),
}


@dataclass(frozen=True, kw_only=True)
class _Charge:
    dimension: str
    component: PriceComponent
    measured: Fraction
    start: datetime
    rest: Fraction = Fraction()  # that filled up the last step
    place: tuple[int, int] | None = None
    periods: tuple[int, ...] = ()
    fixed: tuple[Fraction, Fraction] | None = None  # without and with VAT, of what no component prices

    @cached_property
    def quantity(self) -> Fraction:
        return (self.measured + self.rest) / UNIT[self.dimension][0]

    @cached_property
    def amounts(self) -> tuple[Fraction, Fraction]:
        if self.fixed is not None:
            return self.fixed
        excl_vat = self.quantity * Fraction(self.component.price)
        return excl_vat, excl_vat * (1 + Fraction(self.component.vat or 0) / 100)


@dataclass
class _Running:
    """A charge that still grows, in the smallest parts of its dimension."""

    component: PriceComponent
    place: tuple[int, int]
    start: datetime
    amount: int
    periods: list[int]


class _Session:
    """The charges of a session as its periods are added."""

    def __init__(self, began: datetime | None, zone: ZoneInfo) -> None:
        self.periods: list[Period] = []
        self.unsupported: set[str] = set()
        self._began = began
        self._zone = zone
        self._energy_mwh = 0
        self._running: dict[str, list[_Running]] = {dimension: [] for dimension in DIMENSIONS}

    def add(self, tariff: Tariff | None, periods: Sequence[Period]) -> None:
        if tariff is None:
            self.unsupported.add(NO_TARIFF)
            self.periods += periods
            self._energy_mwh += sum(period.energy_mwh for period in periods)
            return
        kinds = {component.type for element in tariff.elements for component in element.price_components}
        self.unsupported |= kinds - DIMENSIONS.keys()
        asked = [(name, dimension) for name, dimension in DIMENSIONS.items() if name in kinds]
        depends = any(element.restrictions is not None for element in tariff.elements)
        for period in self._cut(tariff, periods):
            self._charge(tariff, asked, period, self._moment(period) if depends else None)
            self._energy_mwh += period.energy_mwh
            self.periods.append(period)

    def charges(self) -> list[_Charge]:
        """TC-17 to TC-21: a session's total is billed in whole steps, once for energy and once for time."""
        found = {name: [_ended(name, one) for one in running] for name, running in self._running.items()}
        paid = {name: [charge for charge in charges if charge.component.price] for name, charges in found.items()}
        _fill_up(found["ENERGY"], found["ENERGY"])
        timed = "PARKING_TIME" if paid["PARKING_TIME"] else "TIME"
        _fill_up(found[timed], paid[timed])
        return [charge for charges in found.values() for charge in charges]

    def _charge(
        self, tariff: Tariff, asked: Sequence[tuple[str, _Dimension]], period: Period, moment: Moment | None
    ) -> None:
        """Neighbouring periods under one component are one charge. FLAT falls due once, when the session begins."""
        index = len(self.periods)
        for name, dimension in asked:
            amount = dimension.amount(period) if name != "FLAT" or index == 0 else 0
            found = self._component(tariff, name, moment) if amount else None
            if found is None:
                continue
            component, place = found
            running = self._running[name]
            if running and running[-1].component is component:
                running[-1].amount += amount
                running[-1].periods.append(index)
            else:
                running.append(_Running(component, place, period.start, amount, [index]))

    def _component(
        self, tariff: Tariff, dimension: str, moment: Moment | None
    ) -> tuple[PriceComponent, tuple[int, int]] | None:
        """TC-01: the first element that has the dimension and applies now. One of which that cannot be said is passed
        over, and named."""
        for number, element in enumerate(tariff.elements):
            place = _place(element, dimension)
            if place is None or (element.restrictions is not None and element.restrictions.reservation is not None):
                continue
            if element.restrictions is not None:
                assert moment is not None
                holds = applies(element.restrictions, moment)
                if holds is None:
                    self.unsupported |= _unmeasured(element, moment)
                if not holds:
                    continue
            return element.price_components[place], (number, place)
        return None

    def _moment(self, period: Period) -> Moment:
        began = self._began or period.start
        power = period.power_w
        if power is None and (length := (period.end - period.start) // MICROSECOND) > 0:
            power = period.energy_mwh * 3_600_000 // length  # the mean, where nobody measured it
        return Moment(
            local=period.start.astimezone(self._zone),
            energy_kwh=Decimal(self._energy_mwh).scaleb(-6),
            duration_s=Decimal((period.start - began) // MICROSECOND).scaleb(-6),
            current_a=period.current_a,
            power_kw=None if power is None else Decimal(power).scaleb(-3),
        )

    # ---- cutting ----------------------------------------------------------------------------------------------------

    def _cut(self, tariff: Tariff, periods: Sequence[Period]) -> Iterable[Period]:
        """The same stretches, cut wherever an element may begin or cease to apply (TC-05)."""
        restrictions = [element.restrictions for element in tariff.elements if element.restrictions is not None]
        if not restrictions or not periods:
            return periods
        began = self._began or periods[0].start
        moments = clock_changes(restrictions, periods[0].start, periods[-1].end, self._zone)
        moments |= {began + limit for limit in durations(restrictions)}
        limits = levels(restrictions)
        passed = self._energy_mwh
        pieces: list[Period] = []
        in_order = sorted(moments)
        for period in periods:
            cuts = _cuts(period, in_order, [level - passed for level in limits])
            pieces += _pieces(period, cuts)
            passed += period.energy_mwh
        return pieces


def _ended(dimension: str, running: _Running) -> _Charge:
    return _Charge(
        dimension=dimension,
        component=running.component,
        measured=Fraction(running.amount, DIMENSIONS[dimension].parts),
        start=running.start,
        place=running.place,
        periods=tuple(running.periods),
    )


def _fill_up(found: list[_Charge], charges: Sequence[_Charge]) -> None:
    """The rest of the last step goes to the last of `charges`, whose component says how long a step is (TC-18). 0 and less
    means that there are none (TC-22)."""
    if not charges:
        return
    last = charges[-1]
    step_size = last.component.step_size
    rest = -sum(charge.measured for charge in charges) % step_size if step_size >= 1 else Fraction()
    found[found.index(last)] = replace(last, rest=Fraction(rest))


def _cuts(period: Period, moments: Sequence[datetime], levels: Sequence[int]) -> list[tuple[datetime, int]]:
    """(moment, mWh passed by then) within the period, in order; its energy passed evenly."""
    length, energy = (period.end - period.start) // MICROSECOND, period.energy_mwh
    found = [
        (moment, energy * ((moment - period.start) // MICROSECOND) // length)
        for moment in moments
        if period.start < moment < period.end
    ]
    found += [
        (period.start + MICROSECOND * (length * level // energy), level) for level in levels if 0 < level < energy
    ]
    return sorted(set(found))


def _pieces(period: Period, cuts: Sequence[tuple[datetime, int]]) -> Iterable[Period]:
    if not cuts:
        return (period,)
    ends = [(period.start, 0), *cuts, (period.end, period.energy_mwh)]
    return (
        replace(period, start=start, end=end, energy_mwh=after - before)
        for (start, before), (end, after) in pairwise(ends)
    )


def _place(element: Element, dimension: str) -> int | None:
    found = (place for place, component in enumerate(element.price_components) if component.type == dimension)
    return next(found, None)


def _unmeasured(element: Element, moment: Moment) -> set[str]:
    r = element.restrictions
    assert r is not None
    told = {"min_current": moment.current_a, "max_current": moment.current_a}
    told |= {"min_power": moment.power_kw, "max_power": moment.power_kw}
    return {*r.unknown, *(name for name, value in told.items() if value is None and getattr(r, name) is not None)}


# ---- reservations and bounds ----------------------------------------------------------------------------------------


def _reserved(tariff: Tariff | None, reservation: Reservation, zone: ZoneInfo, unsupported: set[str]) -> list[_Charge]:
    """TC-25, TC-26: a used reservation is priced by the RESERVATION elements. One that expired pays their FLAT and that of
    the RESERVATION_EXPIRES elements, and the time of these, or where they have none, of those."""
    if tariff is None:
        unsupported.add(NO_TARIFF)
        return []
    kinds = (RESERVATION_EXPIRES, RESERVATION) if reservation.expired else (RESERVATION,)
    length = Fraction(max(0, (reservation.end - reservation.start) // MICROSECOND), 1_000_000)
    moment = Moment(local=reservation.start.astimezone(zone), energy_kwh=Decimal(0), duration_s=Decimal(0))
    found: dict[str, list[_Charge]] = {"FLAT": [], "TIME": []}
    for kind in kinds:
        for dimension, charges in found.items():
            charge = _of_reservation(tariff, kind, dimension, moment, length, reservation.start, unsupported)
            if charge is not None and (dimension == "FLAT" or not charges):
                charges.append(charge)
    return [*found["FLAT"], *found["TIME"]]


def _of_reservation(
    tariff: Tariff,
    kind: str,
    dimension: str,
    moment: Moment,
    length: Fraction,
    start: datetime,
    unsupported: set[str],
) -> _Charge | None:
    for number, element in enumerate(tariff.elements):
        place = _place(element, dimension)
        r = element.restrictions
        if place is None or r is None or r.reservation != kind:
            continue
        holds = applies(r, moment)
        if holds is None:
            unsupported |= _unmeasured(element, moment)
        if not holds:
            continue
        component = element.price_components[place]
        measured = Fraction(1) if dimension == "FLAT" else length
        step_size = component.step_size if dimension == "TIME" else 0
        return _Charge(
            dimension=OF_RESERVATION[dimension],
            component=component,
            measured=measured,
            rest=Fraction(-measured % step_size) if step_size >= 1 else Fraction(),
            start=start,
            place=(number, place),
        )
    return None


def _adjustments(tariff: Tariff | None, charges: Sequence[_Charge], at: datetime) -> list[_Charge]:
    """TC-23: the totals without and with VAT are bounded each on its own. A bound that names no amount with VAT bounds it
    at the same rate as the session has, one that costs nothing at the tariff's, where it has one rate alone."""
    rates = {part.vat or 0 for element in (tariff.elements if tariff else ()) for part in element.price_components}
    of_tariff = 1 + Fraction(rates.pop()) / 100 if len(rates) == 1 else Fraction(1)
    found: list[_Charge] = []
    for name, sign in (("MIN_PRICE", 1), ("MAX_PRICE", -1)):
        bound = getattr(tariff, name.lower(), None)
        if bound is None:
            continue
        excl, incl = _sum([*charges, *found])
        least_excl = Fraction(bound[0])
        least_incl = Fraction(bound[1]) if bound[1] is not None else least_excl * (incl / excl if excl else of_tariff)
        change = tuple(
            sign * max(Fraction(), sign * (limit - amount))
            for limit, amount in ((least_excl, excl), (least_incl, incl))
        )
        if any(change):
            component = PriceComponent(type=name, price=bound[0], vat=None, step_size=0)
            found.append(
                _Charge(
                    dimension=name, component=component, measured=Fraction(1), start=at, fixed=(change[0], change[1])
                )
            )
    return found


# ---- from charges to money ------------------------------------------------------------------------------------------


def _sum(charges: Iterable[_Charge]) -> tuple[Fraction, Fraction]:
    amounts = [charge.amounts for charge in charges]
    return sum((excl for excl, _ in amounts), Fraction()), sum((incl for _, incl in amounts), Fraction())


def _totalled(
    charges: Sequence[_Charge],
    session: _Session,
    currency: str,
    rounding: Rounding,
    reservation: Reservation | None,
) -> Price:
    sums = [[rounding(amount) for amount in accumulate(c.amounts[side] for c in charges)] for side in (0, 1)]
    nothing = rounding(Fraction())
    parts = [[after - before for before, after in pairwise([nothing, *of_side])] for of_side in sums]
    lines = tuple(_line(charge, excl, incl) for charge, excl, incl in zip(charges, *parts, strict=True))

    def cost(*dimensions: str) -> Money:
        of_them = [line for line in lines if line.dimension in dimensions]
        return sum((line.excl_vat for line in of_them), nothing), sum((line.incl_vat for line in of_them), nothing)

    return Price(
        currency=currency,
        periods=tuple(session.periods),
        lines=lines,
        total_excl_vat=sums[0][-1] if lines else nothing,
        total_incl_vat=sums[1][-1] if lines else nothing,
        energy_cost=cost("ENERGY"),
        time_cost=cost("TIME"),
        fixed_cost=cost("FLAT"),
        parking_cost=cost("PARKING_TIME"),
        reservation_cost=cost("RESERVATION_FLAT", "RESERVATION_TIME"),
        energy_mwh=sum(period.energy_mwh for period in session.periods),
        seconds=_whole_seconds(session.periods),
        parking_seconds=_whole_seconds(period for period in session.periods if period.parking),
        unsupported=tuple(sorted(session.unsupported)),
        reservation=reservation,
    )


def _line(charge: _Charge, excl_vat: Decimal, incl_vat: Decimal) -> Line:
    per, unit = UNIT[charge.dimension]
    return Line(
        dimension=charge.dimension,
        quantity=QUANTITY(charge.quantity),
        measured=QUANTITY(charge.measured / per),
        unit=unit,
        price=charge.component.price,
        vat=charge.component.vat,
        excl_vat=excl_vat,
        incl_vat=incl_vat,
        period_start=charge.start,
        element=charge.place[0] if charge.place else None,
        component=charge.place[1] if charge.place else None,
        periods=charge.periods,
    )


QUANTITY = Rounding(6)


def _whole_seconds(periods: Iterable[Period]) -> int:
    return int(Rounding(0)(Fraction(sum(map(_length, periods)), 1_000_000)))
