"""Importing is idempotent, changes only what differs, and refuses a mistaken file as a whole."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from csms import stations
from csms.bus import Admission
from csms.database import Database
from csms.import_network import Changes, import_network
from csms.models import Connector, Evse, JournalEntry, Location, Station, Tariff, Token
from csms.network_file import BadNetwork, problems, read
from csms.passwords import verify

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "network.example.yaml"
DEFAULT = ("BE", "BEC")
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(dict(read(EXAMPLE.read_text())))


def apply(database: Database, document: dict[str, Any], now: datetime = NOW) -> Changes:
    with database.write() as connection:
        return import_network(connection, document, default_party=DEFAULT, operator_name="Example Charging", now=now)


def rows(database: Database, model: Any) -> list[Any]:
    table = model.__table__
    with database.read() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def facts(database: Database) -> list[tuple[str, str]]:
    return [(row.type, row.subject) for row in rows(database, JournalEntry)]


def told(changes: Changes) -> list[tuple[str, str, str]]:
    return [(change.kind, change.id, change.what) for change in changes]


def everything(database: Database) -> dict[str, list[Any]]:
    return {
        m.__tablename__: rows(database, m) for m in (Location, Evse, Connector, Tariff, Token, Station, JournalEntry)
    }


def plug(document: dict[str, Any], evse: int = 0) -> dict[str, Any]:
    connector: dict[str, Any] = document["locations"][0]["stations"][0]["evses"][evse]["connectors"][0]
    return connector


# ---- what a file makes ----------------------------------------------------------------------------------------------


def test_the_example_makes_sites_stations_tariffs_and_cards(database: Database, document: dict[str, Any]) -> None:
    changes = apply(database, document)
    assert told(changes) == [
        ("tariff", "standard-ac", "new"),
        ("location", "LOC1", "new"),
        ("station", "CP001", "new"),
        ("evse", "CP001-1", "new"),
        ("evse", "CP001-2", "new"),
        ("token", "04…D4", "new"),
        ("token", "04…CC", "new"),
    ]
    [location] = rows(database, Location)
    assert (location.country_code, location.party_id, location.location_id) == ("BE", "BEC", "LOC1")
    assert (location.latitude, location.longitude) == ("51.047599", "3.729944")
    assert location.details == {"opening_times": {"twentyfourseven": True}}
    assert [(e.evse, e.uid, e.evse_id, e.status) for e in rows(database, Evse)] == [
        (1, "CP001-1", "BE*BEC*E041503001", None),
        (2, "CP001-2", "BE*BEC*E041503002", None),
    ]
    assert [c.tariff_ids for c in rows(database, Connector)] == [["standard-ac"], ["standard-ac"]]
    [station] = rows(database, Station)
    assert station.admission == Admission.KNOWN
    assert verify(b"s3cret-charger-key", station.password_hash)
    [tariff] = rows(database, Tariff)
    assert (tariff.version, tariff.current, tariff.elements[0]["price_components"][0]["price"]) == (1, True, "0.5")
    first, second = rows(database, Token)
    assert (first.issuer, first.valid, first.expires_at) == (
        "Example Charging",
        True,
        datetime(2027, 12, 31, 23, tzinfo=UTC),
    )
    assert (second.valid, second.group_id, second.whitelist) == (False, "FLEET1", "ALWAYS")


def test_a_tariff_is_journaled_before_the_site_that_names_it(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)  # TA-05
    assert [type_ for type_, _ in facts(database)] == [
        "tariff_changed",
        "location_changed",
        "token_changed",
        "token_changed",
    ]


def test_importing_twice_changes_nothing(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    before = everything(database)
    assert apply(database, document, LATER) == ()
    assert everything(database) == before


def test_the_same_price_written_otherwise_is_no_change(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["tariffs"][0]["elements"][0]["price_components"][1]["price"] = "0.250"
    assert apply(database, document, LATER) == ()


# ---- an edited file -------------------------------------------------------------------------------------------------


def test_a_changed_tariff_becomes_a_new_version(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["tariffs"][0]["elements"][0]["price_components"][1]["price"] = "0.30"
    assert told(apply(database, document, LATER)) == [("tariff", "standard-ac", "changed")]
    old, new = rows(database, Tariff)
    assert (old.version, old.current, old.last_updated) == (1, False, NOW)
    assert (new.version, new.current, new.created_at, new.last_updated) == (2, True, NOW, LATER)
    assert facts(database)[4:] == [("tariff_changed", str(new.id))]


def test_a_changed_connector_makes_its_evse_and_site_newer_and_no_other(
    database: Database, document: dict[str, Any]
) -> None:
    apply(database, document)  # LO-04
    plug(document, 1)["max_amperage"] = 32
    assert told(apply(database, document, LATER)) == [("connector", "CP001-2 1", "changed")]
    assert [c.last_updated for c in rows(database, Connector)] == [NOW, LATER]
    assert [e.last_updated for e in rows(database, Evse)] == [NOW, LATER]
    [location] = rows(database, Location)
    assert location.last_updated == LATER
    assert facts(database)[4:] == [("location_changed", str(location.id))]


def test_a_changed_address_leaves_the_evses_alone(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["locations"][0]["address"] = "F.Rooseveltlaan 3B"
    [change] = apply(database, document, LATER)
    assert (change.kind, change.id, change.what, change.detail) == ("location", "LOC1", "changed", "address")
    assert [e.last_updated for e in rows(database, Evse)] == [NOW, NOW]


def test_an_evse_that_is_missing_becomes_removed_and_comes_back(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)  # LO-08
    gone = document["locations"][0]["stations"][0]["evses"].pop()
    assert told(apply(database, document, LATER)) == [("evse", "CP001-2", "removed")]
    assert [(e.removed, e.last_updated) for e in rows(database, Evse)] == [(False, NOW), (True, LATER)]
    assert apply(database, document, LATER + timedelta(days=1)) == ()
    document["locations"][0]["stations"][0]["evses"].append(gone)
    assert told(apply(database, document, LATER + timedelta(days=2))) == [("evse", "CP001-2", "back")]
    assert [e.removed for e in rows(database, Evse)] == [False, False]


def test_a_site_that_is_missing_keeps_its_row_and_loses_its_evses(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["locations"] = []
    assert told(apply(database, document, LATER)) == [("evse", "CP001-1", "removed"), ("evse", "CP001-2", "removed")]
    assert [location.last_updated for location in rows(database, Location)] == [LATER]


def test_a_file_without_locations_says_nothing_about_them(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    del document["locations"]
    assert apply(database, document, LATER) == ()


def test_a_connector_that_is_missing_becomes_removed(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    plug(document)["id"] = "2"
    assert told(apply(database, document, LATER)) == [
        ("connector", "CP001-1 2", "new"),
        ("connector", "CP001-1 1", "removed"),
    ]
    assert sorted((c.connector_id, c.removed) for c in rows(database, Connector)) == [
        ("1", False),
        ("1", True),
        ("2", False),
    ]


def test_a_password_is_hashed_anew_only_when_it_changed(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    [before] = rows(database, Station)
    apply(database, document, LATER)
    assert rows(database, Station) == [before]
    document["locations"][0]["stations"][0]["password"] = "another-charger-key"
    assert told(apply(database, document, LATER)) == [("station", "CP001", "password")]
    [after] = rows(database, Station)
    assert verify(b"another-charger-key", after.password_hash)
    del document["locations"][0]["stations"][0]["password"]
    assert apply(database, document, LATER) == ()


def test_a_changed_card_is_told(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["tokens"][0]["valid"] = False
    [change] = apply(database, document, LATER)
    assert (change.kind, change.id, change.what, change.detail) == ("token", "04…D4", "changed", "valid")
    assert facts(database)[4:] == [("token_changed", str(rows(database, Token)[0].id))]


def test_a_station_that_waits_is_adopted_by_the_file(database: Database, document: dict[str, Any]) -> None:
    with database.write() as connection:
        stations.provision(connection, "CP001", None, NOW)
        connection.execute(Station.__table__.update().values(admission=Admission.PENDING.value))
    changes = told(apply(database, document))
    assert ("station", "CP001", "adopted") in changes
    assert ("station", "CP001", "password") in changes
    assert rows(database, Station)[0].admission == Admission.KNOWN


def test_times_never_fall_when_the_clock_does(database: Database, document: dict[str, Any]) -> None:
    apply(database, document, LATER)
    plug(document)["max_amperage"] = 63
    apply(database, document, NOW)
    assert [location.last_updated for location in rows(database, Location)] == [LATER]


def test_objects_of_another_party(database: Database, document: dict[str, Any]) -> None:
    other = {"country_code": "NL", "party_id": "SUB"}
    document["parties"].append({**other, "name": "Sub-operator"})
    document["tariffs"].append({**document["tariffs"][0], "party": other})
    document["tokens"].append({**document["tokens"][0], "party": other})
    apply(database, document)
    assert [(row.country_code, row.party_id) for row in rows(database, Tariff)] == [("BE", "BEC"), ("NL", "SUB")]
    assert rows(database, Token)[2].issuer == "Sub-operator"


# ---- what can never change ------------------------------------------------------------------------------------------


def refused(database: Database, document: dict[str, Any], now: datetime = LATER) -> list[str]:
    before = everything(database)
    with pytest.raises(BadNetwork) as caught:
        apply(database, document, now)
    assert everything(database) == before
    return list(caught.value.problems)


def test_the_uid_of_an_evse_never_changes(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)  # LO-21
    document["locations"][0]["stations"][0]["evses"][0]["uid"] = "CP001-9"
    assert refused(database, document) == [
        "locations[0].stations[0].evses[0].uid: never changes, it is CP001-1",
    ]


def test_a_station_does_not_move_with_its_id(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["locations"][0]["id"] = "LOC2"
    assert refused(database, document)[0] == (
        "locations[0].stations[0].evses[0]: EVSE 1 of CP001 stands at LOC1; a station that moves needs a new id"
    )


def test_a_uid_of_a_removed_evse_is_not_given_again(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    document["locations"][0]["stations"][0]["id"] = "CP002"
    assert refused(database, document)[0] == ("locations[0].stations[0].evses[0].uid: belongs to EVSE 1 of CP001")


# ---- a mistaken file ------------------------------------------------------------------------------------------------


def test_every_mistake_is_named_at_once_and_nothing_is_written(database: Database, document: dict[str, Any]) -> None:
    plug(document)["standard"] = "IEC_62196_T22"
    document["locations"][0]["country"] = "BLG"
    document["tariffs"][0]["currency"] = "Euro"
    first, second, third = refused(database, document)
    assert first == "locations[0].country: BLG is no country of ISO 3166 (three letters, such as BEL)"
    assert second.startswith(
        "locations[0].stations[0].evses[0].connectors[0].standard: 'IEC_62196_T22' is none of the 40"
    )
    assert "IEC_62196_T2" in second
    assert third == "tariffs[0].currency: must be a currency of three capital letters such as EUR"
    assert facts(database) == []


LOCATION = ("locations", 0)
EVSE = (*LOCATION, "stations", 0, "evses", 0)
PLUG = (*EVSE, "connectors", 0)
PRICE = ("tariffs", 0, "elements", 0, "price_components", 0)
MISTAKES: list[tuple[tuple[str | int, ...], Any, str]] = [
    ((*LOCATION, "id"), "L" * 37, "locations[0].id: "),
    ((*LOCATION, "id"), "LOC é", "locations[0].id: must be printable ASCII"),
    ((*LOCATION, "city"), None, "locations[0].city: "),
    ((*LOCATION, "address"), "", "locations[0].address: is empty"),
    ((*LOCATION, "postal_code"), 9000, "locations[0].postal_code: must be text, write it in quotes"),
    ((*LOCATION, "colour"), "red", "locations[0].colour: is not known here"),
    ((*LOCATION, "²"), 4, "locations[0].²: is not known here"),  # a digit, and no number
    ((*LOCATION, "time_zone"), "Europe", "locations[0].time_zone: 'Europe' is no IANA time zone"),
    ((*LOCATION, "time_zone"), "../etc/passwd", "locations[0].time_zone: '../etc/passwd' is no IANA time zone"),
    ((*LOCATION, "address"), "x" * 256, "locations[0].address: "),
    ((*LOCATION, "state"), "x" * 46, "locations[0].state: "),
    ((*LOCATION, "roaming"), 1, "locations[0].roaming: "),
    ((*LOCATION, "charging_when_closed"), "no", "locations[0].charging_when_closed: "),
    ((*LOCATION, "country"), "BE", "locations[0].country: must be a country of three capital letters"),
    (
        (*LOCATION, "coordinates", "latitude"),
        "51.04",
        "locations[0].coordinates.latitude: must be a latitude with 5 to 7",
    ),
    ((*LOCATION, "coordinates", "latitude"), "91.000000", "locations[0].coordinates.latitude: must be a latitude"),
    ((*LOCATION, "coordinates", "longitude"), "181.000000", "locations[0].coordinates.longitude: must be a longitude"),
    ((*LOCATION, "publish"), "yes", "locations[0].publish: "),
    ((*LOCATION, "facilities"), ["POOL"], "locations[0].facilities[0]: 'POOL' is none of"),
    (
        (*LOCATION, "publish_allowed_to"),
        [{"group_id": "A"}],
        "locations[0].publish_allowed_to: only where publish is false",
    ),
    (
        (*LOCATION, "publish_allowed_to"),
        [{"uid": "A"}],
        "locations[0].publish_allowed_to[0].type: is needed beside uid",
    ),
    (
        (*LOCATION, "publish_allowed_to"),
        [{"issuer": "A"}],
        "locations[0].publish_allowed_to[0]: needs uid, visual_number",
    ),
    (
        (*LOCATION, "publish_allowed_to"),
        [{"visual_number": "A"}],
        "locations[0].publish_allowed_to[0].issuer: is needed beside visual_number",
    ),
    ((*LOCATION, "party"), {"country_code": "NL", "party_id": "XYZ"}, "locations[0].party: NL-XYZ is neither"),
    (
        (*LOCATION, "opening_times"),
        {"twentyfourseven": False},
        "locations[0].opening_times.regular_hours: needs at least one entry",
    ),
    (
        (*LOCATION, "opening_times"),
        {
            "twentyfourseven": False,
            "regular_hours": [{"weekday": 1, "period_begin": "22:00", "period_end": "06:00"}],
        },
        "locations[0].opening_times.regular_hours[0].period_end: must be later than period_begin",
    ),
    *(
        (
            (*LOCATION, "opening_times"),
            {
                "twentyfourseven": False,
                "regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "18:00"} | odd],
            },
            f"locations[0].opening_times.regular_hours[0].{name}: ",
        )
        for name, odd in (
            ("weekday", {"weekday": 0}),
            ("weekday", {"weekday": 8}),
            ("period_end", {"period_end": "24:00"}),
            ("period_begin", {"period_begin": "8:00"}),
            ("period_begin", {"period_begin": "08:00:00"}),
        )
    ),
    ((*EVSE, "physical_reference"), 7, "locations[0].stations[0].evses[0].physical_reference: must be text"),
    ((*EVSE, "physical_reference"), "x" * 17, "locations[0].stations[0].evses[0].physical_reference: "),
    ((*EVSE, "floor_level"), -1, "locations[0].stations[0].evses[0].floor_level: must be text"),
    ((*EVSE, "floor_level"), "-1.50", "locations[0].stations[0].evses[0].floor_level: "),
    ((*LOCATION, "stations", 0, "id"), "CP 1", "locations[0].stations[0].id: must be usable in a URL"),
    ((*LOCATION, "stations", 0, "password"), 123456, "locations[0].stations[0].password: must be text of 1 to 255"),
    (
        (*EVSE, "evse"),
        2,
        "locations[0].stations[0].evses[1].evse: is already used at locations[0].stations[0].evses[0]",
    ),
    ((*EVSE, "evse"), 0, "locations[0].stations[0].evses[0].evse: "),
    ((*EVSE, "uid"), "cp001-2", "locations[0].stations[0].evses[1].uid: is already used at"),
    ((*EVSE, "connectors"), [], "locations[0].stations[0].evses[0].connectors: needs at least one entry"),
    (
        (*PLUG, "format"),
        "PLUG",
        "locations[0].stations[0].evses[0].connectors[0].format: 'PLUG' is none of CABLE, SOCKET",
    ),
    ((*PLUG, "max_voltage"), "230", "locations[0].stations[0].evses[0].connectors[0].max_voltage: "),
    (
        (*PLUG, "tariff_ids"),
        ["no"],
        "locations[0].stations[0].evses[0].connectors[0].tariff_ids[0]: there is no tariff no",
    ),
    (
        (*PRICE, "price"),
        0.25,
        'tariffs[0].elements[0].price_components[0].price: must be a decimal number such as "0.25"',
    ),
    ((*PRICE, "price"), "0,25", "tariffs[0].elements[0].price_components[0].price: must be a decimal number"),
    ((*PRICE, "price"), "-1", "tariffs[0].elements[0].price_components[0].price: must be a decimal number"),
    (
        ("tariffs", 0, "tariff_alt_text"),
        [{"language": "en", "text": "for less than 3 < 5 <b>euro</b>"}],
        "tariffs[0].tariff_alt_text[0].text: must be plain text",
    ),
    (("tariffs", 0, "tariff_alt_text"), [{"language": "EN", "text": "x"}], "tariffs[0].tariff_alt_text[0].language"),
    ((*PRICE, "type"), "POWER", "tariffs[0].elements[0].price_components[0].type: 'POWER' is none of ENERGY, FLAT"),
    ((*PRICE, "step_size"), 0, "tariffs[0].elements[0].price_components[0].step_size: "),
    (("tokens", 0, "uid"), "\u200b", "tokens[0].uid: must be printable ASCII"),
    (("tokens", 0, "uid"), "04ffeeddcc", "tokens[1].uid: is already used at tokens[0].uid"),
    (("tokens", 0, "expires"), "2027-12-31", "tokens[0].expires: must be a time with its zone"),
    (("tokens", 0, "expires"), "2027-02-30T00:00:00Z", "tokens[0].expires: 2027-02-30T00:00:00Z is no moment"),
    (("tokens", 0, "valid"), None, "tokens[0].valid: "),
]


@pytest.mark.parametrize(("path", "value", "problem"), MISTAKES)
def test_a_mistake_is_named_by_its_place(
    document: dict[str, Any], path: tuple[str | int, ...], value: Any, problem: str
) -> None:  # LO-22 to LO-24, LO-27, LO-46, LO-71, LO-72, TY-14
    *above, last = path
    target: Any = document
    for step in above:
        target = target[step]
    target[last] = value
    found = problems(document, default_party=DEFAULT, tariffs={})
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.parametrize("path", [("locations", 0, "city"), ("locations", 0, "publish"), ("tariffs", 0, "currency")])
def test_what_is_required_may_not_be_missing(document: dict[str, Any], path: tuple[Any, ...]) -> None:
    list_, number, name = path
    del document[list_][number][name]
    assert problems(document, default_party=DEFAULT, tariffs={}) == [f"{list_}[{number}].{name}: is missing"]


def test_a_tariff_imported_earlier_may_be_named(database: Database, document: dict[str, Any]) -> None:
    apply(database, document)
    del document["tariffs"]
    assert apply(database, document, LATER) == ()


SUMMER = {"end_date_time": "2026-09-01T00:00:00Z"}
AUTUMN = {"start_date_time": "2026-09-01T00:00:00Z"}
NOBODY = "locations[0].stations[0].evses[0].connectors[0].tariff_ids[1]: nobody would pay by second while first"


@pytest.mark.parametrize(
    ("first", "second", "mistake"),
    [
        ({}, {}, NOBODY),
        ({"type": None}, {}, NOBODY),
        ({}, {"type": "AD_HOC_PAYMENT"}, None),
        ({"partners": ["TNM"]}, {}, None),
        ({"partners": ["TNM", "Other"]}, {"partners": ["tnm"]}, NOBODY),
        ({}, {"partners": ["TNM"]}, NOBODY),
        (SUMMER, AUTUMN, None),
        (SUMMER, {**AUTUMN, "start_date_time": "2026-08-31T23:59:59Z"}, NOBODY),
        (AUTUMN, {}, NOBODY),
        ({**AUTUMN, **SUMMER}, {}, "tariffs[1].end_date_time: must be later than start_date_time"),
    ],
)
def test_a_connector_has_one_tariff_at_a_time_for_a_kind_of_session(
    document: dict[str, Any], first: dict[str, Any], second: dict[str, Any], mistake: str | None
) -> None:  # LO-49
    known = document["tariffs"][0]
    for name, words in (("first", first), ("second", second)):
        given = {**known, "id": name, **words}
        document["tariffs"].append({key: value for key, value in given.items() if value is not None})
    plug(document)["tariff_ids"] = ["First", "second"]
    found = problems(document, default_party=DEFAULT, tariffs={})
    if mistake is None:
        assert found == []
    else:
        assert any(line.startswith(mistake.replace("first", "First")) for line in found), found


def test_a_rival_may_have_been_imported_earlier(database: Database, document: dict[str, Any]) -> None:  # LO-49
    apply(database, document)
    document["tariffs"] = [{**document["tariffs"][0], "id": "second"}]
    plug(document)["tariff_ids"] = ["standard-ac", "second"]
    (line,) = refused(database, document)
    assert "nobody would pay by second while standard-ac before it is in force" in line


def test_who_offers_preferences_has_a_tariff_for_them(document: dict[str, Any]) -> None:  # LO-50
    document["locations"][0]["stations"][0]["evses"][0]["capabilities"] = ["CHARGING_PREFERENCES_CAPABLE"]
    (line,) = problems(document, default_party=DEFAULT, tariffs={})
    assert line.startswith(
        "locations[0].stations[0].evses[0].connectors[0].tariff_ids: CHARGING_PREFERENCES_CAPABLE needs"
    )
    document["tariffs"].append({**document["tariffs"][0], "id": "green", "type": "PROFILE_GREEN"})
    plug(document)["tariff_ids"].append("green")
    assert problems(document, default_party=DEFAULT, tariffs={}) == []


def test_a_mistake_does_not_hide_what_is_of_the_wrong_shape() -> None:
    for name in ("parties", "tariffs", "locations", "tokens"):
        for shape in (
            None,
            5,
            "x",
            {},
            [None],
            [[]],
            [{"stations": 5}],
            [{"stations": [{"evses": [{"connectors": 1}]}]}],
            [{"id": "x", "partners": [{}], "type": {}, "start_date_time": 5, "end_date_time": []}],
            [{"stations": [{"evses": [{"connectors": [{"tariff_ids": [{}, "x"]}], "capabilities": {}}]}]}],
        ):
            assert problems({name: shape}, default_party=DEFAULT, tariffs={}) != []


def test_a_password_is_never_repeated_in_a_problem(document: dict[str, Any]) -> None:
    document["locations"][0]["stations"][0]["password"] = ["hunter2"]
    assert not any("hunter2" in line for line in problems(document, default_party=DEFAULT, tariffs={}))


# ---- YAML -----------------------------------------------------------------------------------------------------------


SCALARS: list[tuple[str, Any]] = [
    ("NO", "NO"),  # Norway is no boolean
    ("0.10", "0.10"),  # no digit is lost
    ("08:30", "08:30"),
    ("22:30", "22:30"),  # 1.1 reads 1350
    ("0401020304", "0401020304"),
    ("2027-12-31T23:00:00Z", "2027-12-31T23:00:00Z"),
    ("1e5", "1e5"),
    ("230", 230),
    ("true", True),
    ('"230"', "230"),
]


@pytest.mark.parametrize(("written", "meant"), SCALARS)
def test_yaml_without_its_surprises(written: str, meant: Any) -> None:
    assert read(f"value: {written}") == {"value": meant}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "line 2, column 1: a stands here twice"),
        ("a: [", "line 1"),
        ("a: !!python/object:os.system x", "line 1"),
        ("- a", "the file must hold"),
        ("", "the file must hold"),
        ("a: \x01", "not YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(text: str, problem: str) -> None:
    with pytest.raises(BadNetwork) as caught:
        read(text)
    [line] = caught.value.problems
    assert line.startswith(problem)


def test_the_uid_of_an_evse_is_the_files_and_never_a_serial_number(
    database: Database, document: dict[str, Any]
) -> None:
    """LO-41: the box may be exchanged, the place keeps its name."""
    apply(database, document)
    with database.write() as connection:
        connection.execute(update(Station).values(vendor="Acme", model="X", serial_number="SN-1"))
    apply(database, document, LATER)
    assert [row.uid for row in rows(database, Evse)] == ["CP001-1", "CP001-2"]


def test_a_place_without_postal_code_is_told_without_one(database: Database, document: dict[str, Any]) -> None:  # LO-22
    apply(database, document)
    assert rows(database, Location)[0].postal_code == "9000"
    del document["locations"][0]["postal_code"]
    assert ("location", "LOC1", "changed") in told(apply(database, document, LATER))
    assert rows(database, Location)[0].postal_code is None


def test_a_private_site_is_no_longer_roaming_and_its_sites_time_rises(
    database: Database, document: dict[str, Any]
) -> None:  # LO-29
    apply(database, document)
    document["locations"][0]["roaming"] = False
    assert ("location", "LOC1", "changed") in told(apply(database, document, LATER))
    (site,) = rows(database, Location)
    assert (site.roaming, site.last_updated) == (False, LATER)
