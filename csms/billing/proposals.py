"""A unit that lies is put right once for all chargers of its kind: what the quirk entry would say (X16)."""

from typing import Any

from sqlalchemy import Connection, Row, select

from csms.metering import SCALES
from csms.models import Station

FIX = {"register_x1000": "wh_is_kwh"}  # the fixes that exist; what else was seen needs one that is yet to be written


def quirk_entry(connection: Connection, transaction: Row[Any]) -> dict[str, Any] | None:
    """For the review of `transaction`: the entry a person may add to the quirks, None where no unit is suspected. It is a
    proposal; the person who judges the session knows whether it is true of all of that firmware."""
    misread = next((finding for finding in transaction.findings if finding in SCALES), None)
    if misread is None:
        return None
    of_what, factor = SCALES[misread]
    query = select(Station.vendor, Station.model, Station.firmware_version)
    station = connection.execute(query.where(Station.station_id == transaction.station_id)).one_or_none()
    entry = {
        "vendor": station.vendor if station else "",
        "model": station.model if station else "",
        "firmware": station.firmware_version if station else None,
        "why": f"its unit is a thousandfold wrong, seen in transaction {transaction.number} of {transaction.station_id}",
        "fix": FIX.get(misread),
        "scale": f"{of_what} by {factor}",
    }
    return {"quirk": entry}
