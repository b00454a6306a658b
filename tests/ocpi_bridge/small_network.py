"""The parts of a network file: a location with one station of one socket, and a tariff by energy."""

from typing import Any

PASSWORD = "a charger's password"


def site(party: tuple[str, str], location_id: str, station: str) -> dict[str, Any]:
    plug = {"id": "1", "standard": "IEC_62196_T2", "format": "CABLE", "power_type": "AC_3_PHASE"}
    plug |= {"max_voltage": 230, "max_amperage": 32, "tariff_ids": ["standard"]}
    return {
        "id": location_id,
        "party": {"country_code": party[0], "party_id": party[1]},
        "address": "Kaai 1",
        "city": "Gent",
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "time_zone": "Europe/Brussels",
        "publish": True,
        "stations": [
            {"id": station, "password": PASSWORD, "evses": [{"evse": 1, "uid": f"{station}-1", "connectors": [plug]}]}
        ],
    }


def tariff(party: tuple[str, str]) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": "0.25", "vat": "10.0", "step_size": 1}
    return {
        "id": "standard",
        "party": {"country_code": party[0], "party_id": party[1]},
        "currency": "EUR",
        "elements": [{"price_components": [component]}],
    }
