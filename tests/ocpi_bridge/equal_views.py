"""What a partner holds of ours, held against what we would show it now: object by object, number by number."""

from typing import Any

from sqlalchemy import select

from csms.models import ChargeRecord, Location, Tariff, Transaction
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.telling import exact
from tests.ocpi_bridge.roaming_world import World

View = dict[str, dict[str, Any]]  # by module and id


def ours(world: World, partner: int) -> View:
    """What its GETs would show."""
    rows = {"tariffs": Tariff.id, "locations": Location.id, "sessions": Transaction.id, "cdrs": ChargeRecord.id}
    view: View = {}
    with world.database.read() as connection:
        for module, id in rows.items():
            found = [
                world.render(connection, module, str(row), partner) for row in connection.execute(select(id)).scalars()
            ]
            view[module] = {body["id"]: exact(body) for body in found if body is not None}
    return view


def theirs(emsp: EmspSimulator) -> View:
    shelves = {"tariffs": emsp.tariffs, "locations": emsp.locations, "sessions": emsp.sessions}
    view = {module: {str(body["id"]): body for body in shelf.values()} for module, shelf in shelves.items()}
    view["cdrs"] = {str(body["id"]): body for body in emsp.cdrs}
    assert len(view["cdrs"]) == len(emsp.cdrs)
    return view
