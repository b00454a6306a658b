"""Every body that leaves is OCPI's envelope: nulls gone, money exact, times in UTC with Z (transport_and_format)."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from starlette.responses import Response

from adapters.datatypes import moment
from ocpi_bridge.conformance.values import Folded

ABSENT: Any = object()
MESSAGES = {
    1000: "Success",
    2000: "Client error",
    2001: "Invalid or missing parameters",
    2002: "Not enough information",
    2003: "Unknown location",
    2004: "Unknown token",
    3000: "Server error",
    3001: "Unable to use the client's API",
    3002: "Unsupported version",
    3003: "No matching endpoints",
}


def envelope(
    now: datetime,
    *,
    data: Any = ABSENT,
    status_code: int = 1000,
    message: str | None = None,
    http_status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`data` may hold Rendered objects, Decimals, aware datetimes and orjson Fragments; ABSENT leaves the field out."""
    body: dict[str, Any] = {} if data is ABSENT else {"data": without_nulls(data)}
    body["status_code"] = status_code
    body["status_message"] = message or MESSAGES.get(status_code, "")
    body["timestamp"] = moment(now)
    content = orjson.dumps(body, default=exactly, option=orjson.OPT_PASSTHROUGH_DATETIME)
    return Response(content, http_status, headers, media_type="application/json")


def without_nulls(value: Any) -> Any:
    """TY-10. Pre-rendered bytes are taken as they are: whoever rendered them left the nulls out."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value if item is not None]
    return value


def exactly(value: Any) -> Any:
    """What orjson does not know: a Decimal keeps its digits and shows no exponent (TY-08)."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


class Rendered:
    """One object as an adapter made it - bytes, a dict, or anything with `.json_bytes` or `.dict()` - in the shape in which
    py_ocpi's handlers use it: `.dict()`, and for Locations `.evses`, each with `.uid` and `.connectors`."""

    __slots__ = ("_source",)

    def __init__(self, source: Any) -> None:
        self._source = source

    def dict(self) -> Any:
        source = self._source
        if isinstance(source, bytes):
            return orjson.Fragment(source)
        if isinstance(source, dict):
            return source
        content = getattr(source, "json_bytes", None)
        return source.dict() if content is None else orjson.Fragment(content)

    def tree(self) -> Any:
        """The object as dicts and lists, whatever it came as, not to be changed; numbers stay exact."""
        source = self._source
        if isinstance(source, dict):
            return source
        if isinstance(source, bytes):
            return json.loads(source, parse_float=Decimal)
        made = getattr(source, "dict", None)
        return json.loads(source.json_bytes, parse_float=Decimal) if made is None else made()

    @property
    def evses(self) -> "list[Part]":
        return [Part(evse) for evse in self.tree().get("evses") or ()]


class Part:
    """An EVSE or Connector inside a Location, found by its id without regard to case (TY-04)."""

    __slots__ = ("_tree", "id", "uid")

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self.uid = Folded(tree.get("uid", ""))
        self.id = Folded(tree.get("id", ""))

    @property
    def connectors(self) -> "list[Part]":
        return [Part(connector) for connector in self._tree.get("connectors") or ()]

    def dict(self) -> Mapping[str, Any]:
        return self._tree
