from datetime import timedelta

import pytest

from adapters.locations import HARDWARE, OFFERED, SERVED, STATUS, evse_patch, evse_to_ocpi, location_to_ocpi
from csms.availability import AVAILABILITY, Availability
from csms.events import ConnectorStatus
from tests.adapters.field_tables import problems, tables, vector
from tests.adapters.rows import NOON, connector, evse, location, station

ONLINE = {"CP001": station()}

# The charger's word behind each status of the specification's examples.
WORD = {
    "AVAILABLE": "available",
    "RESERVED": "reserved",
    "CHARGING": "charging",
    "OUTOFORDER": "faulted",
    "UNKNOWN": None,
}
COLUMNS = {"country_code", "party_id", "id", "name", "address", "city", "postal_code", "state", "country"}
COLUMNS |= {"coordinates", "time_zone", "publish", "evses", "last_updated"}
EVSE_COLUMNS = {"uid", "evse_id", "status", "connectors", "last_updated"}


def test_a_location_is_as_the_field_tables_say():  # LO-20, LO-40, LO-47
    body = location_to_ocpi(
        location(), [(evse(1), [connector()]), (evse(2), [connector(max_electric_power=11_000)])], ONLINE
    )

    assert problems(body, "Location") == []
    assert [each["uid"] for each in body["evses"]] == ["CP001-1", "CP001-2"]
    assert body["coordinates"] == {"latitude": "51.047599", "longitude": "3.729944"}
    assert body["evses"][0]["connectors"][0]["tariff_ids"] == ["standard-ac"]
    assert "state" not in body
    assert "opening_times" not in body


@pytest.mark.parametrize(
    "name",
    [
        "locations__example",
        "locations__parking_garage_opening_hours",
        "locations__uc2_destination_charger",
        "locations__uc3_destination_charger_not_published",
        "locations__uc4_limited_visibility",
        "locations__uc5_home_charge_point",
    ],
)
def test_the_specifications_locations_are_produced(name):  # XT-04
    example = vector(name)

    body = location_to_ocpi(*_rows_of(example))

    for given, shown in zip(example["evses"], body["evses"], strict=True):
        served = [word for word in (*SERVED, *OFFERED, *HARDWARE) if word in given.get("capabilities", ())]
        assert shown.pop("capabilities", []) == (served if "capabilities" in given else list(SERVED))
        given.pop("capabilities", None)
    assert body == example


def _rows_of(example):
    def when(body):
        return NOON.fromisoformat(body["last_updated"])

    site = location(
        **{name: example.get(name) for name in ("country_code", "party_id", "name", "address", "city", "postal_code")},
        **{name: example.get(name) for name in ("state", "country", "time_zone", "publish")},
        location_id=example["id"],
        **example["coordinates"],
        details={name: value for name, value in example.items() if name not in COLUMNS},
        last_updated=when(example),
    )
    evses = [
        (
            evse(
                uid=each["uid"],
                evse_id=each.get("evse_id"),
                status=WORD[each["status"]],
                details={name: value for name, value in each.items() if name not in EVSE_COLUMNS},
                last_updated=when(each),
            ),
            [
                connector(
                    connector_id=plug["id"],
                    **{
                        name: plug[name] for name in ("standard", "format", "power_type", "max_voltage", "max_amperage")
                    },
                    max_electric_power=plug.get("max_electric_power"),
                    tariff_ids=plug.get("tariff_ids", []),
                    last_updated=when(plug),
                )
                for plug in each["connectors"]
            ],
        )
        for each in example["evses"]
    ]
    return site, evses, ONLINE


def test_every_availability_has_a_status_of_the_specification():  # LO-60
    assert STATUS.keys() == set(Availability)
    assert set(STATUS.values()) <= set(tables()["enums"]["Status"]["values"])


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("available", "AVAILABLE"),
        ("preparing", "AVAILABLE"),
        ("charging", "CHARGING"),
        ("suspended_ev", "CHARGING"),
        ("suspended_evse", "CHARGING"),
        ("finishing", "CHARGING"),
        ("reserved", "RESERVED"),
        ("unavailable", "INOPERATIVE"),
        ("faulted", "OUTOFORDER"),
        (None, "UNKNOWN"),
    ],
)
def test_what_the_charger_says_becomes_a_status(word, status):  # LO-61
    assert evse_to_ocpi(evse(status=word), [connector()], station_offline=False)["status"] == status


