"""What is served over HTTP: OCPI to partners, the operator API to its people, files to and from chargers."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from adapters import Adapter
from crud import Crud
from crud.charging_preferences import ChargingPreferencesCrud
from crud.charging_profiles import ChargingProfilesCrud
from crud.commands import CommandsCrud
from crud.hub_clients import HubClientsCrud
from crud.tokens import TokensCrud
from csms.diagnostics import Keeper
from csms.gateway.quirks.catalogue import Quirks
from csms.remote import RemoteControl
from csms.signed_urls import signing_key
from ocpi_bridge.api import OperatorApi, Surroundings
from ocpi_bridge.files import file_routes
from ocpi_bridge.listener import WebServer
from ocpi_bridge.ocpi_app import create_ocpi_app
from ocpi_bridge.roles.ground import Ground, Tasks
from ocpi_bridge.roles.partnership import Partnership
from ocpi_bridge.roles.shown import Shown
from ocpi_bridge.status import metrics_route, status_app
from ocpi_bridge.web import create_app


class Served:
    def __init__(
        self, ground: Ground, partnership: Partnership, shown: Shown, quirks: Quirks, *, remote: RemoteControl
    ) -> None:
        settings, database, clock = ground.settings, ground.database, ground.clock
        self._ground = ground
        files_key = signing_key(settings.needed_secret_key())
        tokens = TokensCrud(database, wake=ground.wake, clock=clock)
        allowed = partnership.url_allowed
        self.ocpi = create_ocpi_app(
            crud=Crud(
                {
                    "locations": shown.locations,
                    "sessions": shown.sessions,
                    "cdrs": shown.cdrs,
                    "tariffs": shown.tariffs,
                    "tokens": tokens,
                    "commands": CommandsCrud(database, remote, url_allowed=allowed, clock=clock),
                    "hubclientinfo": HubClientsCrud(database, clock=clock, changed=ground.due),
                    "chargingprofiles": ChargingProfilesCrud(database, url_allowed=allowed, clock=clock),
                    "charging_preferences": ChargingPreferencesCrud(database, clock=clock),
                }
            ),
            adapter=Adapter(),
            partners=partnership.partners,
            credentials=partnership.registration,
            public_url=settings.public_url,
            our_parties=partnership.our_parties,
            requests_per_minute=settings.ocpi_requests_per_minute,
            clock=clock,
        )
        self.files = file_routes(
            database=database, data_dir=settings.data_dir, key=files_key, wake=ground.wake, clock=clock
        )
        self.api = OperatorApi(
            Surroundings(
                database=database,
                clock=clock,
                our_party=settings.our_party,
                operator_name=settings.operator_name,
                public_url=settings.public_url,
                data_dir=settings.data_dir,
                file_key=files_key,
                vault=partnership.vault,
                organization=settings.certificate_organization or settings.operator_name,
                wss=settings.wss_offered,
                throttle_key=quirks.throttle_key,
                quirks_of=lambda vendor, model, firmware: [q.id for q in quirks.of(vendor, model, firmware)],
            )
        )

    def listeners(self, health: Sequence[BaseRoute]) -> tuple[WebServer, Sequence[WebServer]]:
        """The one that partners and people reach, and one beside it for /metrics where METRICS_LISTEN asks for that."""
        settings, metrics = self._ground.settings, self._ground.metrics
        apart = settings.metrics_listen
        here = health if apart is not None else [*health, metrics_route(metrics)]
        web = WebServer(
            create_app(self.ocpi, [*here, *self.files, self.api.mount()]),
            settings.http_listen,
            trusted_proxies=settings.trusted_proxies,
        )
        return web, [] if apart is None else [WebServer(status_app(health, metrics), apart)]

    def once(self) -> Tasks:
        """Of one process for the files of a DATA_DIR."""
        settings = self._ground.settings
        keeper = Keeper(
            self._ground.database,
            data_dir=settings.data_dir,
            days=settings.message_log_days,
            clock=self._ground.clock,
        )
        return {"uploads": keeper.run}
