"""What a kWh will cost in a session that goes on, as far as its tariff tells by the clock. Pure."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from csms.billing.restrictions import Moment, applies
from csms.billing.tariffs import Tariff


def energy_price_at(
    tariff: Tariff | None, *, time_zone: str, began: datetime, energy_mwh: int
) -> Callable[[datetime], Decimal]:
    """Without VAT; 0 where no tariff, or none of its elements, prices energy then. What depends on the power is passed over,
    and the energy is taken to stay what it is."""
    zone = ZoneInfo(time_zone)

    def price(at: datetime) -> Decimal:
        moment = Moment(
            local=at.astimezone(zone),
            energy_kwh=Decimal(energy_mwh).scaleb(-6),
            duration_s=Decimal(int((at - began).total_seconds())),
        )
        for element in tariff.elements if tariff is not None else ():
            if element.restrictions is not None and element.restrictions.reservation is not None:
                continue
            component = next((one for one in element.price_components if one.type == "ENERGY"), None)
            if component is not None and applies(element.restrictions, moment):
                return component.price
        return Decimal(0)

    return price