def test_an_offline_station_is_unknown_and_so_is_one_without_a_row():  # LO-63
    for stations in ({"CP001": station(offline_told=True)}, {}):
        body = location_to_ocpi(location(), [(evse(), [connector()])], stations)
        assert body["evses"][0]["status"] == "UNKNOWN"


def test_a_removed_evse_stays_with_its_connectors():  # LO-08
    body = evse_to_ocpi(evse(removed=True), [connector(removed=True)], station_offline=True)

    assert body["status"] == "REMOVED"
    assert problems(body, "EVSE") == []


def test_a_removed_connector_is_not_shown_beside_others():
    plugs = [connector(removed=True), connector(connector_id="2", position=2)]

    assert [plug["id"] for plug in evse_to_ocpi(evse(), plugs, station_offline=False)["connectors"]] == ["2"]


def test_an_evse_without_connectors_is_no_evse():  # LO-40
    body = location_to_ocpi(location(), [(evse(1), []), (evse(2), [connector()])], ONLINE)

    assert [each["uid"] for each in body["evses"]] == ["CP001-2"]


def test_capabilities_are_what_is_served():  # LO-44
    def shown(*features, **details):
        told = frozenset(features) if features else None
        body = evse_to_ocpi(evse(details=details), [connector()], station_offline=False, features=told)
        return body.get("capabilities")

    assert shown() == ["REMOTE_START_STOP_CAPABLE", "RFID_READER", "UNLOCK_CAPABLE"]
    assert shown("core", "reservation", "smartcharging")[3:] == ["RESERVABLE", "CHARGING_PROFILE_CAPABLE"]
    assert shown("core") == shown()
    named = ["RFID_READER", "RESERVABLE", "CHARGING_PROFILE_CAPABLE", "CHARGING_PREFERENCES_CAPABLE", "PED_TERMINAL"]
    assert shown(capabilities=named) == named  # the station has not told: the operator is believed
    assert shown("core", "reservation", capabilities=named) == ["RFID_READER", "RESERVABLE", "PED_TERMINAL"]
    assert shown("reservation", capabilities=["RFID_READER"]) == ["RFID_READER"]  # the operator does not want it
    assert shown(capabilities=["TOKEN_GROUP_CAPABLE"]) == ["TOKEN_GROUP_CAPABLE"]  # TK-09


def test_what_the_example_of_an_added_evse_has_wrong_is_not_ours():  # ER-10, LO-46
    example = vector("locations__put_add_evse")
    assert {"$.floor: not in the table", "$.connectors.power_type: missing"} <= set(problems(example, "EVSE"))

    details = {"floor_level": "-1", "physical_reference": "3"}
    body = evse_to_ocpi(evse(details=details), [connector()], station_offline=False)

    assert problems(body, "EVSE") == []
    assert (body["floor_level"], body["physical_reference"]) == ("-1", "3")


def test_only_the_specifications_words_of_the_file_are_shown():
    details = {
        "opening_times": {"twentyfourseven": True, "regular_hours": [{"weekday": 1}]},
        "publish_allowed_to": [{"uid": "A", "type": "RFID"}],
        "parking_type": "ON_STREET",
        "facilities": [],
        "note_to_self": "behind the fence",
    }
    body = location_to_ocpi(location(details=details), [], {})

    assert problems(body, "Location") == []
    assert body["opening_times"] == {"twentyfourseven": True}  # LO-70
    assert body["parking_type"] == "ON_STREET"
    assert not body.keys() & {"note_to_self", "facilities", "publish_allowed_to", "evses"}  # LO-26, TY-10


def test_exceptions_to_the_hours_are_told_in_utc():  # LO-73
    hours = {
        "twentyfourseven": True,
        "exceptional_closings": [
            {"period_begin": "2026-12-25T00:00:00+01:00", "period_end": "2026-12-26T00:00:00+01:00"}
        ],
    }
    body = location_to_ocpi(location(details={"opening_times": hours}), [], {})

    assert body["opening_times"]["exceptional_closings"] == [
        {"period_begin": "2026-12-24T23:00:00Z", "period_end": "2026-12-25T23:00:00Z"}
    ]


