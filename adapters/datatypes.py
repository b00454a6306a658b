"""OCPI's data types: each value leaves in the form and length that the types chapter allows, and is read generously."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

NOT_AVAILABLE = "#NA"  # for a required string that cannot be known, and for nothing else (TY-13)

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_EMPTY: tuple[object, ...] = ("", [], {})


class Unreadable(ValueError):
    """A partner's object cannot be used; `field` says where."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there: no null, no empty text, no empty list or object leaves us (TY-10)."""
    return {name: value for name, value in fields.items() if value or (value is not None and value not in _EMPTY)}


def printable(value: str) -> bool:
    """On one line and without control characters (TY-05)."""
    return _UNPRINTABLE.search(value) is None


def text(value: Any, limit: int) -> str:
    """Printable, on one line, at most `limit` characters (TY-05, TY-06)."""
    told = str(value)
    if not told.isprintable():  # most often it is
        told = _UNPRINTABLE.sub(" ", told)
    return told.strip()[:limit].rstrip()


def optional_text(value: Any, limit: int) -> str | None:
    return None if value is None else text(value, limit) or None


def moment(value: datetime) -> str:
    """UTC with Z, at most 24 characters, milliseconds only where there are any (TY-01). ValueError for a naive one."""
    if value.tzinfo is None:
        raise ValueError("a time without zone")
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond >= 1000 else "seconds")[: -len("+00:00")] + "Z"


def read_moment(value: Any, field: str) -> datetime:
    """With or without zone and fraction; without a zone it is UTC (TY-02, TY-03). Dates alone and numbers are refused."""
    if isinstance(value, datetime):
        read = value
    else:
        if not isinstance(value, str) or len(value) < 16:
            raise Unreadable(field, "not a DateTime")
        try:
            read = datetime.fromisoformat(value.strip())
        except ValueError:
            raise Unreadable(field, "not a DateTime") from None
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise Unreadable(field, "out of range") from None


def number(value: Any, field: str) -> Decimal:
    """A number as exact Decimal; one in quotes is taken too (TY-09)."""
    if isinstance(value, bool):
        raise Unreadable(field, "not a number")
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        raise Unreadable(field, "not a number") from None
    if not read.is_finite():
        raise Unreadable(field, "not a number")
    return read


def volume(quantity: Decimal) -> Decimal:
    """kWh or hours with at most four decimals (TY-08), and no zeros behind the last digit."""
    return plain(quantity.quantize(Decimal("0.0001"), ROUND_HALF_UP))


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros and without an exponent."""
    if value == value.to_integral_value():
        return value.quantize(Decimal(1))
    return value.normalize()


def price(excl_vat: Decimal, incl_vat: Decimal | None) -> dict[str, Any]:
    return present({"excl_vat": plain(excl_vat), "incl_vat": None if incl_vat is None else plain(incl_vat)})


def coordinate(degrees: Any, limit: int) -> str:
    """Five to seven decimals, padded with zeros, within `limit` characters (TY-15)."""
    value = number(degrees, "coordinates")
    exponent = value.as_tuple().exponent
    decimals = min(max(-exponent if isinstance(exponent, int) else 0, 5), 7)
    shown = f"{value:.{decimals}f}"
    return shown if len(shown) <= limit else f"{value:.{decimals - (len(shown) - limit)}f}"


def geo_location(latitude: Any, longitude: Any) -> dict[str, str]:
    return {"latitude": coordinate(latitude, 10), "longitude": coordinate(longitude, 11)}
