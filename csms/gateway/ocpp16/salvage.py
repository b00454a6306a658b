"""A payload that breaks its schema is mended field by field: what can be read is kept, the rest left out (T10, X05, X17)."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson

from csms.gateway.frames import Json

LONGEST_TEXT = 500  # no field of a schema is longer, but for DataTransfer's data and what is PEM

Coerce: TypeAlias = Callable[[Json], Json | None]  # None: unreadable, leave it out


def mend(payload: Json, fields: Mapping[str, Coerce]) -> dict[str, Json]:
    if not isinstance(payload, dict):
        return {}
    read = ((name, coerce(payload[name])) for name, coerce in fields.items() if name in payload)
    return {name: value for name, value in read if value is not None}


def text(value: Json) -> str | None:
    """Numbers and booleans become what their JSON text was."""
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return None


def any_text(value: Json) -> str | None:
    """Never cut; an object or a list becomes its JSON text."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        return None


def long_text(value: Json) -> str | None:
    """Never cut: a certificate request is longer than any other text."""
    return value if isinstance(value, str) else None


def number(value: Json) -> int | float | None:
    """Also from text, with a decimal comma if it has one."""
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", "."))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else value


def whole(value: Json) -> int | None:
    read = number(value)
    return read if isinstance(read, int) else None


def meter_values(value: Json) -> list[Json] | None:
    """`meterValue` or `transactionData`. A lone object where a list belongs is a list of one."""
    rows = _listed(value)
    return None if rows is None else [mend(row, _METER_VALUE) for row in rows if isinstance(row, dict)]


def without_nul(payload: Json, *, keep: frozenset[str]) -> Json:
    """The payload with U+0000 taken out of every text but those named in `keep`."""
    if isinstance(payload, str):
        return payload.replace("\0", "")
    if isinstance(payload, list):
        return [without_nul(item, keep=keep) for item in payload]
    if isinstance(payload, dict):
        return {
            key.replace("\0", ""): item if key in keep and isinstance(item, str) else without_nul(item, keep=keep)
            for key, item in payload.items()
        }
    return payload


def _sampled_values(value: Json) -> list[Json] | None:
    rows = _listed(value)
    if rows is None:
        return None
    mended = [mend(row, _SAMPLED_VALUE) for row in rows if isinstance(row, dict)]
    return [row for row in mended if "value" in row]


def _listed(value: Json) -> list[Json] | None:
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else None


_METER_VALUE: Mapping[str, Coerce] = {"timestamp": text, "sampledValue": _sampled_values}
_SAMPLED_VALUE: Mapping[str, Coerce] = {
    "value": text,
    "context": text,
    "measurand": text,
    "phase": text,
    "location": text,
    "unit": text,
    "format": text,
}
