"""A tariff's version as the OCPI Tariff that partners pay by."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from adapters import details
from adapters.datatypes import moment, number, plain, present, price, text

_NUMBERS = ("min_kwh", "max_kwh", "min_current", "max_current", "min_power", "max_power")
_SECONDS = ("min_duration", "max_duration")
_TEXTS = {"start_time": 5, "end_time": 5, "start_date": 10, "end_date": 10}


FREE: Sequence[Mapping[str, Any]] = [{"price_components": [{"type": "FLAT", "price": 0, "step_size": 1}]}]  # TA-14


def tariff_to_ocpi(tariff: Any) -> dict[str, Any]:
    """Of a Tariff row. Prices are exact: what the operator's file says, without zeros behind the last digit."""
    extra = tariff.details or {}
    return present(
        {
            "country_code": text(tariff.country_code, 2),
            "party_id": text(tariff.party_id, 3),
            "id": text(tariff.tariff_id, 36),
            "currency": text(tariff.currency, 3),
            "type": tariff.type,
            **details.of_tariff(extra),
            "min_price": _limit(extra, "min_price"),
            "max_price": _limit(extra, "max_price"),
            "elements": FREE
            if _is_free(tariff.elements, extra)
            else [_element(element) for element in tariff.elements],
            "last_updated": moment(tariff.last_updated),
        }
    )


def _is_free(elements: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> bool:
    """That nothing in it costs anything, whatever its dimensions and conditions; not of one that says so as it should."""
    components = [component for element in elements for component in element["price_components"]]
    if [component["type"] for component in components] == ["FLAT"] and not elements[0].get("restrictions"):
        return False
    least = (extra.get("min_price") or {}).get("excl_vat", 0)
    return not any(number(price, "price") for price in (least, *(component["price"] for component in components)))


def _element(element: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        {
            "price_components": [_component(component) for component in element["price_components"]],
            "restrictions": _restrictions(element.get("restrictions") or {}),
        }
    )


def _component(component: Mapping[str, Any]) -> dict[str, Any]:
    """Without `vat` no VAT applies; 0 is the zero rate (TA-11). A FLAT step means nothing but is required (ER-15)."""
    return present(
        {
            "type": component["type"],
            "price": _exact(component, "price"),
            "vat": _exact(component, "vat"),
            "step_size": int(number(component.get("step_size", 1), "step_size")),
        }
    )


def _restrictions(restrictions: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in restrictions.items() if value is not None}
    return present(
        {name: text(given[name], limit) for name, limit in _TEXTS.items() if name in given}
        | {name: _exact(given, name) for name in _NUMBERS if name in given}
        | {name: int(number(given[name], name)) for name in _SECONDS if name in given}
        | {"day_of_week": given.get("day_of_week"), "reservation": given.get("reservation")}
    )


def _limit(extra: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    limit = extra.get(name)
    if not limit:
        return None
    return price(number(limit["excl_vat"], name), _exact(limit, "incl_vat"))


def _exact(fields: Mapping[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    return None if value is None else plain(number(value, name))
