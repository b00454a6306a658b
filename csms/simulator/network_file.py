"""The network file of a fleet: sites of a hundred stations at most, in two cities in turn, and a card for each driver."""

from collections.abc import Sequence
from typing import Any

STATIONS_A_SITE = 100
CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
}
CITIES = ("Gent", "Antwerpen")


def document(
    station_ids: Sequence[str], cards: Sequence[str], *, password: str | None = None, evses: int = 1
) -> dict[str, Any]:
    """What `roambridge import` reads, as a JSON value."""
    block = STATIONS_A_SITE * len(CITIES)
    blocks = [station_ids[first : first + block] for first in range(0, len(station_ids), block)]
    sites = [names for one in blocks for city in range(len(CITIES)) if (names := one[city :: len(CITIES)])]
    return {
        "locations": [_site(number, names, password, evses) for number, names in enumerate(sites, 1)],
        "tokens": [{"uid": card, "contract_id": f"BE-BEC-{card}"[:36], "valid": True} for card in cards],
    }


def _site(number: int, station_ids: Sequence[str], password: str | None, evses: int) -> dict[str, Any]:
    return {
        "id": f"FLEET{number}",
        "name": f"Fleet {number}",
        "address": f"Street {number}",
        "city": CITIES[number % len(CITIES)],
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "time_zone": "Europe/Brussels",
        "publish": True,
        "stations": [_station(name, password, evses) for name in station_ids],
    }


def _station(station_id: str, password: str | None, evses: int) -> dict[str, Any]:
    places = [
        {"evse": number, "uid": f"{station_id}-{number}", "connectors": [CONNECTOR]} for number in range(1, evses + 1)
    ]
    return {"id": station_id, "evses": places} | ({} if password is None else {"password": password})
