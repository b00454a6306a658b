"""The current state of any object that partners hear of, as its GET would show it: what push sends."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from crud.cdrs import CdrsCrud
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud


class CurrentState:
    """Called with a module (locations, evses, sessions, cdrs, tariffs) and a row's id as text; None when the object is not
    shown to partners. An EVSE comes alone; any version of a tariff stands for the one in force."""

    def __init__(
        self, *, locations: LocationsCrud, sessions: SessionsCrud, cdrs: CdrsCrud, tariffs: TariffsCrud
    ) -> None:
        self._read: dict[str, Callable[[Connection, str], Any]] = {
            "locations": lambda connection, id: locations.current(connection, int(id)),
            "evses": lambda connection, id: locations.current_evse(connection, int(id)),
            "sessions": sessions.current,
            "cdrs": cdrs.current,
            "tariffs": lambda connection, id: tariffs.current(connection, int(id)),
        }

    def __call__(self, connection: Connection, module: str, object_id: str, /) -> Mapping[str, Any] | None:
        found = self._read[module](connection, object_id)
        body: Mapping[str, Any] | None = None if found is None else found.dict()
        return body
