"""A car that is full stays plugged in, at a charger whose meter signs: parked time is billed as parked, and the partner gets
what the meter signed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.paths.charger import charging_point, wire_time
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

DRIVER = "04E1D2C3B4A5F1"
BY_TIME = """
          - {type: TIME, price: "6.00", vat: "10.0", step_size: 1}
          - {type: PARKING_TIME, price: "12.00", vat: "10.0", step_size: 1}
"""


def signed(at: datetime, context: str, kwh: str) -> dict[str, Any]:
    value = f'OCMF|{{"FV":"1.0","RD":[{{"RV":{kwh},"RU":"kWh"}}]}}|{{"SD":"3045"}}'
    return {
        "timestamp": wire_time(at),
        "sampledValue": [{"value": value, "context": context, "format": "SignedData"}],
    }


async def test_a_car_that_is_full_pays_for_parking_and_its_partner_can_check_the_meter(
    service: Service, emsp: Emsp
) -> None:
    """TC-14, CD-19, CD-28."""
    partner = await emsp.party("NL-PRK", kind="C")
    text = service.network_file.read_text()
    service.network_file.write_text(text.replace("\nlocations:", f"{BY_TIME}locations:", 1))
    await service.command("import", str(service.network_file))
    await partner.register(*await service.invite("Parked"))
    await partner.push(await partner.issue(DRIVER, listed=False))
    began = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)  # not before its tariff

    def at(minutes: int) -> datetime:
        return began + timedelta(minutes=minutes)

    async with charging_point(service.ocpp_url, "GENT-4", PASSWORD) as charger:
        await charger.boot()
        started = await charger.begin(DRIVER, at=began)
        await charger.status("Charging", at=began)
        await charger.meter(started.transaction_id, 1600, at=at(3))
        await charger.status("SuspendedEVSE", at=at(3))  # held back by the charger: still charging time
        await charger.status("Charging", at=at(4))
        await charger.status("SuspendedEV", at=at(5))
        data = [signed(began, "Transaction.Begin", "1.0"), signed(at(8), "Transaction.End", "2.0")]
        await charger.finish(started.transaction_id, 2000, at=at(8), uid=DRIVER, data=data)
        await charger.status("Available")

    cdr = await partner.cdr()
    # 5 minutes of charging at 6 an hour, 3 of parking at 12; 0.50 for the start and 1 kWh at 0.25 beside them.
    assert (cdr["total_time"], cdr["total_parking_time"]) == (0.1333, 0.05)
    assert (cdr["total_time_cost"]["excl_vat"], cdr["total_parking_cost"]["excl_vat"]) == (0.5, 0.6)
    assert cdr["total_cost"]["excl_vat"] == 1.85
    dimensions = [[part["type"] for part in period["dimensions"]] for period in cdr["charging_periods"]]
    assert dimensions == [["ENERGY", "TIME"], ["ENERGY", "PARKING_TIME"]]
    meter = cdr["signed_data"]
    assert (meter["encoding_method"], [one["nature"] for one in meter["signed_values"]]) == ("OCMF", ["Start", "End"])
    assert json.loads(meter["signed_values"][1]["plain_data"])["RD"][0]["RV"] == 2
    assert base64.b64decode(meter["signed_values"][1]["signed_data"]).decode() == data[1]["sampledValue"][0]["value"]
    (session,) = await partner.list("sessions")
    assert session["total_cost"] == cdr["total_cost"]  # TC-28
    bill = json.loads(await service.command("explain", cdr["id"], "--json"))
    assert any(period["state"].startswith("parked") for period in bill["periods"])
    await partner.is_content()
