"""What chargers say at a gateway."""

from typing import Any

from csms.events import StationBooted
from tests.csms.core_story import NOON


def boot(station_id: str, **fields: Any) -> StationBooted:
    return StationBooted(
        station_id=station_id, ocpp_version="1.6", received_at=NOON, **{"vendor": "Acme", "model": "X", **fields}
    )
