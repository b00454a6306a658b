"""The price function against the specification's worked examples and a few properties."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csms.billing.pricing import ZERO, Price, Reservation, Rounding, price
from csms.billing.restrictions import Restrictions
from csms.billing.tariffs import Element, Period, PriceComponent, Tariff

VECTORS = Path(__file__).parents[2] / "vectors"
CASES = {
    case["id"]: case
    for case in json.loads((VECTORS / "pricing_vectors.json").read_text(), parse_float=Decimal)["vectors"]
}

T0 = datetime(2026, 3, 2, 10, tzinfo=UTC)


def tariff_of(case: dict[str, Any]) -> Tariff:
    document = case["tariff"]
    if isinstance(document, str):
        document = json.loads((VECTORS / "ocpi" / document).read_text(), parse_float=Decimal)
    return Tariff.from_json(id="T", version=1, document=document)


def periods_of(case: dict[str, Any]) -> tuple[list[Period], Reservation | None]:
    periods, reservation = [], None
    for told in case["periods"]:
        start = datetime.fromisoformat(told["start_local"]).replace(tzinfo=ZoneInfo(case["time_zone"])).astimezone(UTC)
        end = start + timedelta(seconds=told["seconds"])
        if "RESERVATION_TIME" in told:
            reservation = Reservation(start=start, end=end, expired=case["reservation"] == "expired")
            continue
        periods.append(
            Period(
                start=start,
                end=end,
                energy_mwh=int(Decimal(told.get("ENERGY", 0)) * 1_000_000),
                parking="PARKING_TIME" in told,
                current_a=Decimal(told["CURRENT"]) if "CURRENT" in told else None,
            )
        )
    return periods, reservation


def tariff(*elements: Element, **bounds: Any) -> Tariff:
    return Tariff(id="T", version=1, currency="EUR", elements=elements, type=None, **bounds)


def component(type: str, amount: str, vat: str | None = None, step_size: int = 1) -> PriceComponent:
    return PriceComponent(
        type=type, price=Decimal(amount), vat=None if vat is None else Decimal(vat), step_size=step_size
    )


def element(*components: PriceComponent, **restrictions: Any) -> Element:
    return Element(price_components=components, restrictions=Restrictions.from_json(restrictions))


def hour(kwh: str = "0", *, start: datetime = T0, seconds: float = 3600, parking: bool = False) -> Period:
    return Period(
        start=start,
        end=start + timedelta(seconds=seconds),
        energy_mwh=int(Decimal(kwh) * 1_000_000),
        parking=parking,
    )


# A slow machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- the worked examples (TC-29) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case_id", sorted(CASES))
def test_worked_example_is_priced_exactly(case_id: str) -> None:  # TC-13, TC-29
    case = CASES[case_id]
    periods, reservation = periods_of(case)
    result = price(tariff_of(case), periods, case["time_zone"], reservation=reservation)
    assert result.unsupported == ()
    assert result.total_excl_vat == Decimal(case["expected"]["excl_vat"]).quantize(Decimal("0.0001"))
    incl_vat = case["expected"]["incl_vat"] or case["expected"]["excl_vat"]
    assert result.total_incl_vat == Decimal(incl_vat).quantize(Decimal("0.0001"))
    billed = {
        name: sum((line.quantity for line in result.lines if line.dimension == name.rpartition("_")[0]), Decimal())
        for name in case.get("billed_quantities", {})
    }
    units = {"seconds": 3600, "wh": 1000}
    assert {name: round(quantity * units[name.rpartition("_")[2]]) for name, quantity in billed.items()} == case.get(
        "billed_quantities", {}
    )


def test_every_tariff_example_can_be_read() -> None:
    paths = sorted((VECTORS / "ocpi" / "2.2.1").glob("tariffs__*.json"))
    read = [Tariff.from_json(id="T", version=1, document=json.loads(path.read_text())) for path in paths]
    assert len(read) == 20
    assert all(each.elements for each in read)


# ---- looking up a component -----------------------------------------------------------------------------------------


def test_each_dimension_has_its_own_first_element() -> None:  # TC-01, TC-02
    both = tariff(
        element(component("ENERGY", "0.30")),
        element(component("ENERGY", "9.99"), component("TIME", "1.00")),
    )
    result = price(both, [hour("10")], "Europe/Berlin")
    assert result.energy_cost == (Decimal("3.0000"), Decimal("3.0000"))
    assert result.time_cost == (Decimal("1.0000"), Decimal("1.0000"))
    assert result.unsupported == ()


def test_dimension_that_no_element_has_costs_nothing() -> None:  # TC-03
    result = price(tariff(element(component("ENERGY", "0.30"))), [hour("10")], "Europe/Berlin")
    assert result.time_cost == result.fixed_cost == result.parking_cost == ZERO
    assert [line.dimension for line in result.lines] == ["ENERGY"]


def test_restricted_element_behind_an_unrestricted_one_is_never_reached() -> None:  # TC-01
    result = price(
        tariff(element(component("ENERGY", "0.30")), element(component("ENERGY", "0.20"), start_time="22:00")),
        [hour("10")],
        "Europe/Berlin",
    )
    assert result.unsupported == ()


def test_empty_restrictions_restrict_nothing() -> None:
    document = {
        "currency": "EUR",
        "elements": [
            {
                "price_components": [{"type": "FLAT", "price": "1.00", "vat": None}],
                "restrictions": {"start_time": None},
            }
        ],
    }
    result = price(Tariff.from_json(id="T", version=3, document=document), [hour()], "Europe/Berlin")
    assert (result.total_excl_vat, result.unsupported) == (Decimal("1.0000"), ())


def test_dimension_that_ocpi_does_not_have_is_named() -> None:
    odd = tariff(element(component("ENERGY", "0.30"), component("MOONLIGHT", "1.00")))
    assert price(odd, [hour("10")], "Europe/Berlin").unsupported == ("MOONLIGHT",)


# ---- parking, steps, bounds -------------------------------------------------------------------------------------------


def test_tariff_of_time_alone_bills_nothing_for_parking() -> None:  # TC-15
    parked = hour(start=T0 + timedelta(hours=1), parking=True)
    result = price(tariff(element(component("TIME", "2.00"))), [hour("10"), parked], "Europe/Berlin")
    assert (result.total_excl_vat, result.unsupported) == (Decimal("2.0000"), ())


@pytest.mark.parametrize(
    ("step_size", "kwh", "billed"),
    [
        (-1, "0.1152", "0.1152"),
        (0, "0.1152", "0.1152"),  # TC-22
        (1, "0.1152", "0.116"),
        (1, "0.115", "0.115"),
        (500, "1.5", "1.5"),
        (500, "1.4", "1.5"),
        (500, "0", "0"),
    ],
)
def test_step_size_of_energy(step_size: int, kwh: str, billed: str) -> None:  # TC-16
    result = price(tariff(element(component("ENERGY", "1.00", step_size=step_size))), [hour(kwh)], "Europe/Berlin")
    assert sum((line.quantity for line in result.lines), Decimal()) == Decimal(billed)
    assert sum((line.measured for line in result.lines), Decimal()) == Decimal(kwh)
    assert result.energy_mwh == int(Decimal(kwh) * 1_000_000)


def test_step_size_is_of_the_whole_session_not_of_each_period() -> None:  # TC-17
    halves = [hour("0.0004"), hour("0.0004", start=T0 + timedelta(hours=1))]
    result = price(tariff(element(component("ENERGY", "1000"))), halves, "Europe/Berlin")
    assert [line.quantity for line in result.lines] == [Decimal("0.001")]


def test_seconds_are_billed_whole() -> None:
    result = price(
        tariff(element(component("TIME", "3600"))), [hour(seconds=10.25), hour(seconds=10.25)], "Europe/Berlin"
    )
    assert result.total_excl_vat == Decimal("21.0000")


@pytest.mark.parametrize(
    ("bounds", "excl_vat", "incl_vat"),  # of 3.00 and 3.30
    [
        ({"min_price": ("3.00", None)}, "3.00", "3.30"),
        ({"min_price": ("3.01", None)}, "3.01", "3.311"),
        ({"min_price": ("3.00", "3.31")}, "3.00", "3.31"),
        ({"min_price": ("4.00", "3.00")}, "4.00", "3.30"),
        ({"max_price": ("3.00", "3.30")}, "3.00", "3.30"),
        ({"max_price": ("2.00", None)}, "2.00", "2.20"),
        ({"max_price": ("3.00", "3.29")}, "3.00", "3.29"),
        ({"min_price": ("5.00", "5.50"), "max_price": ("4.00", "4.40")}, "4.00", "4.40"),
    ],
)
def test_totals_are_bounded_each_on_its_own(bounds: dict[str, Any], excl_vat: str, incl_vat: str) -> None:  # TC-23
    bounded = tariff(
        element(component("ENERGY", "0.30", "10")),
        **{name: tuple(None if part is None else Decimal(part) for part in bound) for name, bound in bounds.items()},
    )
    result = price(bounded, [hour("10")], "Europe/Berlin")
    assert (result.total_excl_vat, result.total_incl_vat) == (Decimal(excl_vat), Decimal(incl_vat))
    assert result.energy_cost == (Decimal("3.0000"), Decimal("3.3000"))


@pytest.mark.parametrize(("vat_of_time", "incl_vat"), [("10", "5.50"), ("20", "5.00"), (None, "5.00")])
def test_what_nothing_was_used_of_costs_the_least_price_at_the_tariffs_one_rate(
    vat_of_time: str | None, incl_vat: str
) -> None:  # TC-23
    """As one Wh of it would."""
    parts = (component("ENERGY", "0.30", "10"), component("PARKING_TIME", "1", vat_of_time))
    result = price(tariff(element(*parts), min_price=(Decimal(5), None)), [hour("0")], "Europe/Berlin")
    assert (result.total_excl_vat, result.total_incl_vat) == (Decimal(5), Decimal(incl_vat))


# ---- money ----------------------------------------------------------------------------------------------------------


def test_vat_belongs_to_the_component_and_none_means_none_applies() -> None:  # TC-24
    mixed = tariff(element(component("FLAT", "0.50", "20"), component("ENERGY", "0.25", "10"), component("TIME", "1")))
    result = price(mixed, [hour("20")], "Europe/Berlin")
    assert result.fixed_cost == (Decimal("0.5000"), Decimal("0.6000"))
    assert result.energy_cost == (Decimal("5.0000"), Decimal("5.5000"))
    assert result.time_cost == (Decimal("1.0000"), Decimal("1.0000"))
    assert (result.total_excl_vat, result.total_incl_vat) == (Decimal("6.5000"), Decimal("7.1000"))


def test_money_is_rounded_half_up_once_in_each_field() -> None:  # TC-27
    halves = tariff(element(component("FLAT", "0.00005"), component("ENERGY", "0.00005")))
    result = price(halves, [hour("1")], "Europe/Berlin")
    assert [line.excl_vat for line in result.lines] == [Decimal("0.0001"), Decimal("0.0000")]
    assert result.total_excl_vat == Decimal("0.0001")


@pytest.mark.parametrize(
    ("rounding", "amount", "rounded"),
    [
        (Rounding(), "0.00005", "0.0001"),
        (Rounding(2), "0.125", "0.13"),
        (Rounding(2), "-0.125", "-0.13"),
        (Rounding(2, to_even=True), "0.125", "0.12"),
        (Rounding(2, to_even=True), "0.135", "0.14"),
        (Rounding(2, to_even=True), "-0.125", "-0.12"),
        (Rounding(0), "0.5", "1"),
        (Rounding(0, to_even=True), "0.5", "0"),
    ],
)
def test_how_money_is_rounded_is_a_policy(rounding: Rounding, amount: str, rounded: str) -> None:  # TC-27
    assert rounding(Fraction(amount)) == Decimal(rounded)


def test_third_of_an_hour_is_exact() -> None:
    result = price(tariff(element(component("TIME", "3.00"))), [hour(seconds=1200)], "Europe/Berlin")
    assert result.total_excl_vat == Decimal("1.0000")
    assert result.lines[0].quantity == Decimal("0.333333")


def test_start_fee_falls_due_once_however_many_periods() -> None:
    parts = [hour("1", start=T0 + timedelta(hours=n)) for n in range(3)]
    result = price(tariff(element(component("FLAT", "0.50"))), parts, "Europe/Berlin")
    assert result.total_excl_vat == Decimal("0.5000")
    assert [(line.quantity, line.unit, line.period_start) for line in result.lines] == [(Decimal(1), "session", T0)]


def test_without_a_tariff_nothing_is_charged_and_that_is_named() -> None:
    result = price(None, [hour("10")], "Europe/Berlin", currency="SEK")
    assert (result.currency, result.lines, result.total_incl_vat) == ("SEK", (), Decimal("0.0000"))
    assert (result.energy_mwh, result.seconds, result.unsupported) == (10_000_000, 3600, ("no_tariff",))


def test_before_the_first_period_there_is_nothing_to_pay() -> None:
    result = price(tariff(element(component("FLAT", "0.50"))), [], "Europe/Berlin")
    assert (result.lines, result.total_excl_vat, result.seconds) == ((), Decimal("0.0000"), 0)


PERIODS = st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 7200), st.booleans()), min_size=1, max_size=8).map(
    lambda parts: [
        Period(
            start=T0 + timedelta(seconds=sum(seconds for _, seconds, _ in parts[:n])),
            end=T0 + timedelta(seconds=sum(seconds for _, seconds, _ in parts[: n + 1])),
            energy_mwh=energy_mwh,
            parking=parking,
        )
        for n, (energy_mwh, _, parking) in enumerate(parts)
    ]
)
PLAIN = tariff(element(component("FLAT", "0.35", "21"), component("ENERGY", "0.37", "10"), component("TIME", "1.19")))


@PATIENT
@given(PERIODS)
def test_total_is_the_sum_of_its_lines_and_of_its_costs(periods: list[Period]) -> None:
    result = price(PLAIN, periods, "Europe/Berlin")
    costs = (result.energy_cost, result.time_cost, result.fixed_cost, result.parking_cost)
    for n, total in enumerate((result.total_excl_vat, result.total_incl_vat)):
        assert total == sum((cost[n] for cost in costs), Decimal())
    assert result.total_excl_vat == sum((line.excl_vat for line in result.lines), Decimal())
    assert result.total_incl_vat == sum((line.incl_vat for line in result.lines), Decimal())


@PATIENT
@given(PERIODS, st.integers(0, 7))
def test_session_grows_dearer_as_it_goes_on_and_cutting_a_period_changes_nothing(
    periods: list[Period], index: int
) -> None:
    def money(result: Price) -> tuple[Decimal, Decimal]:
        return result.total_excl_vat, result.total_incl_vat

    whole = price(PLAIN, periods, "Europe/Berlin")
    assert money(price(PLAIN, periods[:index], "Europe/Berlin")) <= money(whole)
    cut = periods[index % len(periods)]
    middle = cut.start + (cut.end - cut.start) / 2
    first = Period(start=cut.start, end=middle, energy_mwh=cut.energy_mwh // 2, parking=cut.parking)
    rest = Period(start=middle, end=cut.end, energy_mwh=cut.energy_mwh - cut.energy_mwh // 2, parking=cut.parking)
    at = index % len(periods)
    assert money(price(PLAIN, [*periods[:at], first, rest, *periods[at + 1 :]], "Europe/Berlin")) == money(whole)
