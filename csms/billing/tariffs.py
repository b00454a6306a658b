"""A tariff as it is priced by, and the stretches of a session that it prices: values, read once from the stored document."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from csms.billing.restrictions import Restrictions


@dataclass(frozen=True, kw_only=True)
class PriceComponent:
    """`price` is per kWh, hour or session, without VAT; `vat` in per cent, None: no VAT applies. `step_size` counts Wh or
    seconds."""

    type: str
    price: Decimal
    vat: Decimal | None
    step_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Element:
    price_components: tuple[PriceComponent, ...]
    restrictions: Restrictions | None = None


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """One version of a tariff. `min_price` and `max_price` are (without VAT, with VAT or None)."""

    id: str
    version: int
    currency: str
    elements: tuple[Element, ...]
    type: str | None
    min_price: tuple[Decimal, Decimal | None] | None = None
    max_price: tuple[Decimal, Decimal | None] | None = None

    @classmethod
    def from_json(cls, *, id: str, version: int, document: dict[str, Any]) -> "Tariff":
        """From the stored document: OCPI 2.2.1's field names, numbers as strings or as numbers. Raises KeyError,
        ValueError or decimal.InvalidOperation where it is no tariff."""
        return cls(
            id=id,
            version=version,
            currency=document["currency"],
            elements=tuple(_element(element) for element in document["elements"]),
            type=document.get("type"),
            min_price=_bound(document.get("min_price")),
            max_price=_bound(document.get("max_price")),
        )


@dataclass(frozen=True, kw_only=True)
class Period:
    """A stretch of a session whose energy passed evenly. `parking`: connected, and the car asked for no power (TC-14).
    `current_a`, the sum over the phases, and `power_w` are what was measured in it; None where nothing was."""

    start: datetime
    end: datetime
    energy_mwh: int
    parking: bool = False
    current_a: Decimal | None = None
    power_w: int | None = None


def _element(document: dict[str, Any]) -> Element:
    return Element(
        price_components=tuple(
            PriceComponent(
                type=component["type"],
                price=Decimal(str(component["price"])),
                vat=_decimal(component.get("vat")),
                step_size=int(component.get("step_size", 1)),
            )
            for component in document["price_components"]
        ),
        restrictions=Restrictions.from_json(document.get("restrictions") or {}),
    )


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _bound(document: dict[str, Any] | None) -> tuple[Decimal, Decimal | None] | None:
    return (Decimal(str(document["excl_vat"])), _decimal(document.get("incl_vat"))) if document else None
