"""What OCPI 2.1.1 shows of our rows, judged by its own field tables and examples."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from adapters import Adapter, shown, v211
from adapters.cdrs import cdr_to_ocpi
from adapters.commands import canceled_reservation, command_response, command_result
from adapters.locations import location_to_ocpi
from adapters.rendered import Rendered
from adapters.sessions import session_to_ocpi
from adapters.tariffs import tariff_to_ocpi
from adapters.tokens import patched, token_from_ocpi, token_to_ocpi
from adapters.v211.commands import command_from_211
from adapters.v211.locations import CAPABILITIES, FACILITIES_SINCE_22, POWER_TYPE, STANDARDS, TYPE
from adapters.v211.sessions import DIMENSIONS, METHOD, STATUS
from adapters.v211.tariffs import UNSAYABLE, tellable
from adapters.v211.tokens import changes_from_211, token_from_211
from csms.commands import Outcome
from tests.adapters import field_tables
from tests.adapters.rows import (
    NOON,
    SNAPSHOT,
    charge_record,
    connector,
    cost,
    evse,
    location,
    periods,
    station,
    tariff,
    transaction,
)
from tests.adapters.test_locations_to_ocpi import WORD

ONLINE = {"CP001": station()}
TNM = ("NL", "TNM")
EVERYTHING = {
    "parking_type": "ALONG_MOTORWAY",
    "facilities": ["CAFE", "METRO_STATION"],
    "operator": {"name": "BeCharged"},
    "related_locations": [{"latitude": "51.04759", "longitude": "3.72994", "name": {"language": "en", "text": "Gate"}}],
    "charging_when_closed": False,
    "publish_allowed_to": [{"uid": "A", "type": "RFID"}],
    "energy_mix": {
        "is_green_energy": True,
        "energy_sources": [{"source": "WIND", "percentage": 100}],
        "environ_impact": [{"category": "CARBON_DIOXIDE", "amount": 372}],
    },
}


def vector(name):
    return field_tables.vector(name, "2.1.1")


def problems(body, kind):
    return field_tables.problems(body, kind, version="2.1.1")


def tables(version):
    return field_tables.tables(version)["enums"]


def in_211(module, body, **beside):
    return shown(module, Rendered(body, beside=beside), "2.1.1").dict()


def show_location(site, evses):
    return in_211("locations", location_to_ocpi(site, evses, ONLINE))


# ---- locations ------------------------------------------------------------------------------------------------------


def test_a_location_is_as_the_field_tables_of_211_say():  # V1-04, V1-05, V1-06, V1-07, V1-17
    site = location(details=EVERYTHING, postal_code=None, address="x" * 60)

    body = show_location(site, [(evse(1, details={"floor_level": "-1"}), [connector()]), (evse(2), [connector()])])

    assert problems(body, "Location") == []
    assert (body["type"], body["postal_code"], body["facilities"]) == ("OTHER", "#NA", ["CAFE"])
    assert body["related_locations"][0]["latitude"] == "51.047590"
    assert body["energy_mix"]["environ_impact"] == [{"source": "CARBON_DIOXIDE", "amount": 372}]
    assert not {"country_code", "party_id", "publish", "publish_allowed_to", "parking_type", "state"} & body.keys()
    assert body["evses"][0]["connectors"][0] == {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "CABLE",
        "power_type": "AC_3_PHASE",
        "voltage": 230,
        "amperage": 32,
        "tariff_id": "standard-ac",
        "last_updated": "2026-03-04T12:00:00Z",
    }


def test_the_specifications_location_is_produced():  # XT-04, V1-06, V1-07
    example = vector("locations__example")
    evses = [
        (
            evse(
                uid=each["uid"],
                evse_id=each["evse_id"],
                status=WORD[each["status"]],
                details={name: each[name] for name in ("capabilities", "physical_reference", "floor_level")},
                last_updated=NOON.fromisoformat(each["last_updated"]),
            ),
            [
                connector(
                    connector_id=plug["id"],
                    standard=plug["standard"],
                    format=plug["format"],
                    power_type=plug["power_type"],
                    max_voltage=plug["voltage"],
                    max_amperage=plug["amperage"],
                    tariff_ids=[plug["tariff_id"], "another"],
                    last_updated=NOON.fromisoformat(plug["last_updated"]),
                )
                for plug in each["connectors"]
            ],
        )
        for each in example["evses"]
    ]
    site = location(
        details={"operator": example["operator"], "parking_type": example["type"]},
        last_updated=NOON.fromisoformat(example["last_updated"]),
    )

    body = show_location(site, evses)

    assert example["evses"][0].pop("status_schedule") == []  # TY-10
    assert body.pop("time_zone") == "Europe/Brussels"
    assert body == example


@pytest.mark.parametrize("example", ["complete", "energy_provider", "simple"])
def test_the_specifications_energy_mixes_are_produced(example):  # XT-04, V1-17
    mix = vector(f"locations__energymix_{example}")["energy_mix"]
    kept = json.loads(json.dumps(mix, default=str))
    if "environ_impact" in kept:
        kept["environ_impact"] = [{"category": e["source"], "amount": e["amount"]} for e in kept["environ_impact"]]

    assert show_location(location(details={"energy_mix": kept}), [])["energy_mix"] == mix


def test_the_specifications_hours_are_produced():  # XT-04, V1-17
    times = vector("locations__regularhours")["opening_times"]

    body = show_location(location(details={"opening_times": {**times, "twentyfourseven": False}}), [])

    assert body["opening_times"] == {name: value for name, value in times.items() if value not in (False, [])}


def test_hours_are_regular_or_always_and_never_both():  # V1-17
    weekday = {"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}

    def said(hours):
        return show_location(location(details={"opening_times": hours}), []).get("opening_times")

    assert said({"twentyfourseven": True, "regular_hours": [weekday]}) == {"twentyfourseven": True}
    assert said({"twentyfourseven": False, "regular_hours": [weekday]}) == {"regular_hours": [weekday]}
    assert said({"twentyfourseven": False}) == {"twentyfourseven": False}


def test_capabilities_are_those_that_211_knows():  # V1-08
    named = ["RFID_READER", "RESERVABLE", "CHARGING_PREFERENCES_CAPABLE", "PED_TERMINAL", "CREDIT_CARD_PAYABLE"]
    body = show_location(location(), [(evse(details={"capabilities": named}), [connector()])])

    assert set(body["evses"][0]["capabilities"]) == {"RFID_READER", "RESERVABLE", "CREDIT_CARD_PAYABLE"}


def test_a_connector_that_211_has_no_word_for_is_not_shown_and_neither_is_its_evse():  # V1-07
    plugs = [connector(standard="GBT_DC", power_type="DC"), connector(connector_id="2", power_type="AC_2_PHASE")]
    body = show_location(location(), [(evse(1), plugs), (evse(2), plugs[:1])])

    (shown_evse,) = body["evses"]
    assert [(plug["id"], plug["power_type"]) for plug in shown_evse["connectors"]] == [("2", "AC_1_PHASE")]
    assert problems(body, "Location") == []


def test_every_word_of_221_has_its_place_in_211():  # V1-06, V1-08, V1-10, V1-13
    new, old = tables("2.2.1"), tables("2.1.1")
    assert set(TYPE.values()) == set(old["LocationType"]["values"])
    assert TYPE.keys() - {None} == set(new["ParkingType"]["values"])
    assert set(old["Capability"]["values"]) == CAPABILITIES
    assert set(old["ConnectorType"]["values"]) == STANDARDS
    assert set(new["Facility"]["values"]) - FACILITIES_SINCE_22 == set(old["Facility"]["values"])
    assert {POWER_TYPE.get(word, word) for word in new["PowerType"]["values"]} == set(old["PowerType"]["values"])
    assert {METHOD.get(word, word) for word in new["AuthMethod"]["values"]} == set(old["AuthMethod"]["values"])
    assert {STATUS.get(word, word) for word in new["SessionStatus"]["values"]} == set(old["SessionStatus"]["values"])
    assert set(old["CdrDimensionType"]["values"]) == DIMENSIONS


# ---- tariffs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", field_tables.vector_names("tariffs", "2.1.1"))
def test_the_specifications_tariffs_are_produced(name):  # XT-04, V1-11
    example = vector(name)
    words = json.loads(json.dumps(example, default=str))
    row = tariff(
        tariff_id=words.get("id", "12"),
        elements=words["elements"],
        details={name: words[name] for name in ("tariff_alt_text", "tariff_alt_url") if name in words}
        | {"min_price": {"excl_vat": "1.00"}, "start_date_time": "2026-01-01T00:00:00Z"},
        last_updated=NOON.fromisoformat(words.get("last_updated", NOON.isoformat())),
    )

    body = in_211("tariffs", tariff_to_ocpi(row))

    assert problems(body, "Tariff") == []
    assert body == {"id": "12", "currency": "EUR", "last_updated": "2026-03-04T12:00:00Z"} | example


def test_prices_are_before_vat_and_what_cannot_be_restricted_is_not_said():  # V1-11
    flat = {"price_components": [{"type": "FLAT", "price": "0.50", "vat": "20.0", "step_size": 1}]}
    unsaid = [{**flat, "restrictions": {name: "RESERVATION" if name == "reservation" else 6}} for name in UNSAYABLE]

    body = in_211("tariffs", tariff_to_ocpi(tariff(elements=[*unsaid, flat])))

    price = {"type": "FLAT", "price": Decimal("0.5"), "step_size": 1}
    assert body["elements"] == [{"price_components": [price]}]
    assert "type" not in body
    assert tellable([*unsaid, flat])
    assert not tellable(unsaid)


# ---- sessions and CDRs ----------------------------------------------------------------------------------------------


def show_session(row, stretches=(), price=None):
    return in_211("sessions", session_to_ocpi(row, stretches, price or cost()), snapshot=row.snapshot)


def test_a_session_is_as_the_field_tables_of_211_say():  # V1-04, V1-09
    ended = NOON + timedelta(hours=1)
    row = transaction(state="ended", ended_at=ended, auth_method="COMMAND", authorization_reference="R")

    body = show_session(row, periods(6_000_000, 6_345_678))

    assert problems(body, "Session") == []
    assert (body["start_datetime"], body["end_datetime"]) == ("2026-03-04T12:00:00Z", "2026-03-04T13:00:00Z")
    assert (body["auth_id"], body["auth_method"]) == ("DE-TNM-C00000001-X", "AUTH_REQUEST")  # V1-13
    assert (body["total_cost"], body["kwh"]) == (Decimal("3.5865"), Decimal("12.3457"))
    assert body["location"]["evses"][0]["connectors"][0]["tariff_id"] == "standard-ac"
    assert not {"country_code", "party_id", "cdr_token", "authorization_reference", "location_id"} & body.keys()
    assert all("tariff_id" not in period for period in body["charging_periods"])


def test_a_session_at_a_station_that_no_site_knows_has_a_location_too():  # V1-09, TY-13
    row = transaction(snapshot={**SNAPSHOT, "location": None, "evse": None, "connector": None, "tariff": None})

    assert problems(show_session(row), "Session") == []


def test_a_session_without_a_known_price_has_none():  # V1-09
    assert "total_cost" not in show_session(transaction(), price=cost(unsupported=("?",)))


@pytest.mark.parametrize("name", ["sessions__simple_start", "sessions__short_finished"])
def test_the_specifications_sessions_are_produced(name):  # XT-04, V1-09
    example = vector(name)
    body, snapshot = told_in_221(example, "start_datetime")
    told = in_211("sessions", body, snapshot=snapshot)

    assert told == as_it_is_known(example, "start_datetime")


def test_the_specifications_cdr_is_produced():  # XT-04, V1-10, ER-14
    example = vector("cdrs__example")
    price = example["tariffs"][0]["elements"][0]["price_components"][0]
    price["price"] = Decimal(price["price"])  # the example writes it as a string; no string leaves us (TY-08)
    body, snapshot = told_in_221(example, "start_date_time")
    body |= {name: example[name] for name in ("total_energy", "total_time", "tariffs")}

    assert in_211("cdrs", body, snapshot=snapshot) == as_it_is_known(example, "start_date_time")


def test_a_reserved_session_is_pending_at_a_reserved_evse():  # V1-09
    told = in_211("sessions", session_to_ocpi(transaction(), (), cost()) | {"status": "RESERVATION"}, snapshot=SNAPSHOT)

    assert (told["status"], told["location"]["evses"][0]["status"]) == ("PENDING", "RESERVED")
    assert problems(told, "Session") == []


def told_in_221(example, started):
    """What 2.2.1 says of it, and the snapshot of its transaction."""
    site = example["location"]
    (place,) = site["evses"]
    (plug,) = place["connectors"]
    told = {
        "id": example["id"],
        "start_date_time": example[started],
        "end_date_time": example.get("end_datetime") or example.get("stop_date_time"),
        "kwh": example.get("kwh"),
        "cdr_token": {"contract_id": example["auth_id"]},
        "auth_method": example["auth_method"],
        "currency": example["currency"],
        "charging_periods": [{**period, "tariff_id": "11"} for period in example.get("charging_periods", ())],
        "total_cost": {"excl_vat": example["total_cost"], "incl_vat": 9},
        "status": example.get("status"),
        "last_updated": example["last_updated"],
    }
    snapshot = {
        "location": {name: site[name] for name in ("name", "address", "city", "postal_code", "country")}
        | {"location_id": site["id"], "parking_type": site["type"], **site["coordinates"]},
        "evse": {"uid": place["uid"], "evse_id": place["evse_id"]},
        "connector": {name: plug[name] for name in ("standard", "format", "power_type")}
        | {"connector_id": plug["id"], "max_voltage": plug["voltage"], "max_amperage": plug["amperage"]},
        "tariff": {"tariff_id": plug["tariff_id"]},
    }
    return told, snapshot


def as_it_is_known(example, started):
    """The example with its place as it was when it began, in use by it."""
    place = example["location"]["evses"][0]
    for part in (example["location"], place, place["connectors"][0]):
        part["last_updated"] = example[started]
    place["status"] = "CHARGING"
    return example


def test_a_cdr_is_as_the_field_tables_of_211_say():  # V1-04, V1-10, V1-12
    record = charge_record()
    in_221 = cdr_to_ocpi(record, tariff(), transaction())
    body = in_211("cdrs", in_221, snapshot=record.snapshot)

    assert problems(body, "CDR") == []
    assert body["total_cost"] == in_221["total_cost"]["excl_vat"]  # one price, steps and all, whoever reads it
    assert body["stop_date_time"] == "2026-03-04T12:45:00Z"
    assert (body["total_cost"], body["total_parking_time"]) == (Decimal("3.5865"), Decimal("0.25"))
    unknown = {
        "session_id",
        "cdr_token",
        "cdr_location",
        "total_energy_cost",
        "authorization_reference",
        "end_date_time",
    }
    assert not unknown & body.keys()


def test_a_period_keeps_what_211_can_say_of_it():  # V1-10
    dimensions = [{"type": "RESERVATION_TIME", "volume": 1}, {"type": "TIME", "volume": 2}]
    told = in_211(
        "cdrs",
        cdr_to_ocpi(charge_record(), None, transaction())
        | {
            "charging_periods": [
                {"start_date_time": "2026-03-04T12:00:00Z", "dimensions": dimensions},
                {"start_date_time": "2026-03-04T12:00:00Z", "dimensions": dimensions[:1]},
            ]
        },
        snapshot=SNAPSHOT,
    )

    assert [period["dimensions"] for period in told["charging_periods"]] == [dimensions[1:]]


def test_a_cdr_has_a_period_also_when_211_can_say_nothing_of_any():  # V1-10
    bare = {
        name: value for name, value in cdr_to_ocpi(charge_record(), None, transaction()).items() if name != "tariffs"
    }
    start = {"start_date_time": bare["start_date_time"]}
    unsayable = [start | {"dimensions": [{"type": "RESERVATION_TIME", "volume": 1}]}]
    for told in (unsayable, None):
        body = (
            {**bare, "charging_periods": told} if told else {n: v for n, v in bare.items() if n != "charging_periods"}
        )
        shown_cdr = in_211("cdrs", body, snapshot=SNAPSHOT)
        assert problems(shown_cdr, "CDR") == []
        assert shown_cdr["charging_periods"] == [start | {"dimensions": [{"type": "TIME", "volume": 0}]}]


def test_the_cdr_of_a_reserved_charge_begins_with_the_charge():  # V1-10
    evidence = {"reservation": {"number": 1, "start": "2026-03-04T11:45:00Z", "end": "2026-03-04T12:00:00Z"}}
    cdr = cdr_to_ocpi(charge_record(evidence=evidence), None, transaction())
    assert (cdr["start_date_time"], cdr["total_time"]) == ("2026-03-04T11:45:00Z", 1)
    told = in_211("cdrs", cdr, snapshot=SNAPSHOT)
    assert problems(told, "CDR") == []
    assert told == in_211("cdrs", cdr_to_ocpi(charge_record(), None, transaction()), snapshot=SNAPSHOT)


# ---- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokens__example", "tokens__put"])
def test_the_specifications_tokens_come_in_and_go_out_unchanged(name):  # XT-04, V1-14
    example = vector(name)
    record = token_from_ocpi(token_from_211(example, TNM), owner=7)

    assert (record.country_code, record.party_id, record.contract_id) == ("NL", "TNM", example["auth_id"])
    told = in_211("tokens", token_to_ocpi(record))
    assert problems(told, "Token") == []
    assert told == example


def test_a_token_is_of_the_party_that_the_address_names_whatever_it_says():  # V1-04, TR-23
    said = vector("tokens__put") | {"country_code": "FR", "party_id": "OTH", "group_id": "G", "contract_id": "C"}

    record = token_from_ocpi(token_from_211(said, TNM), owner=7)

    assert (record.country_code, record.party_id, record.group_id) == ("NL", "TNM", None)
    assert record.contract_id == said["auth_id"]


def test_a_patch_names_what_it_changes():  # V1-14
    example = vector("tokens__put")
    record = token_from_ocpi(token_from_211(example, TNM), owner=7)
    patch = {"auth_id": "NL-TNM-2", **vector("tokens__patch_invalidate"), "last_updated": "2026-03-04T12:00:00Z"}

    after = token_from_ocpi(patched(record, changes_from_211(patch)), owner=7)

    assert in_211("tokens", token_to_ocpi(after)) == example | patch


@pytest.mark.parametrize("type", tables("2.2.1")["TokenType"]["values"])
def test_tokens_of_apps_are_other(type):  # V1-14
    record = token_from_ocpi(field_tables.vector("tokens__2_full_rfid") | {"type": type}, owner=7)
    told = in_211("tokens", token_to_ocpi(record))

    assert problems(told, "Token") == []
    assert told["type"] == ("RFID" if type == "RFID" else "OTHER")


# ---- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("command", ["", "CANCEL_RESERVATION"])
def test_every_result_has_its_word(outcome, command):  # V1-15, CM-04
    told = in_211("commands", command_result(outcome, command=command, detail="said so"))

    assert problems(told, "CommandResponse") == []


@pytest.mark.parametrize("result", tables("2.2.1")["CommandResponseType"]["values"])
def test_a_response_has_a_result_and_no_timeout(result):  # V1-15, CM-02
    assert in_211("commands", command_response(result, timeout_s=40, message="why")) == {"result": result}


def test_a_command_is_read_as_221_would_have_it():  # V1-15, CM-47
    sent = {
        "response_url": "https://emsp.example/1",
        "token": vector("tokens__put"),
        "expiry_date": "2026-03-04T13:00:00Z",
        "reservation_id": 12,
        "location_id": "LOC1",
        "connector_id": "1",
    }

    read = command_from_211(sent, TNM)

    assert read["reservation_id"] == "12"
    assert read["token"]["contract_id"] == sent["token"]["auth_id"]
    assert (read["token"]["country_code"], read["token"]["party_id"]) == TNM
    assert "connector_id" not in read
    unlock = {"response_url": "https://x/", "location_id": "LOC1", "evse_uid": "E", "connector_id": "1"}
    assert command_from_211(unlock, TNM) == unlock


# ---- which version --------------------------------------------------------------------------------------------------


def test_each_object_is_made_once_for_a_version():
    location_ = Rendered(location_to_ocpi(location(), [(evse(), [connector()])], ONLINE))
    adapter = Adapter()

    assert adapter.location_adapter(location_) is adapter.location_adapter(location_, "2.2.1") is location_
    assert adapter.location_adapter(location_, "2.1.1") is adapter.location_adapter(location_, "2.1.1")
    assert "type" not in location_.dict()
    assert v211.OBJECTS.keys() >= {"locations", "evses", "sessions", "cdrs", "tariffs", "tokens", "commands"}
    assert canceled_reservation()["result"] not in tables("2.1.1")["CommandResponseType"]["values"]
