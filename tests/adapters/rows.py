"""Rows of one small network, as the database would give them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from csms.billing.pricing import Price
from csms.billing.tariffs import Period
from csms.models import ChargeRecord, Connector, Evse, Location, Station, Tariff, Transaction

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def location(**changes: Any) -> Location:
    columns: dict[str, Any] = {
        "id": 1,
        "country_code": "BE",
        "party_id": "BEC",
        "location_id": "LOC1",
        "location_key": "loc1",
        "name": "Gent Zuid",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "postal_code": "9000",
        "state": None,
        "country": "BEL",
        "latitude": "51.047599",
        "longitude": "3.729944",
        "time_zone": "Europe/Brussels",
        "publish": True,
        "details": {},
        "created_at": NOON,
        "last_updated": NOON,
    }
    return Location(**columns | changes)


def station(station_id: str = "CP001", **changes: Any) -> Station:
    columns: dict[str, Any] = {
        "station_id": station_id,
        "admission": "known",
        "connection_id": "socket",
        "offline_told": False,
        "created_at": NOON,
    }
    return Station(**columns | changes)


def evse(number: int = 1, **changes: Any) -> Evse:
    columns: dict[str, Any] = {
        "id": number,
        "location": 1,
        "station_id": "CP001",
        "evse": number,
        "uid": f"CP001-{number}",
        "uid_key": f"cp001-{number}",
        "evse_id": f"BE*BEC*E04150300{number}",
        "removed": False,
        "status": "available",
        "details": {},
        "created_at": NOON,
        "last_updated": NOON,
    }
    return Evse(**columns | changes)


def connector(evse_row: int = 1, **changes: Any) -> Connector:
    columns: dict[str, Any] = {
        "evse": evse_row,
        "connector_id": "1",
        "position": 1,
        "removed": False,
        "standard": "IEC_62196_T2",
        "format": "CABLE",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "max_electric_power": None,
        "tariff_ids": ["standard-ac"],
        "last_updated": NOON,
    }
    return Connector(**columns | changes)


def tariff(**changes: Any) -> Tariff:
    columns: dict[str, Any] = {
        "id": 1,
        "country_code": "BE",
        "party_id": "BEC",
        "tariff_id": "standard-ac",
        "tariff_key": "standard-ac",
        "version": 1,
        "current": True,
        "removed": False,
        "currency": "EUR",
        "type": "REGULAR",
        "elements": [
            {
                "price_components": [
                    {"type": "FLAT", "price": "0.50", "vat": "20.0", "step_size": 1},
                    {"type": "ENERGY", "price": "0.25", "vat": "10.0", "step_size": 1},
                ]
            }
        ],
        "details": {},
        "created_at": NOON,
        "last_updated": NOON,
    }
    return Tariff(**columns | changes)


SNAPSHOT: dict[str, Any] = {
    "location": {
        "country_code": "BE",
        "party_id": "BEC",
        "location_id": "LOC1",
        "name": "Gent Zuid",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "postal_code": "9000",
        "state": None,
        "country": "BEL",
        "latitude": "51.047599",
        "longitude": "3.729944",
        "time_zone": "Europe/Brussels",
    },
    "evse": {"uid": "CP001-1", "evse_id": "BE*BEC*E041503001"},
    "connector": {
        "connector_id": "1",
        "standard": "IEC_62196_T2",
        "format": "CABLE",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "max_electric_power": None,
    },
    "token": {
        "uid": "04A1b2C3",
        "type": "RFID",
        "contract_id": "DE-TNM-C00000001-X",
        "country_code": "DE",
        "party_id": "TNM",
        "issuer": "TheNewMotion",
    },
    "tariff": {"tariff_id": "standard-ac", "version": 1},
}


def transaction(id: str = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10", **changes: Any) -> Transaction:
    columns: dict[str, Any] = {
        "id": id,
        "number": 1,
        "country_code": "BE",
        "party_id": "BEC",
        "station_id": "CP001",
        "ocpp_version": "1.6",
        "evse": 1,
        "connector": 1,
        "transaction_ref": None,
        "state": "active",
        "cause": None,
        "flags": [],
        "findings": [],
        "token_id": None,
        "owner_id": 1,
        "id_token": "",
        "id_token_key": "04a1b2c3",
        "authorization": "accepted",
        "auth_method": "WHITELIST",
        "authorization_reference": None,
        "snapshot": SNAPSHOT,
        "boot_epoch": 1,
        "dedup_key": id,
        "started_at": NOON,
        "started_received_at": NOON,
        "started_rule": "charger",
        "start_event_id": "e",
        "ended_at": None,
        "energy_mwh": 12_345_678,
        "created_at": NOON,
        "last_updated": NOON,
    }
    return Transaction(**columns | changes)


def periods(*energies_mwh: int, minutes: int = 15) -> list[Period]:
    step = timedelta(minutes=minutes)
    return [
        Period(start=NOON + number * step, end=NOON + (number + 1) * step, energy_mwh=energy)
        for number, energy in enumerate(energies_mwh)
    ]


def cost(excl_vat: str = "3.5865", incl_vat: str = "3.9952", *, unsupported: tuple[str, ...] = ()) -> Price:
    none = (Decimal("0.0000"), Decimal("0.0000"))
    return Price(
        currency="EUR",
        periods=(),
        lines=(),
        total_excl_vat=Decimal(excl_vat),
        total_incl_vat=Decimal(incl_vat),
        energy_cost=none,
        time_cost=none,
        fixed_cost=none,
        parking_cost=none,
        reservation_cost=none,
        energy_mwh=0,
        seconds=0,
        parking_seconds=0,
        unsupported=unsupported,
    )


def each(price_of: Callable[[Any], Any]) -> Callable[[Any, Any], dict[str, Any]]:
    """What sessions cost, where `price_of` says it of each row alone."""
    return lambda _connection, found: {row.id: price_of(row) for row in found}


def charge_record(transaction_id: str = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10", **changes: Any) -> ChargeRecord:
    columns: dict[str, Any] = {
        "id": "0b9c7d3e-1111-4222-8333-444455556666",
        "country_code": "BE",
        "party_id": "BEC",
        "transaction_id": transaction_id,
        "owner_id": 1,
        "credit": False,
        "credit_reference_id": None,
        "currency": "EUR",
        "started_at": NOON,
        "ended_at": NOON + timedelta(minutes=45),
        "energy_mwh": 12_345_678,
        "duration_s": 2700,
        "parking_s": 900,
        "total_excl_vat": Decimal("3.5865"),
        "total_incl_vat": Decimal("3.9952"),
        "lines": [],
        "periods": [
            stored_period(0, 6_000_000),
            stored_period(1, 6_345_678),
            stored_period(2, 0, parking=True),
        ],
        "costs": {"fixed": ["0.5000", "0.6000"], "energy": ["3.0865", "3.3952"]},
        "snapshot": SNAPSHOT,
        "created_at": NOON + timedelta(hours=1),
    }
    return ChargeRecord(**columns | changes)


def stored_period(number: int, energy_mwh: int, *, parking: bool = False) -> dict[str, Any]:
    start = NOON + number * timedelta(minutes=15)
    return {
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=15)).isoformat(),
        "energy_mwh": energy_mwh,
        "parking": parking,
    }
