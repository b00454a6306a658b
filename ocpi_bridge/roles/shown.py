"""What partners may see of us: asked for by them over OCPI, and told to them as it changes."""

from crud.cdrs import CdrsCrud
from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from csms import meanings
from csms.billing.charge_records import session_prices
from ocpi_bridge.roles.ground import Ground


class Shown:
    def __init__(self, ground: Ground) -> None:
        settings, database = ground.settings, ground.database
        told = meanings.meanings(settings.evse_status)
        self.locations = LocationsCrud(database, meanings=told, operator_name=settings.operator_name)
        self.tariffs = TariffsCrud(database)
        self.sessions = SessionsCrud(database, session_prices)
        self.cdrs = CdrsCrud(database)
        self.current_state = CurrentState(
            locations=self.locations, sessions=self.sessions, cdrs=self.cdrs, tariffs=self.tariffs
        )
