from datetime import timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cdrs import cdr_to_ocpi
from adapters.datatypes import moment
from adapters.periods import charging_periods, total
from adapters.rendered import encode
from adapters.sessions import STATUS, session_patch, session_to_ocpi
from csms.billing.tariffs import Period
from csms.lifecycle import State
from tests.adapters.field_tables import problems, tables, vector
from tests.adapters.rows import NOON, SNAPSHOT, charge_record, cost, periods, tariff, transaction


def test_a_running_session_is_as_the_field_tables_say():  # SE-08
    body = session_to_ocpi(transaction(), periods(4_000_000, 4_000_000, 345_678), cost())

    assert problems(body, "Session") == []
    assert body["status"] == "ACTIVE"
    assert body["kwh"] == Decimal("12.3457")
    assert body["total_cost"] == {"excl_vat": Decimal("3.5865"), "incl_vat": Decimal("3.9952")}
    assert body["cdr_token"] == {
        "country_code": "DE",
        "party_id": "TNM",
        "uid": "04A1b2C3",
        "type": "RFID",
        "contract_id": "DE-TNM-C00000001-X",
    }  # SE-23, TK-10
    assert "end_date_time" not in body


def test_the_period_that_still_grows_is_not_told():  # SE-07
    running = session_to_ocpi(transaction(), periods(4_000_000, 345_678), cost())
    ended = session_to_ocpi(transaction(state="ended", ended_at=NOON), periods(4_000_000, 345_678), cost())

    assert [period["start_date_time"] for period in running["charging_periods"]] == ["2026-03-04T12:00:00Z"]
    assert running["charging_periods"] == ended["charging_periods"][:1]
    assert "charging_periods" not in session_to_ocpi(transaction(), periods(1), cost())


def test_energy_is_told_in_kwh_and_time_in_hours():  # SE-18
    body = session_to_ocpi(transaction(), periods(4_000_000, 0), cost())

    assert body["charging_periods"] == [
        {
            "start_date_time": "2026-03-04T12:00:00Z",
            "dimensions": [{"type": "ENERGY", "volume": 4}, {"type": "TIME", "volume": Decimal("0.25")}],
            "tariff_id": "standard-ac",
        }
    ]


@pytest.mark.parametrize(
    ("state", "status"),
    [("active", "ACTIVE"), ("orphaned", "ACTIVE"), ("ended", "COMPLETED"), ("refused", "INVALID")],
)
def test_states_become_statuses(state, status):  # SE-10
    assert STATUS.keys() == set(State)
    assert set(STATUS.values()) <= set(tables()["enums"]["SessionStatus"]["values"])
    ended = NOON + timedelta(hours=1) if state == "ended" else None
    body = session_to_ocpi(transaction(state=state, ended_at=ended), [], cost())
    assert body["status"] == status
    assert body.get("end_date_time") == ("2026-03-04T13:00:00Z" if ended else None)  # SE-24


def test_a_cost_that_is_not_known_is_not_told_and_free_is_zero():  # SE-22
    unknown = session_to_ocpi(transaction(), [], cost("0", "0", unsupported=("no_tariff",)))
    free = session_to_ocpi(transaction(), [], cost("0.0000", "0.0000"))

    assert "total_cost" not in unknown
    assert free["total_cost"] == {"excl_vat": 0, "incl_vat": 0}


@pytest.mark.parametrize(
    ("flags", "cause", "is_known"),
    [
        ((), "local", True),
        (("late_samples",), "local", True),
        (("meter_mismatch",), "local", False),
        ((), "never_stopped", False),
    ],
)
def test_what_a_person_must_look_at_first_has_no_cost_yet(flags, cause, is_known):  # SE-22, SE-11
    ended = {"state": "ended", "ended_at": NOON + timedelta(hours=1), "cause": cause, "flags": list(flags)}
    assert ("total_cost" in session_to_ocpi(transaction(**ended), [], cost())) is is_known
    assert "total_cost" in session_to_ocpi(transaction(flags=list(flags)), [], cost())


def test_a_command_and_its_reference_are_told():  # SE-16, SE-17
    body = session_to_ocpi(transaction(auth_method="COMMAND", authorization_reference="ref-1"), [], cost())

    assert (body["auth_method"], body["authorization_reference"]) == ("COMMAND", "ref-1")


