"""A charge record as the OCPI CDR that its eMSP pays: the site, the card and the tariff as they were when it started."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from adapters.datatypes import (
    NOT_AVAILABLE,
    geo_location,
    moment,
    optional_text,
    plain,
    present,
    price,
    read_moment,
    text,
)
from adapters.periods import charging_periods, reserved_period, total
from adapters.sessions import cdr_token
from adapters.signed_data import signed_data_to_ocpi
from adapters.tariffs import tariff_to_ocpi

PRICED = frozenset(
    {"tariffs", "total_cost", "total_fixed_cost", "total_energy_cost", "total_time_cost", "total_parking_cost"}
    | {"total_reservation_cost"}
)
COSTS = {"fixed": "total_fixed_cost", "energy": "total_energy_cost", "time": "total_time_cost"}


@dataclass(frozen=True, kw_only=True)
class StoredPeriod:
    start: datetime
    end: datetime
    energy_mwh: int
    parking: bool


def cdr_to_ocpi(record: Any, tariff: Any, transaction: Any) -> dict[str, Any]:
    """Of a ChargeRecord row, the Tariff row it was priced by (None: none) and its Transaction row.

    total_energy and the times are the sums of the periods' volumes (CD-18). Where a reservation was priced it begins with
    that, and its first period is the time that the EVSE was kept. A credit carries all data of the original and
    only its total negated (CD-07).
    """
    tariff_id = text(tariff.tariff_id, 36) if tariff is not None else None
    kept = _kept(record.evidence, tariff_id)
    periods = [*kept, *charging_periods(_stored(record.periods), tariff_id)]
    parking_time = total(periods, "PARKING_TIME")
    return present(
        {
            "country_code": text(record.country_code, 2),
            "party_id": text(record.party_id, 3),
            "id": record.id,
            "start_date_time": kept[0]["start_date_time"] if kept else moment(record.started_at),
            "end_date_time": moment(record.ended_at),
            "session_id": record.transaction_id,
            "cdr_token": cdr_token(record.snapshot),
            "auth_method": transaction.auth_method,
            "authorization_reference": optional_text(transaction.authorization_reference, 36),
            "cdr_location": cdr_location(record.snapshot),
            "currency": record.currency,
            "tariffs": [tariff_to_ocpi(tariff)] if tariff is not None else None,
            "charging_periods": periods,
            "signed_data": signed_data_to_ocpi(record.signed_data),
            "total_cost": price(*_total(record)),
            **{name: _cost(record.costs, part) for part, name in COSTS.items()},
            "total_energy": plain(total(periods, "ENERGY")),
            "total_time": plain(total(periods, "TIME", "PARKING_TIME", "RESERVATION_TIME")),
            "total_parking_time": plain(parking_time) if parking_time else None,
            "total_parking_cost": _cost(record.costs, "parking")
            if parking_time or _paid(record.costs, "parking")
            else None,
            "total_reservation_cost": _cost(record.costs, "reservation")
            if _paid(record.costs, "reservation")
            else None,
            "remark": optional_text(record.snapshot.get("remark"), 255),
            "credit": True if record.credit else None,
            "credit_reference_id": record.credit_reference_id if record.credit else None,
            "last_updated": moment(record.created_at),
        }
    )


def without_prices(body: Mapping[str, Any]) -> dict[str, Any]:
    """A CDR, or a Session, for a partner that prices it itself: a CDR must have a total_cost, which is zero then (CD-34)."""
    shown = {name: value for name, value in body.items() if name not in PRICED}
    shown["charging_periods"] = [
        {name: value for name, value in period.items() if name != "tariff_id"}
        for period in body.get("charging_periods", ())
    ]
    return present(shown | ({"total_cost": price(Decimal(), Decimal())} if "cdr_location" in body else {}))


def cdr_location(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Flat, with the shorter lengths that CdrLocation still has (ER-13).

    What a station had that no import knew is #NA, with words that mean nothing where OCPI wants a word (as it allows for
    unused reservations).
    """
    site = snapshot.get("location") or {}
    evse = snapshot.get("evse") or {}
    connector = snapshot.get("connector") or {}
    return present(
        {
            "id": text(site.get("location_id") or NOT_AVAILABLE, 36),
            "name": optional_text(site.get("name"), 255),
            "address": text(site.get("address") or NOT_AVAILABLE, 45),
            "city": text(site.get("city") or NOT_AVAILABLE, 45),
            "postal_code": optional_text(site.get("postal_code"), 10),
            "state": optional_text(site.get("state"), 20),
            "country": text(site.get("country") or NOT_AVAILABLE, 3),
            "coordinates": geo_location(site.get("latitude") or 0, site.get("longitude") or 0),
            "evse_uid": text(evse.get("uid") or NOT_AVAILABLE, 36),
            "evse_id": text(evse.get("evse_id") or NOT_AVAILABLE, 48),
            "connector_id": text(connector.get("connector_id") or NOT_AVAILABLE, 36),
            "connector_standard": connector.get("standard") or "IEC_62196_T2",
            "connector_format": connector.get("format") or "SOCKET",
            "connector_power_type": connector.get("power_type") or "AC_3_PHASE",
        }
    )


def _total(record: Any) -> tuple[Decimal, Decimal]:
    """Less than nothing on a credit, and never a zero with a sign."""
    sign = -1 if record.credit else 1
    excl_vat, incl_vat = (sign * abs(amount) or Decimal() for amount in (record.total_excl_vat, record.total_incl_vat))
    return excl_vat, incl_vat


def _paid(costs: Mapping[str, Any], part: str) -> bool:
    """Whether it cost anything: a step fills up what is too short to be told as a time."""
    return any(Decimal(amount) for amount in costs.get(part) or () if amount is not None)


def _kept(evidence: Mapping[str, Any] | None, tariff_id: str | None) -> list[dict[str, Any]]:
    """The period in which the EVSE was kept for it, if it was priced."""
    told = (evidence or {}).get("reservation")
    if told is None:
        return []
    return reserved_period(read_moment(told["start"], "start"), read_moment(told["end"], "end"), tariff_id)


def _cost(costs: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    excl_vat, incl_vat = costs.get(part) or (None, None)
    if excl_vat is None:
        return None
    return price(Decimal(excl_vat), Decimal(incl_vat) if incl_vat is not None else None)


def _stored(periods: Iterable[Mapping[str, Any]]) -> Iterable[StoredPeriod]:
    for period in periods:
        yield StoredPeriod(
            start=read_moment(period["start"], "start"),
            end=read_moment(period["end"], "end"),
            energy_mwh=period["energy_mwh"],
            parking=period.get("parking", False),
        )
