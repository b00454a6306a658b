from decimal import Decimal

import pytest

from adapters.cdrs import cdr_to_ocpi
from adapters.locations import location_to_ocpi
from adapters.sessions import session_to_ocpi
from csms.billing.pricing import DIMENSIONS
from tests.adapters.rows import charge_record, connector, cost, evse, location, periods, station, tariff, transaction

SESSION_ONLY = {"CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE"}


def dimensions(body):
    return [{entry["type"] for entry in period["dimensions"]} for period in body["charging_periods"]]


def test_every_period_tells_energy_and_time_whatever_the_tariff_prices():  # CD-25
    body = cdr_to_ocpi(charge_record(), tariff(), transaction())
    charging, charging_too, parking = dimensions(body)
    assert charging == charging_too == {"ENERGY", "TIME"}
    assert parking in ({"PARKING_TIME"}, {"ENERGY", "PARKING_TIME"})


def test_no_period_has_a_flat_part_or_what_belongs_to_sessions_only():  # CD-26, SE-21
    body = cdr_to_ocpi(charge_record(), tariff(), transaction())
    told = set().union(*dimensions(body))
    assert "FLAT" in DIMENSIONS
    assert told & (SESSION_ONLY | {"FLAT"}) == set()


def test_the_cdr_has_an_id_of_its_own_that_fits():  # CD-09
    body = cdr_to_ocpi(charge_record(), tariff(), transaction())
    assert 0 < len(body["id"]) <= 36
    assert body["id"] != body["session_id"]


def test_costs_are_pairs_without_and_with_vat():  # CD-21, CD-23
    body = cdr_to_ocpi(charge_record(), tariff(), transaction())
    costs = {name: body[name] for name in ("total_cost", "total_fixed_cost", "total_energy_cost")}
    assert all(set(pair) == {"excl_vat", "incl_vat"} for pair in costs.values())
    assert costs["total_fixed_cost"] == {"excl_vat": Decimal("0.5"), "incl_vat": Decimal("0.6")}


@pytest.mark.parametrize("method", ["WHITELIST", "AUTH_REQUEST", "COMMAND"])
def test_the_cdr_says_how_the_card_was_last_authorized(method):  # CD-24
    assert cdr_to_ocpi(charge_record(), tariff(), transaction(auth_method=method))["auth_method"] == method


def test_a_session_of_an_hour_tells_its_quarters():  # SE-20, ER-04
    body = session_to_ocpi(transaction(), periods(2_000_000, 2_000_000, 2_000_000, 2_000_000, 1), cost())
    energy = [entry["volume"] for period in body["charging_periods"] for entry in period["dimensions"][:1]]
    assert energy == [2, 2, 2, 2]  # kWh, although the specification's own examples show Wh


def test_a_location_is_told_with_all_it_has():  # LO-03, LO-48
    evses = [(evse(1), [connector()]), (evse(2), [connector(2, max_electric_power=11_000)])]
    body = location_to_ocpi(location(), evses, {"CP001": station()})
    first, second = (each["connectors"][0] for each in body["evses"])
    assert "max_electric_power" not in first
    assert second["max_electric_power"] == 11_000