def test_an_energy_mix_keeps_its_numbers_exact():  # LO-52
    mix = vector("locations__energymix_complete")["energy_mix"]

    body = location_to_ocpi(location(details={"energy_mix": mix}), [], {})

    assert body["energy_mix"] == mix
    assert problems(body, "Location") == []


def test_long_texts_are_cut_to_the_tables_lengths():  # TY-06
    long = "x" * 300
    body = location_to_ocpi(location(name=long, address=long, city=long, postal_code=long, state=long), [], {})

    assert problems(body, "Location") == []


def test_a_status_patch_carries_its_time():  # LO-07, PU-05
    later = NOON + timedelta(seconds=90, milliseconds=120)
    body = evse_to_ocpi(evse(status="charging", last_updated=later), [connector()], station_offline=False)

    assert evse_patch(body) == {"status": "CHARGING", "last_updated": "2026-03-04T12:01:30.120Z"}


def test_who_may_see_a_private_location_is_told_with_it():  # LO-25, LO-27
    allowed = [{"uid": "04AA", "type": "RFID"}, {"visual_number": "1", "issuer": "Us"}, {"group_id": "FLEET"}]
    body = location_to_ocpi(location(publish=False, details={"publish_allowed_to": allowed}), [], {})

    assert problems(body, "Location") == []
    assert (body["publish"], body["publish_allowed_to"]) == (False, allowed)


def test_charging_when_closed_is_said_only_where_it_is_not_so():  # LO-31
    assert "charging_when_closed" not in location_to_ocpi(location(), [], {})  # true by default
    assert location_to_ocpi(location(details={"charging_when_closed": False}), [], {})["charging_when_closed"] is False


def test_an_operator_that_is_ourselves_is_not_repeated():  # LO-32
    def told(operator):
        return location_to_ocpi(location(details={"operator": operator}), [], {}, operator_name="Us").get("operator")

    assert told({"name": "Us"}) is None
    assert told({"name": "Them"}) == {"name": "Them"}
    assert told({"name": "Us", "website": "https://us.example"}) == {"name": "Us", "website": "https://us.example"}


def test_no_connector_is_needed_to_start_and_none_is_asked_for():  # LO-45
    features = frozenset({"core", "reservation", "smart_charging", "remote_trigger"})
    for words in ({}, {"capabilities": ["START_SESSION_CONNECTOR_REQUIRED", "RFID_READER"]}):
        body = evse_to_ocpi(evse(details=words), [connector()], station_offline=False, features=features)
        assert "START_SESSION_CONNECTOR_REQUIRED" not in body["capabilities"]


def test_where_an_evse_is_stays_text():  # LO-46
    words = {"physical_reference": "7", "floor_level": "-1"}
    body = evse_to_ocpi(evse(details=words), [connector()], station_offline=False)

    assert (body["physical_reference"], body["floor_level"]) == ("7", "-1")


def test_hours_leave_as_the_sites_clock_shows_them():  # LO-71, LO-72
    hours = [
        {"weekday": 5, "period_begin": "22:00", "period_end": "23:59"},
        {"weekday": 6, "period_begin": "00:00", "period_end": "06:00"},
    ]
    opening = {"twentyfourseven": False, "regular_hours": hours}
    body = location_to_ocpi(location(details={"opening_times": opening}), [], {})

    assert problems(body, "Location") == []
    assert body["opening_times"] == opening
    assert body["time_zone"] == "Europe/Brussels"


def test_the_operator_says_what_a_state_means():  # LO-61
    blocked = {**AVAILABILITY, ConnectorStatus.PREPARING: Availability.OCCUPIED}

    def status(meanings):
        return evse_to_ocpi(evse(status="preparing"), [connector()], station_offline=False, meanings=meanings)["status"]

    assert (status(AVAILABILITY), status(blocked)) == ("AVAILABLE", "CHARGING")
