"""Tariffs in OCPI 2.1.1: elements with prices before VAT, and nothing about who pays them and when (2.1.1 mod_tariffs)."""

from collections.abc import Mapping
from typing import Any

from adapters.datatypes import present
from adapters.v211.locations import energy_mix

Body = Mapping[str, Any]

UNSAYABLE = frozenset({"min_current", "max_current", "reservation"})


def tellable(elements: Any) -> bool:
    """Is anything left of a tariff with these elements?"""
    return any(_sayable(element) for element in elements)


def tariff_to_211(tariff: Body) -> dict[str, Any]:
    """An element for reservations, or for currents, is left out: without its restriction it would be for all charging."""
    return present(
        {
            "id": tariff["id"],
            "currency": tariff["currency"],
            "tariff_alt_text": tariff.get("tariff_alt_text"),
            "tariff_alt_url": tariff.get("tariff_alt_url"),
            "elements": [_element(element) for element in tariff["elements"] if _sayable(element)],
            "energy_mix": energy_mix(tariff.get("energy_mix")),
            "last_updated": tariff["last_updated"],
        }
    )


def _sayable(element: Body) -> bool:
    restrictions = element.get("restrictions") or {}
    return not any(restrictions.get(name) is not None for name in UNSAYABLE)


def _element(element: Body) -> dict[str, Any]:
    components = [
        {name: component[name] for name in ("type", "price", "step_size")} for component in element["price_components"]
    ]
    return present({"price_components": components, "restrictions": element.get("restrictions")})
