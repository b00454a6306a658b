"""An OCPI object as it leaves: a plain dict, and its bytes made once."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from adapters.datatypes import moment


def encode(body: Any) -> bytes:
    """JSON in which a Decimal is an exact plain number, never a float (TY-08), and an aware time is UTC with Z."""
    return orjson.dumps(body, default=_exact, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _exact(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f").encode())
    if isinstance(value, datetime):
        return moment(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")


Body = Mapping[str, Any]
Translate = Callable[[Body, Body], dict[str, Any]]


class Rendered:
    """`dict()` must not be changed; `json_bytes` are its bytes, made at the first use and kept. `beside` the body stands what
    another version shows of the same object and this one does not."""

    def __init__(self, body: dict[str, Any], *, beside: Body | None = None) -> None:
        self._body = body
        self._beside: Body = beside or {}
        self._bytes: bytes | None = None
        self._translated: dict[Translate, Rendered] = {}

    def translated(self, translate: Translate) -> "Rendered":
        """The same object in another version, made at the first use and kept."""
        if translate not in self._translated:
            self._translated[translate] = Rendered(translate(self._body, self._beside))
        return self._translated[translate]

    def dict(self) -> dict[str, Any]:
        return self._body

    @property
    def json_bytes(self) -> bytes:
        if self._bytes is None:
            self._bytes = encode(self._body)
        return self._bytes

    def __getitem__(self, field: str) -> Any:
        return self._body[field]


class Stored(Rendered):
    """What a write left behind; `created` tells a new object from a changed one (TK-03)."""

    def __init__(self, body: dict[str, Any], *, created: bool) -> None:
        super().__init__(body)
        self.created = created
