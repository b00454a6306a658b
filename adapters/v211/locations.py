"""Locations in OCPI 2.1.1: a type, one tariff a connector, and fewer words for what is there (2.1.1 mod_locations)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from adapters.datatypes import NOT_AVAILABLE, present, text

Body = Mapping[str, Any]

TYPE = {
    None: "UNKNOWN",
    "ALONG_MOTORWAY": "OTHER",
    "ON_DRIVEWAY": "OTHER",
    "ON_STREET": "ON_STREET",
    "PARKING_GARAGE": "PARKING_GARAGE",
    "PARKING_LOT": "PARKING_LOT",
    "UNDERGROUND_GARAGE": "UNDERGROUND_GARAGE",
}
CAPABILITIES = frozenset(
    {
        "CHARGING_PROFILE_CAPABLE",
        "CREDIT_CARD_PAYABLE",
        "REMOTE_START_STOP_CAPABLE",
        "RESERVABLE",
        "RFID_READER",
        "UNLOCK_CAPABLE",
    }
)
FACILITIES_SINCE_22 = frozenset({"BIKE_SHARING", "METRO_STATION", "PARKING_LOT", "TRAM_STOP"})
STANDARDS = frozenset(
    {
        "CHADEMO",
        *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKL"),
        "IEC_60309_2_single_16",
        *(f"IEC_60309_2_three_{size}" for size in (16, 32, 64)),
        *("IEC_62196_T1", "IEC_62196_T1_COMBO", "IEC_62196_T2", "IEC_62196_T2_COMBO", "IEC_62196_T3A", "IEC_62196_T3C"),
        *("TESLA_R", "TESLA_S"),
    }
)
POWER_TYPE = {"AC_2_PHASE": "AC_1_PHASE", "AC_2_PHASE_SPLIT": "AC_1_PHASE"}

# What both versions call and write alike.
LOCATION = ("id", "name", "city", "country", "directions", "operator", "suboperator", "owner", "time_zone")
LOCATION_END = ("charging_when_closed", "images", "last_updated")
EVSE = ("floor_level", "physical_reference", "directions", "parking_restrictions", "images", "last_updated")


def location_to_211(location: Body) -> dict[str, Any]:
    """An EVSE whose connectors all are of kinds that 2.1.1 has no word for is not shown."""
    evses = [evse_to_211(evse) for evse in location.get("evses", ())]
    return present(
        {name: location.get(name) for name in LOCATION}
        | {
            "type": TYPE[location.get("parking_type")],
            "address": text(location["address"], 45),
            "postal_code": location.get("postal_code") or NOT_AVAILABLE,
            "coordinates": six_decimals(location["coordinates"]),
            "related_locations": [six_decimals(place) for place in location.get("related_locations", ())],
            "evses": [evse for evse in evses if evse.get("connectors")],
            "facilities": [word for word in location.get("facilities", ()) if word not in FACILITIES_SINCE_22],
            "opening_times": hours(location.get("opening_times")),
            "energy_mix": energy_mix(location.get("energy_mix")),
        }
        | {name: location.get(name) for name in LOCATION_END}
    )


def evse_to_211(evse: Body) -> dict[str, Any]:
    place = evse.get("coordinates")
    return present(
        {
            "uid": evse["uid"],
            "evse_id": evse.get("evse_id"),
            "status": evse["status"],
            "capabilities": [word for word in evse.get("capabilities", ()) if word in CAPABILITIES],
            "connectors": [
                connector_to_211(connector) for connector in evse["connectors"] if connector["standard"] in STANDARDS
            ],
            "coordinates": six_decimals(place) if place else None,
        }
        | {name: evse.get(name) for name in EVSE}
    )


def connector_to_211(connector: Body) -> dict[str, Any]:
    """The tariff is the first of those that its reader pays, as a session would begin with it."""
    return present(
        {
            "id": connector["id"],
            "standard": connector["standard"],
            "format": connector["format"],
            "power_type": POWER_TYPE.get(connector["power_type"], connector["power_type"]),
            "voltage": connector["max_voltage"],
            "amperage": connector["max_amperage"],
            "tariff_id": next(iter(connector.get("tariff_ids", ())), None),
            "terms_and_conditions": connector.get("terms_and_conditions"),
            "last_updated": connector["last_updated"],
        }
    )


def six_decimals(place: Body) -> dict[str, Any]:
    """A GeoLocation or AdditionalGeoLocation with exactly six (V1-17)."""
    return {**place, **{name: f"{Decimal(place[name]):.6f}" for name in ("latitude", "longitude")}}


def hours(times: Body | None) -> dict[str, Any] | None:
    """Either regular hours or always open, never both (V1-17)."""
    if times is None:
        return None
    regular = None if times["twentyfourseven"] else times.get("regular_hours")
    exceptions = ("exceptional_openings", "exceptional_closings")
    choice = {"regular_hours": regular} if regular else {"twentyfourseven": times["twentyfourseven"]}
    return present(choice | {name: times.get(name) for name in exceptions})


def energy_mix(mix: Body | None) -> dict[str, Any] | None:
    if mix is None:
        return None
    impact = [{"source": entry["category"], "amount": entry["amount"]} for entry in mix.get("environ_impact", ())]
    return present({**mix, "environ_impact": impact})
