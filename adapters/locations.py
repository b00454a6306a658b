"""Sites as OCPI Locations: the site, its EVSEs with their status, and their connectors."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters import details
from adapters.datatypes import geo_location, moment, optional_text, present, text
from csms.availability import AVAILABILITY, Availability
from csms.features import RESERVATION, SMART_CHARGING, Features
from csms.locations import Meanings, availability

STATUS = {
    Availability.AVAILABLE: "AVAILABLE",
    Availability.OCCUPIED: "CHARGING",
    Availability.RESERVED: "RESERVED",
    Availability.UNAVAILABLE: "INOPERATIVE",
    Availability.FAULTED: "OUTOFORDER",
    Availability.UNKNOWN: "UNKNOWN",  # nothing heard yet, or offline (LO-63)
    Availability.REMOVED: "REMOVED",
}

# What our commands serve on every EVSE (LO-44), what the station must have for it, and what only the operator can know of
# the hardware. Charging preferences are the operator's to offer (ADR 38).
SERVED = ("REMOTE_START_STOP_CAPABLE", "RFID_READER", "UNLOCK_CAPABLE")
FEATURED = {"RESERVABLE": RESERVATION, "CHARGING_PROFILE_CAPABLE": SMART_CHARGING}
OFFERED = {**FEATURED, "CHARGING_PREFERENCES_CAPABLE": SMART_CHARGING}
HARDWARE = (
    "CHIP_CARD_SUPPORT",
    "CONTACTLESS_CARD_SUPPORT",
    "CREDIT_CARD_PAYABLE",
    "DEBIT_CARD_PAYABLE",
    "PED_TERMINAL",
    "TOKEN_GROUP_CAPABLE",
)


def location_to_ocpi(
    location: Any,
    evses: Sequence[tuple[Any, Sequence[Any]]],
    stations: Mapping[str, Any],
    features: Mapping[str, Features] = {},
    meanings: Meanings = AVAILABILITY,
    *,
    operator_name: str | None = None,
) -> dict[str, Any]:
    """The complete Location (LO-03). `evses`: EVSE rows, each with its connector rows; `stations`: station rows by id;
    `features`: what the stations that have told say that they can.

    An EVSE without any connector is not shown: OCPI has no such thing (LO-40). `operator_name`: ours in our credentials, which
    need not be repeated (LO-32).
    """
    words = dict(location.details or {})
    if words.get("operator") == {"name": operator_name}:
        del words["operator"]
    return present(
        {
            "country_code": text(location.country_code, 2),
            "party_id": text(location.party_id, 3),
            "id": text(location.location_id, 36),
            "publish": bool(location.publish),
            "name": optional_text(location.name, 255),
            "address": text(location.address, 255),
            "city": text(location.city, 45),
            "postal_code": optional_text(location.postal_code, 10),
            "state": optional_text(location.state, 45),
            "country": text(location.country, 3),
            "coordinates": geo_location(location.latitude, location.longitude),
            "evses": [
                evse_to_ocpi(
                    evse,
                    connectors,
                    station_offline=_offline(stations.get(evse.station_id)),
                    features=features.get(evse.station_id),
                    meanings=meanings,
                )
                for evse, connectors in evses
                if connectors
            ],
            "time_zone": text(location.time_zone, 255),
            **details.of_location(words, publish=location.publish),
            "last_updated": moment(location.last_updated),
        }
    )


def evse_to_ocpi(
    evse: Any,
    connectors: Sequence[Any],
    *,
    station_offline: bool,
    features: Features | None = None,
    meanings: Meanings = AVAILABILITY,
) -> dict[str, Any]:
    """The complete EVSE; `connectors` holds one at least. One that is gone keeps its connectors (LO-08)."""
    words = evse.details or {}
    kept = [connector for connector in connectors if not connector.removed] or connectors
    place = words.get("coordinates")
    return present(
        {
            "uid": text(evse.uid, 36),
            "evse_id": optional_text(evse.evse_id, 48),
            "status": STATUS[availability(evse, station_offline=station_offline, meanings=meanings)],
            "capabilities": capabilities(words, features),
            "connectors": [connector_to_ocpi(connector) for connector in kept],
            "coordinates": geo_location(place["latitude"], place["longitude"]) if place else None,
            **details.of_evse(words),
            "last_updated": moment(evse.last_updated),
        }
    )


def evse_patch(evse: Mapping[str, Any]) -> dict[str, Any]:
    """The PATCH body that tells a status (LO-07), from the rendered EVSE."""
    return {"status": evse["status"], "last_updated": evse["last_updated"]}


BELOW = (("evses", "uid"), ("connectors", "id"))  # what a Location, and what an EVSE, is made of


def location_patch(
    confirmed: Mapping[str, Any], current: Mapping[str, Any], below: Sequence[tuple[str, str]] = BELOW
) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """The ids below the Location, and the PATCH there, that make the `confirmed` one the `current`: at the Location, at one
    EVSE or at one Connector of it. None when it takes more than one place, or a field or a part is gone or new (PU-06), or the
    receiver would know another last_updated above what changed (LO-04): PUT instead."""
    if confirmed.keys() - current.keys():
        return None
    parts, identity = below[0] if below else ("", "")
    own = {name: value for name, value in current.items() if name != parts and confirmed.get(name) != value}
    old, new = confirmed.get(parts, []), current.get(parts, [])
    if old == new:
        return (), own | {"last_updated": current["last_updated"]}
    changed = [pair for pair in zip(old, new, strict=False) if pair[0] != pair[1]]
    same = [part[identity] for part in old] == [part[identity] for part in new]
    inside = location_patch(*changed[0], below[1:]) if same and len(changed) == 1 else None
    if inside is None or own.keys() - {"last_updated"}:
        return None
    path, changes = inside
    if current["last_updated"] != max(confirmed["last_updated"], changes["last_updated"]):
        return None
    return (changed[0][1][identity], *path), changes


def connector_to_ocpi(connector: Any) -> dict[str, Any]:
    return present(
        {
            "id": text(connector.connector_id, 36),
            "standard": connector.standard,
            "format": connector.format,
            "power_type": connector.power_type,
            "max_voltage": connector.max_voltage,
            "max_amperage": connector.max_amperage,
            "max_electric_power": connector.max_electric_power,
            "tariff_ids": [text(tariff_id, 36) for tariff_id in connector.tariff_ids or ()],
            "last_updated": moment(connector.last_updated),
        }
    )


def capabilities(words: Mapping[str, Any], features: Features | None) -> list[str]:
    """What is served here, or what of it the operator's file names, with the hardware that it names. `features` None: the
    station has not told what it can, and the file is believed."""
    named = words.get("capabilities")
    if not isinstance(named, list):
        return [*SERVED, *(word for word, needed in FEATURED.items() if needed in (features or ()))]
    here = [word for word, needed in OFFERED.items() if features is None or needed in features]
    return [word for word in (*SERVED, *here, *HARDWARE) if word in named]


def _offline(station: Any) -> bool:
    return station is None or bool(station.offline_told)
