"""The current state of any object that partners hear of, as its GET would show it: what push sends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from adapters import shown, v211
from adapters.rendered import Rendered
from crud.cdrs import CdrsCrud
from crud.charging_profiles import ActiveProfiles
from crud.locations import LocationsCrud
from crud.models import Partner
from crud.payers import payer
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from csms.billing.choice import Payer

One = Callable[[Connection, str, Payer | None, str], Rendered | None]
Many = Callable[[Connection, Sequence[str], Payer | None, str], Mapping[str, Rendered]]

_READER = select(Partner.version, Partner.country_code, Partner.party_id, Partner.name, Partner.roles).where(
    Partner.id == bindparam("id")
)


class CurrentState:
    """Called with a module (locations, evses, sessions, cdrs, tariffs, chargingprofiles), a row's id as text, and the partner
    that will read it; None when the object is not shown to it. An EVSE comes alone; any version of a tariff stands for the
    one in force. It comes in the words of the partner's OCPI version. In 2.1.1, which keeps parties out of the objects, it
    comes with the one party of ours that the partner knows, under which it is addressed."""

    def __init__(
        self,
        *,
        locations: LocationsCrud,
        sessions: SessionsCrud,
        cdrs: CdrsCrud,
        tariffs: TariffsCrud,
        profiles: ActiveProfiles | None = None,
    ) -> None:
        active = profiles or ActiveProfiles()
        self._read: dict[str, Many] = {
            "locations": _each(lambda connection, id, *who: locations.current(connection, int(id), *who)),
            "evses": _each(lambda connection, id, *who: locations.current_evse(connection, int(id), *who)),
            "sessions": lambda connection, ids, *_: sessions.these(connection, ids),
            "cdrs": lambda connection, ids, *_: cdrs.these(connection, ids),
            "tariffs": _each(lambda connection, id, *who: tariffs.current(connection, int(id), *who)),
            "chargingprofiles": _each(lambda connection, id, *_: active.current(connection, id)),
        }

    def __call__(
        self, connection: Connection, module: str, object_id: str, partner_id: int | None = None, /
    ) -> Mapping[str, Any] | None:
        if partner_id is not None:
            return self.together(connection, module, [object_id], partner_id).get(object_id)
        found = self._read[module](connection, [object_id], None, "2.2.1").get(object_id)
        return None if found is None else dict(found.dict())

    def together(
        self, connection: Connection, module: str, ids: Sequence[str], partner_id: int, /
    ) -> Mapping[str, Mapping[str, Any]]:
        """Those of these objects of one module that are shown to it, by their ids."""
        reader = connection.execute(_READER, {"id": partner_id}).one()
        version = reader.version
        found = self._read[module](connection, ids, payer(reader.name, reader.roles), version or "2.2.1")
        bodies = {id: shown(module, rendered, version).dict() for id, rendered in found.items()}
        if version != v211.VERSION or module == "evses":
            return bodies
        ours = {"country_code": reader.country_code, "party_id": reader.party_id}
        return {id: body | ours for id, body in bodies.items()}


def _each(current: One) -> Many:
    """Of a module whose objects are read one by one."""

    def read(connection: Connection, ids: Sequence[str], who: Payer | None, version: str) -> Mapping[str, Rendered]:
        found = {id: current(connection, id, who, version) for id in ids}
        return {id: rendered for id, rendered in found.items() if rendered is not None}

    return read
