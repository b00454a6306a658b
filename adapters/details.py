"""The optional words of the operator's file, checked when it was imported: those that OCPI knows leave, in OCPI's notation."""

from collections.abc import Iterable, Mapping
from typing import Any

from adapters.datatypes import moment, number, plain, present, read_moment

Details = Mapping[str, Any]

LOCATION = (
    "publish_allowed_to",
    "related_locations",
    "parking_type",
    "directions",
    "operator",
    "suboperator",
    "owner",
    "facilities",
    "charging_when_closed",
    "images",
)
EVSE = ("floor_level", "physical_reference", "directions", "parking_restrictions", "images")
TARIFF = ("tariff_alt_text", "tariff_alt_url")


def of_location(details: Details, *, publish: bool) -> dict[str, Any]:
    words = _known(details, LOCATION)
    if publish:
        words.pop("publish_allowed_to", None)  # LO-26
    return words | present(
        {"opening_times": _hours(details.get("opening_times")), "energy_mix": _energy_mix(details.get("energy_mix"))}
    )


def of_tariff(details: Details) -> dict[str, Any]:
    times = {
        name: moment(read_moment(details[name], name))
        for name in ("start_date_time", "end_date_time")
        if details.get(name)
    }
    return _known(details, TARIFF) | times | present({"energy_mix": _energy_mix(details.get("energy_mix"))})


def of_evse(details: Details) -> dict[str, Any]:
    return _known(details, EVSE)


def _known(details: Details, names: Iterable[str]) -> dict[str, Any]:
    return present({name: details.get(name) for name in names})


def _hours(hours: Details | None) -> dict[str, Any] | None:
    """Regular hours only where it is not always open (LO-70); exceptions are moments in UTC (LO-73)."""
    if not hours:
        return None
    regular = None if hours["twentyfourseven"] else hours.get("regular_hours")
    return {"twentyfourseven": hours["twentyfourseven"]} | present(
        {
            "regular_hours": regular,
            "exceptional_openings": _exceptions(hours.get("exceptional_openings")),
            "exceptional_closings": _exceptions(hours.get("exceptional_closings")),
        }
    )


def _exceptions(periods: Iterable[Details] | None) -> list[dict[str, str]]:
    edges = ("period_begin", "period_end")
    return [{edge: moment(read_moment(period[edge], edge)) for edge in edges} for period in periods or ()]


def _energy_mix(mix: Details | None) -> dict[str, Any] | None:
    if not mix:
        return None
    return _known(mix, ("is_green_energy", "supplier_name", "energy_product_name")) | present(
        {
            "energy_sources": _amounts(mix.get("energy_sources"), "source", "percentage"),
            "environ_impact": _amounts(mix.get("environ_impact"), "category", "amount"),
        }
    )


def _amounts(entries: Iterable[Details] | None, name: str, amount: str) -> list[dict[str, Any]]:
    return [{name: entry[name], amount: plain(number(entry[amount], amount))} for entry in entries or ()]
