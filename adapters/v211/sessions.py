"""Sessions and CDRs in OCPI 2.1.1: each with its Location, and one sum before VAT (2.1.1 mod_sessions, mod_cdrs)."""

from collections.abc import Iterable, Mapping
from typing import Any

from adapters.cdrs import cdr_location
from adapters.datatypes import NOT_AVAILABLE, optional_text, plain, present, text
from adapters.periods import total
from adapters.v211.locations import POWER_TYPE, STANDARDS, TYPE, six_decimals
from adapters.v211.tariffs import tariff_to_211

Body = Mapping[str, Any]

METHOD = {"COMMAND": "AUTH_REQUEST"}  # who commands a start has authorized it (V1-13)
STATUS = {"RESERVATION": "PENDING"}
DIMENSIONS = frozenset({"ENERGY", "FLAT", "MAX_CURRENT", "MIN_CURRENT", "PARKING_TIME", "TIME"})


def session_to_211(session: Body, beside: Body) -> dict[str, Any]:
    """`beside` holds the `snapshot` of its transaction."""
    return present(
        {
            "id": session["id"],
            "start_datetime": session["start_date_time"],
            "end_datetime": session.get("end_date_time"),
            "kwh": session["kwh"],
            "auth_id": session["cdr_token"]["contract_id"],
            "auth_method": METHOD.get(session["auth_method"], session["auth_method"]),
            "location": location_of(
                beside["snapshot"], session["start_date_time"], reserved=session["status"] == "RESERVATION"
            ),
            "meter_id": session.get("meter_id"),
            "currency": session["currency"],
            "charging_periods": periods(session.get("charging_periods", ())),
            "total_cost": (session.get("total_cost") or {}).get("excl_vat"),
            "status": STATUS.get(session["status"], session["status"]),
            "last_updated": session["last_updated"],
        }
    )


def cdr_to_211(cdr: Body, beside: Body) -> dict[str, Any]:
    """Of one that is no credit, which 2.1.1 does not know (CD-09). Nor does it know of reservations: it begins with the
    charge, and what a reservation cost is in its sum alone."""
    told = cdr.get("charging_periods", ())
    shown = periods(told)
    start = shown[0]["start_date_time"] if shown else cdr["start_date_time"]
    return present(
        {
            "id": cdr["id"],
            "start_date_time": start,
            "stop_date_time": cdr["end_date_time"],
            "auth_id": cdr["cdr_token"]["contract_id"],
            "auth_method": METHOD.get(cdr["auth_method"], cdr["auth_method"]),
            "location": location_of(beside["snapshot"], start),
            "meter_id": cdr.get("meter_id"),
            "currency": cdr["currency"],
            "tariffs": [tariff_to_211(tariff) for tariff in cdr.get("tariffs", ())],
            "charging_periods": shown or [nothing_at(start)],
            "total_cost": cdr["total_cost"]["excl_vat"],
            "total_energy": cdr["total_energy"],
            "total_time": plain(cdr["total_time"] - total(told, "RESERVATION_TIME")),
            "total_parking_time": cdr.get("total_parking_time"),
            "remark": cdr.get("remark"),
            "last_updated": cdr["last_updated"],
        }
    )


def periods(told: Iterable[Body]) -> list[dict[str, Any]]:
    shown = (
        {
            "start_date_time": period["start_date_time"],
            "dimensions": [part for part in period["dimensions"] if part["type"] in DIMENSIONS],
        }
        for period in told
    )
    return [period for period in shown if period["dimensions"]]


def nothing_at(start: str) -> dict[str, Any]:
    """The period of a CDR of which 2.1.1 can say nothing: one is required."""
    return {"start_date_time": start, "dimensions": [{"type": "TIME", "volume": 0}]}


def location_of(snapshot: Body, at: str, *, reserved: bool = False) -> dict[str, Any]:
    """The Location with the one EVSE and connector, as they were when it began at `at`: in use, by it."""
    site = snapshot.get("location") or {}
    flat = cdr_location(snapshot)
    connector = snapshot.get("connector") or {}
    standard = flat["connector_standard"]
    return present(
        {
            "id": flat["id"],
            "type": TYPE[site.get("parking_type")],
            "name": flat.get("name"),
            "address": flat["address"],
            "city": flat["city"],
            "postal_code": flat.get("postal_code") or NOT_AVAILABLE,
            "country": flat["country"],
            "coordinates": six_decimals(flat["coordinates"]),
            "evses": [
                present(
                    {
                        "uid": flat["evse_uid"],
                        "evse_id": None if flat["evse_id"] == NOT_AVAILABLE else flat["evse_id"],
                        "status": "RESERVED" if reserved else "CHARGING",
                        "connectors": [
                            {
                                "id": flat["connector_id"],
                                "standard": standard if standard in STANDARDS else "IEC_62196_T2",
                                "format": flat["connector_format"],
                                "power_type": POWER_TYPE.get(
                                    flat["connector_power_type"], flat["connector_power_type"]
                                ),
                                "voltage": connector.get("max_voltage") or 230,
                                "amperage": connector.get("max_amperage") or 16,
                                **_tariff(snapshot),
                                "last_updated": at,
                            }
                        ],
                        "last_updated": at,
                    }
                )
            ],
            "time_zone": optional_text(site.get("time_zone"), 255),
            "last_updated": at,
        }
    )


def _tariff(snapshot: Body) -> dict[str, str]:
    tariff_id = (snapshot.get("tariff") or {}).get("tariff_id")
    return {"tariff_id": text(tariff_id, 36)} if tariff_id else {}