def test_a_station_without_a_site_is_not_available_information():  # TY-13
    bare = SNAPSHOT | {"location": None, "evse": None, "connector": None, "tariff": None}
    body = session_to_ocpi(transaction(snapshot=bare), periods(1, 1), cost())

    assert problems(body, "Session") == []
    assert (body["location_id"], body["evse_uid"], body["connector_id"]) == ("#NA", "#NA", "#NA")
    assert "tariff_id" not in body["charging_periods"][0]


# ---- the difference -------------------------------------------------------------------------------------------------


def as_confirmed(body):
    """What a delivery row holds of it: JSON, read back."""
    return orjson.loads(encode(body))


def test_a_patch_says_the_difference_and_appends_periods():  # SE-05, PU-05
    before = session_to_ocpi(transaction(), periods(4_000_000, 100_000), cost("1.0000", "1.1000"))
    after = session_to_ocpi(
        transaction(energy_mwh=13_000_000, last_updated=NOON + timedelta(minutes=1)),
        periods(4_000_000, 4_000_000, 1),
        cost("2.0000", "2.2000"),
    )

    for confirmed in (before, as_confirmed(before)):
        assert session_patch(confirmed, after) == {
            "kwh": 13,
            "charging_periods": after["charging_periods"][1:],
            "total_cost": {"excl_vat": 2, "incl_vat": Decimal("2.2")},
            "last_updated": "2026-03-04T12:01:00Z",
        }


def test_nothing_to_tell_is_an_empty_patch():  # PU-15
    before = session_to_ocpi(transaction(), periods(4_000_000, 100_000), cost())
    later = session_to_ocpi(transaction(last_updated=NOON + timedelta(minutes=1)), periods(4_000_000, 200_000), cost())

    assert session_patch(as_confirmed(before), before) == {}
    assert session_patch(as_confirmed(before), later) == {}


def test_the_first_period_is_appended_to_none():
    before = session_to_ocpi(transaction(), periods(1), cost())
    after = session_to_ocpi(transaction(), periods(4_000_000, 1), cost())

    patch = session_patch(as_confirmed(before), after)

    assert patch is not None
    assert patch.keys() == {"charging_periods", "last_updated"}


@pytest.mark.parametrize(
    "after",
    [
        session_to_ocpi(transaction(), periods(4_000_001_000, 1), cost()),  # a told period changed
        session_to_ocpi(transaction(), periods(1), cost()),  # a told period is gone
        session_to_ocpi(transaction(), periods(4_000_000, 1), cost(unsupported=("restrictions",))),  # a field is gone
    ],
)
def test_what_a_patch_cannot_say_needs_a_put(after):  # PU-06, SE-05, SE-07
    before = session_to_ocpi(transaction(), periods(4_000_000, 1), cost())

    assert session_patch(as_confirmed(before), after) is None


@given(
    st.lists(st.integers(0, 5_000_000), max_size=8),
    st.lists(st.integers(0, 5_000_000), min_size=1, max_size=4),
)
def test_a_receiver_that_appends_has_the_current_session(told, more):  # XT-03, SE-05
    def session(energies, minute):
        row = transaction(energy_mwh=sum(energies), last_updated=NOON + timedelta(minutes=minute))
        return session_to_ocpi(row, periods(*energies, 0), cost())

    before, after = as_confirmed(session(told, 0)), session(told + more, 1)

    patch = session_patch(before, after)

    assert patch is not None
    appended = {"charging_periods": before.get("charging_periods", []) + patch.get("charging_periods", [])}
    assert as_confirmed(before | patch | appended) == as_confirmed(after)


# ---- CDRs -----------------------------------------------------------------------------------------------------------


def test_a_cdr_is_as_the_field_tables_say():  # CD-11, CD-12, CD-15, CD-20
    body = cdr_to_ocpi(charge_record(), tariff(), transaction(auth_method="AUTH_REQUEST"))

    assert problems(body, "CDR") == []
    assert body["session_id"] == transaction().id  # SE-09
    assert body["tariffs"][0]["id"] == body["charging_periods"][0]["tariff_id"] == "standard-ac"
    assert body["total_cost"] == {"excl_vat": Decimal("3.5865"), "incl_vat": Decimal("3.9952")}
    assert body["total_fixed_cost"] == {"excl_vat": Decimal("0.5"), "incl_vat": Decimal("0.6")}
    assert body["total_energy"] == Decimal("12.3457")
    assert (body["total_time"], body["total_parking_time"]) == (Decimal("0.75"), Decimal("0.25"))  # CD-19
    assert body["charging_periods"][2]["dimensions"][1] == {"type": "PARKING_TIME", "volume": Decimal("0.25")}
    assert body["last_updated"] == "2026-03-04T13:00:00Z"  # CD-10
    assert "credit" not in body


