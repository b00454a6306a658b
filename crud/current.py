"""The current state of any object that partners hear of, as its GET would show it: what push sends."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from adapters import shown, v211
from crud.cdrs import CdrsCrud
from crud.charging_profiles import ActiveProfiles
from crud.locations import LocationsCrud
from crud.models import Partner
from crud.payers import payers
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from csms.billing.choice import Payer


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
        self._read: dict[str, Callable[[Connection, str, Payer | None, str], Any]] = {
            "locations": lambda connection, id, who, version: locations.current(connection, int(id), who, version),
            "evses": lambda connection, id, who, version: locations.current_evse(connection, int(id), who, version),
            "sessions": lambda connection, id, *_: sessions.current(connection, id),
            "cdrs": lambda connection, id, *_: cdrs.current(connection, id),
            "tariffs": lambda connection, id, who, version: tariffs.current(connection, int(id), who, version),
            "chargingprofiles": lambda connection, id, *_: active.current(connection, id),
        }

    def __call__(
        self, connection: Connection, module: str, object_id: str, partner_id: int | None = None, /
    ) -> Mapping[str, Any] | None:
        if partner_id is None:
            found = self._read[module](connection, object_id, None, "2.2.1")
            return None if found is None else dict(found.dict())
        query = select(Partner.version, Partner.country_code, Partner.party_id).where(Partner.id == partner_id)
        version, country_code, party_id = connection.execute(query).one()
        who = payers(connection, [partner_id])[partner_id]
        found = self._read[module](connection, object_id, who, version or "2.2.1")
        if found is None:
            return None
        body = shown(module, found, version).dict()
        if version != v211.VERSION or module == "evses":
            return body
        return body | {"country_code": country_code, "party_id": party_id}