def test_parking_too_short_to_be_told_as_a_time_still_has_its_cost():  # CD-22
    """A tenth of a second, filled up to a step of an hour."""
    blip = {"start": "2026-03-04T12:00:00Z", "end": "2026-03-04T12:00:00.100Z", "energy_mwh": 0, "parking": True}
    costs = {"fixed": ["0", "0"], "energy": ["0", "0"], "time": ["0", "0"], "parking": ["6.0000", "7.2000"]}
    totals = {"total_excl_vat": Decimal("6.0000"), "total_incl_vat": Decimal("7.2000")}
    body = cdr_to_ocpi(charge_record(periods=[blip], costs=costs, **totals), tariff(), transaction())

    assert "total_parking_time" not in body
    assert body["total_parking_cost"] == body["total_cost"] == {"excl_vat": Decimal("6"), "incl_vat": Decimal("7.2")}


def test_the_cdrs_place_has_the_fields_of_the_specifications_example():  # CD-14
    body = cdr_to_ocpi(charge_record(), tariff(), transaction())

    assert body["cdr_location"].keys() == vector("cdrs__example")["cdr_location"].keys()


def test_long_addresses_are_cut_for_the_cdr():  # ER-13
    site = SNAPSHOT["location"] | {"address": "a" * 255, "state": "s" * 45, "latitude": "51.0475"}
    body = cdr_to_ocpi(charge_record(snapshot=SNAPSHOT | {"location": site}), tariff(), transaction())

    assert problems(body, "CDR") == []
    assert body["cdr_location"]["coordinates"]["latitude"] == "51.04750"


def test_a_credit_negates_the_total_and_nothing_else():  # CD-07
    original = cdr_to_ocpi(charge_record(), tariff(), transaction())
    for total_excl_vat in ("3.5865", "-3.5865"):
        credit = cdr_to_ocpi(
            charge_record(
                id="c", credit=True, credit_reference_id=original["id"], total_excl_vat=Decimal(total_excl_vat)
            ),
            tariff(),
            transaction(),
        )
        changed = {name for name in credit if credit[name] != original.get(name)}
        assert changed == {"id", "credit", "credit_reference_id", "total_cost"}
        assert credit["total_cost"] == {"excl_vat": Decimal("-3.5865"), "incl_vat": Decimal("-3.9952")}
        assert problems(credit, "CDR") == []


def test_a_station_without_a_site_still_has_a_whole_cdr():  # TY-13
    bare = SNAPSHOT | {"location": None, "evse": None, "connector": None, "tariff": None}
    body = cdr_to_ocpi(charge_record(snapshot=bare), None, transaction())

    assert problems(body, "CDR") == []
    assert "tariffs" not in body


@given(
    st.lists(st.tuples(st.integers(0, 90_000_000), st.integers(1, 20_000_000), st.booleans()), min_size=1, max_size=40)
)
def test_rounded_periods_add_up_to_the_rounded_totals(parts):  # CD-17, CD-18, XT-03
    stretches, start = [], NOON
    for energy, milliseconds, parking in parts:
        end = start + timedelta(milliseconds=milliseconds)
        stretches.append(Period(start=start, end=end, energy_mwh=energy, parking=parking))
        start = end

    shown = charging_periods(stretches, "t")

    assert all(part["volume"] >= 0 for period in shown for part in period["dimensions"])
    assert [period["start_date_time"] for period in shown] == [moment(stretch.start) for stretch in stretches]
    exact = Decimal(sum(energy for energy, _, _ in parts)) / 1_000_000
    assert abs(total(shown, "ENERGY") - exact) <= Decimal("0.00005")
    for dimension, is_parking in (("TIME", False), ("PARKING_TIME", True)):
        hours = Decimal(sum(length for _, length, parking in parts if parking is is_parking)) / 3_600_000
        assert abs(total(shown, dimension) - hours) <= Decimal("0.00005")
    assert charging_periods(stretches[:-1], "t") == shown[:-1]  # what was told stays
