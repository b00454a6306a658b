"""The composition root: every object of the service is built here, in one straight line, and started and stopped in order."""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
import uvloop
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from adapters import Adapter
from crud import Crud
from crud.cdrs import CdrsCrud
from crud.charging_preferences import ChargingPreferencesCrud
from crud.charging_profiles import ChargingProfilesCrud
from crud.commands import CommandsCrud
from crud.current import CurrentState
from crud.hub_clients import HubClientsCrud
from crud.locations import LocationsCrud
from crud.partner_reports import CLOSED, HALF_OPEN, OPEN, Report, reports
from crud.partners import Partners, PartnerState
from crud.payers import payers
from crud.retention import delete_partners_requests
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from crud.tokens import TokensCrud
from csms import certificates, meanings, message_store, reviews, schema, skew, stations
from csms.billing import roundings
from csms.billing.charge_records import bill, session_price
from csms.bus import LoggedFrame
from csms.core import Csms
from csms.cost_messages import TOLD as COSTS_FOLLOW
from csms.cost_messages import CostTeller
from csms.database import Database
from csms.diagnostics import Keeper
from csms.firmware_campaigns import Campaigns
from csms.gateway.connections import Connections
from csms.gateway.link import POLICY_VIOLATION
from csms.gateway.message_log import MessageLogWriter
from csms.gateway.quirks import catalogue
from csms.gateway.quirks.catalogue import BadQuirks, Quirks
from csms.gateway.server import Gateway, GatewaySettings
from csms.journal import FactType, Subscriber, Wake, behind
from csms.local_list.push import ListPush
from csms.metrics import Metrics
from csms.retention import Retention
from csms.sealing import Vault
from csms.signed_urls import signing_key
from csms.watch import Watch
from ocpi_bridge.api import OperatorApi, Surroundings
from ocpi_bridge.callbacks import Callbacks
from ocpi_bridge.delivery import Deliveries
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.files import file_routes
from ocpi_bridge.health import Health
from ocpi_bridge.hub_sync import HubSync
from ocpi_bridge.introductions import Introductions, offer_of
from ocpi_bridge.ocpi_app import create_ocpi_app
from ocpi_bridge.outbound import Guarded, OutboundPolicy, Refused, Unreachable
from ocpi_bridge.push import RULES as TOLD
from ocpi_bridge.push import Push
from ocpi_bridge.registration import OurRole, Registration, our_roles
from ocpi_bridge.settings import Settings, SettingsError, advice
from ocpi_bridge.supervisor import Supervisor
from ocpi_bridge.token_finder import TokenFinderAtPartners
from ocpi_bridge.token_owner import TokenOwnerAtPartner
from ocpi_bridge.token_sync import TokenSync
from ocpi_bridge.web import WebServer, create_app

log = structlog.get_logger(__name__)

REFUSALS_EVERY_S = 1.0
ROLES_EVERY_S = 60.0
AUTHORITIES_EVERY_S = 2.0
OPEN_FILES = 200_000  # ten thousand chargers, and then some


CIRCUITS = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
PARTNER_GAUGES: dict[str, tuple[str, Callable[[Report], float]]] = {
    "waiting": ("Objects that a partner must still hear of", lambda one: one.waiting),
    "given_up": ("Objects that a partner refused, or that wait for a party of a hub", lambda one: one.given_up),
    "lag_seconds": ("Since when a partner is behind", lambda one: one.lag_s),
    "error_rate": ("Of the last calls to a partner's worst module", lambda one: one.error_rate),
    "circuit": ("0 a partner is called, 1 its worst module is tried, 2 left alone", lambda one: CIRCUITS[one.circuit]),
    "last_success_timestamp_seconds": (
        "When a partner answered last",
        lambda one: one.last_success_at.timestamp() if one.last_success_at else 0.0,
    ),
}


def utc_now() -> datetime:
    return datetime.now(UTC)


class Service:
    """Everything in one process: `start` returns when chargers and partners are served, `stop` when all that was
    acknowledged is written."""

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = Metrics()
        self.wake = Wake()  # the journal grew
        self.due = Wake()  # a partner must hear of something
        self.database = Database(settings.database_url, message_log=settings.message_log)
        self._supervisor = Supervisor(restarted=lambda task: self.metrics.restarts.labels(task).inc())

        # Outbound: one guarded client for every request to a partner.
        self._guarded = Guarded(OutboundPolicy(settings.outbound_allow))
        self.health = Health(clock=clock)
        self._client = EmspClient(self._guarded, clock=clock, heard=self.health.heard)
        self.vault = Vault(settings.needed_secret_key())
        self.partners = Partners(self.database, self.vault)

        # The core, and the gateway that serves it chargers.
        self.connections = Connections()
        self.quirks = known_quirks(settings)
        self.csms = Csms(
            self.database,
            send=self.connections.send,
            wake=self.wake,
            our_party=settings.our_party,
            token_owner=TokenOwnerAtPartner(self.database, self.partners, self._client, clock=clock),
            token_finder=TokenFinderAtPartners(self.database, self.partners, self._client, clock=clock),
            unknown_stations=settings.unknown_stations,
            clock=clock,
            left_alone=self.quirks.left_alone,
            payers=payers,
            vault=self.vault,
            meanings=meanings.meanings(settings.evse_status),
        )
        self._message_log = MessageLogWriter(self._write_messages)
        self.gateway = Gateway(
            settings=gateway_settings(settings),
            connections=self.connections,
            report=self.csms.report,
            credentials=self.csms.stations,
            presence=self.csms.stations,
            message_log=self._message_log,
            quirks=self.quirks,
        )

        # OCPI: what partners may ask, and what they are told.
        self._our_roles: list[OurRole] = [(*settings.our_party, settings.operator_name)]
        self._offer = offer_of(settings.public_url, self._our_roles)
        self._hub_sync = HubSync(self.database, self.partners, self._client, clock=clock, changed=self.due)
        self._token_sync = TokenSync(
            self.database, self.partners, self._client, clock=clock, changed=self.wake, doubt=self._hub_sync.doubt
        )
        self.registration = Registration(
            self.database,
            self.partners,
            self._client,
            public_url=settings.public_url,
            our_roles=self._our_roles,
            clock=clock,
            changed=self._partner_changed,
            offer=self._offer,
        )
        locations, tariffs = self._locations(), TariffsCrud(self.database)
        sessions, cdrs = SessionsCrud(self.database, session_price), CdrsCrud(self.database)
        tokens = TokensCrud(self.database, wake=self.wake, clock=clock)
        commands = CommandsCrud(self.database, self.csms.remote, url_allowed=self._url_allowed, clock=clock)
        ocpi = create_ocpi_app(
            crud=Crud(
                {
                    "locations": locations,
                    "sessions": sessions,
                    "cdrs": cdrs,
                    "tariffs": tariffs,
                    "tokens": tokens,
                    "commands": commands,
                    "hubclientinfo": HubClientsCrud(self.database, clock=clock, changed=self.due),
                    "chargingprofiles": ChargingProfilesCrud(self.database, url_allowed=self._url_allowed, clock=clock),
                    "charging_preferences": ChargingPreferencesCrud(self.database, clock=clock),
                }
            ),
            adapter=Adapter(),
            partners=self.partners,
            credentials=self.registration,
            public_url=settings.public_url,
            our_parties=OurParties(self._our_roles),
            requests_per_minute=settings.ocpi_requests_per_minute,
            clock=clock,
        )
        self.current_state = CurrentState(locations=locations, sessions=sessions, cdrs=cdrs, tariffs=tariffs)
        self._files_key = signing_key(settings.needed_secret_key())
        files = file_routes(
            database=self.database, data_dir=settings.data_dir, key=self._files_key, wake=self.wake, clock=clock
        )
        self.api = OperatorApi(
            Surroundings(
                database=self.database,
                clock=clock,
                our_party=settings.our_party,
                operator_name=settings.operator_name,
                public_url=settings.public_url,
                data_dir=settings.data_dir,
                file_key=self._files_key,
                vault=self.vault,
                organization=settings.certificate_organization or settings.operator_name,
                wss=settings.wss_offered,
                throttle_key=self.quirks.throttle_key,
                quirks_of=lambda vendor, model, firmware: [q.id for q in self.quirks.of(vendor, model, firmware)],
            )
        )
        self.web = WebServer(
            create_app(
                ocpi,
                database=self.database,
                metrics=self.metrics,
                listening=lambda: self._serving,
                files=files,
                api=self.api.mount(),
            ),
            settings,
        )
        self._serving = False
        self._signed = asyncio.Event()  # perhaps by an authority that is new
        self.metrics.gauge("connections", "Chargers connected", lambda: len(self.connections.connected()))
        self.metrics.counts("gateway_events", "What went wrong at the door and in frames", "kind", self._gateway_counts)
        self.metrics.gauges("journal_behind", "Facts not passed yet", "subscriber", self._told(behind))
        self.metrics.gauges(
            "station_clock_skew_seconds", "A station's clock ahead of ours", "station_id", self._told(skew.measured)
        )
        self.metrics.gauges("stations_by_clock_skew", "Stations off by up to", "skew", self._told(skew.spread))
        self.metrics.gauges(
            "clock_skew_share", "Share of measured clocks off by more than", "limit", self._told(skew.share_over_limit)
        )
        self.metrics.gauges(
            "waiting_for_a_person", "Held bills and refunds that are open", "what", self._told(self._open_reviews)
        )

        for name, (about, read) in PARTNER_GAUGES.items():
            self.metrics.gauges(f"partner_{name}", about, "partner", self._told(self._of_partners(read)))

    def _of_partners(self, read: Callable[[Report], float]) -> Callable[[Connection], Mapping[str, float]]:
        def told(connection: Connection) -> Mapping[str, float]:
            here = [one for one in reports(connection, self.clock()) if one.partner.state == PartnerState.REGISTERED]
            return {one.partner.name: read(one) for one in here}

        return told

    async def start(self) -> None:
        """Migrates first. Raises when something cannot be started; nothing is left running then."""
        try:
            applied = await asyncio.to_thread(
                schema.migrate, self.settings.database_url, message_log=self.settings.message_log
            )
            if applied:
                log.info("database_migrated", revisions=applied)
            await asyncio.to_thread(self.csms.stations.close_stale)
            self._our_roles[:] = await asyncio.to_thread(self._read_roles)
            await asyncio.to_thread(self._keep_roundings)
            await asyncio.to_thread(self._keep_meanings)
            await self._trust_ours()
            for name, run in self._tasks().items():
                self._supervisor.start(name, run)
            await self.web.start()
            await self.gateway.start()
        except BaseException:
            await self.stop()
            raise
        self._serving = True

    async def stop(self) -> None:
        """Doors first, then those who write what came through them."""
        self._serving = False
        await self.gateway.stop()
        await self.api.close()  # whoever reads the message log live would hold the listener open
        await self.web.stop()
        await self.csms.remote.stop()
        await self._supervisor.stop("deliveries", "callbacks", "token_sync", "hub_sync", "watch", "remote")
        await self._supervisor.stop()
        await self.csms.close()
        await self._guarded.aclose()
        self.database.dispose()

    def _tasks(self) -> dict[str, Callable[[], Any]]:
        deliveries = Deliveries(
            self.database,
            self._client,
            self.partners,
            self.current_state,
            wake=self.due,
            clock=self.clock,
            doubt=self._hub_sync.doubt,
            health=self.health,
        )
        callbacks = Callbacks(self.database, self.partners, self._client, wake=self.wake, clock=self.clock)
        retention = Retention(
            self.database,
            message_days=self.settings.message_log_days,
            sample_days=self.settings.meter_sample_days,
            history_days=self.settings.history_days,
            also={"partners_requests": delete_partners_requests},
            clock=self.clock,
        )
        uploads = Keeper(
            self.database, data_dir=self.settings.data_dir, days=self.settings.message_log_days, clock=self.clock
        )
        campaigns = Campaigns(
            self.database,
            public_url=self.settings.public_url,
            key=self._files_key,
            wake=self.wake,
            clock=self.clock,
        )
        rotate_days = self.settings.rotate_tokens_days
        introductions = Introductions(
            self.database,
            self.partners,
            self.registration,
            offer=self._offer,
            rotate_after=timedelta(days=rotate_days) if rotate_days else None,
            clock=self.clock,
        )
        push = Push(clock=self.clock)
        billing = Subscriber(
            "billing", self.database, bill, wake=self.wake, types=[FactType.TRANSACTION_ENDED], then=self.wake
        )
        signed = Subscriber(
            "certificates",
            self.database,
            signing(self.settings, self.vault, self.clock).handle,
            wake=self.wake,
            types=[FactType.CERTIFICATE_REQUESTED],
            then=self._signed.set,
        )
        costs = CostTeller(clock=self.clock)
        showing = Subscriber("cost_messages", self.database, costs.handle, wake=self.wake, types=COSTS_FOLLOW)
        telling = Subscriber("ocpi_push", self.database, push.handle, wake=self.wake, types=TOLD, then=self.due)
        assert self.csms.after_boot is not None  # a service follows up
        return {
            "core": self.csms.run,
            "after_boot": self.csms.after_boot.run,
            "remote": self.csms.remote.run,
            "message_log": self._message_log.run,
            "local_lists": ListPush(self.database, send=self.connections.send, clock=self.clock).run,
            "watch": Watch(self.database, wake=self.wake, clock=self.clock).run,
            "billing": billing.run,
            "certificates": signed.run,
            "authorities": self._follow_authorities,
            "ocpi_push": telling.run,
            "cost_messages": showing.run,
            "deliveries": deliveries.run,
            "callbacks": callbacks.run,
            "token_sync": self._token_sync.run,
            "hub_sync": self._hub_sync.run,
            "partner_health": lambda: self.health.run(self.database),
            "retention": retention.run,
            "uploads": uploads.run,
            "firmware_campaigns": campaigns.run,
            "roles": self._follow_imports,
            "introductions": introductions.run,
            "refusals": self._follow_refusals,
        }

    def _write_messages(self, frames: Sequence[LoggedFrame]) -> None:
        with self.database.write_log() as connection:
            message_store.write(connection, frames)

    def _locations(self) -> LocationsCrud:
        told = meanings.meanings(self.settings.evse_status)
        return LocationsCrud(self.database, meanings=told, operator_name=self.settings.operator_name)

    def _keep_roundings(self) -> None:
        with self.database.write() as connection:
            roundings.keep(connection, self.settings.money_decimals)

    def _keep_meanings(self) -> None:
        with self.database.write() as connection:
            meanings.keep(connection, self.settings.evse_status, self.clock())

    def _read_roles(self) -> list[OurRole]:
        with self.database.read() as connection:
            return our_roles(connection, self.settings.our_party, self.settings.operator_name)

    async def _follow_imports(self) -> None:
        """Sites of another party may be imported while we run: from then on it is one of ours (PU-03)."""
        while True:
            await asyncio.sleep(ROLES_EVERY_S)
            self._our_roles[:] = await asyncio.to_thread(self._read_roles)

    async def _follow_refusals(self) -> None:
        """Who may not be here any more is sent away; its next connection is answered 403."""
        while True:
            await asyncio.sleep(REFUSALS_EVERY_S)
            for station_id, reason in (await asyncio.to_thread(self._unwelcome)).items():
                self.connections.close_station(station_id, POLICY_VIOLATION, reason)

    async def _follow_authorities(self) -> None:
        """Our own authorities are made when they are first needed, here or by a command: from then on the door knows them."""
        while True:
            self._signed.clear()
            await self._trust_ours()
            try:
                async with asyncio.timeout(AUTHORITIES_EVERY_S):
                    await self._signed.wait()
            except TimeoutError:
                pass

    async def _trust_ours(self) -> None:
        for root in await asyncio.to_thread(self._roots):
            self.gateway.trust(root)

    def _roots(self) -> Sequence[str]:
        with self.database.read() as connection:
            return certificates.roots(connection)

    def _unwelcome(self) -> Mapping[str, str]:
        """Stations that are connected and may not be, each with the reason."""
        with self.database.read() as connection:
            revoked = dict.fromkeys(certificates.revoked_and_here(connection), "its certificate is revoked")
            return revoked | dict.fromkeys(stations.refused_and_here(connection), "refused")

    def _partner_changed(self) -> None:
        self.wake()
        self.due()
        self._token_sync.wake()
        self._hub_sync.wake()

    async def _url_allowed(self, url: str) -> bool:
        try:
            await self._guarded.check(url)
        except (Refused, Unreachable):
            return False
        return True

    def _told(self, read: Callable[[Connection], Mapping[str, float]]) -> Callable[[], Mapping[str, float]]:
        """What a gauge reads from the database at each scrape."""

        def told() -> Mapping[str, float]:
            try:
                with self.database.read() as connection:
                    return read(connection)
            except SQLAlchemyError:  # the other numbers are told all the same, and whether we are ready says why
                return {}

        return told

    def _open_reviews(self, connection: Connection) -> Mapping[str, float]:
        return reviews.open_by_age(connection, self.clock())

    def _gateway_counts(self) -> Mapping[str, int]:
        return self.gateway.counts


class OurParties(Collection[tuple[str, str]]):
    """The parties of our roles, whichever those are by now."""

    def __init__(self, roles: Sequence[OurRole]) -> None:
        self._roles = roles

    def __contains__(self, party: object) -> bool:
        return party in set(self)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((country_code, party_id) for country_code, party_id, _ in self._roles)

    def __len__(self) -> int:
        return len(self._roles)


def gateway_settings(settings: Settings) -> GatewaySettings:
    return GatewaySettings(
        host=settings.ocpp_listen.host,
        port=settings.ocpp_listen.port,
        allow_plain=settings.allow_plain_ws,
        trusted_proxies=settings.trusted_proxies,
        tls_cert=settings.ocpp_tls_cert,
        tls_key=settings.ocpp_tls_key,
        tls_client_ca=settings.ocpp_tls_client_ca,
        tls_client_required=settings.ocpp_tls_client_cert == "required",
        client_cert_header=settings.ocpp_client_cert_header,
    )


def signing(settings: Settings, vault: Vault, clock: Callable[[], datetime]) -> certificates.Signing:
    demanded = settings.certificate_organization
    return certificates.Signing(vault, organization=demanded or settings.operator_name, demanded=demanded, clock=clock)


def known_quirks(settings: Settings) -> Quirks:
    """What is shipped, and the operator's own in DATA_DIR/quirks. Raises SettingsError, which names every mistake."""
    folder = settings.data_dir / "quirks"
    try:
        return catalogue.load(folder)
    except BadQuirks as bad:
        raise SettingsError([f"ROAMBRIDGE_DATA_DIR: {folder}: {problem}" for problem in bad.problems]) from None


def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises SettingsError when something needed is not set."""
    settings.needed_secret_key()
    configure_logging()
    allow_many_files()
    for name in settings.unknown:
        log.warning("unknown_setting", advice=advice(name))
    for risk in settings.risks:
        log.warning("risky_setting", advice=risk)
    for name in settings.not_acted_on:
        log.warning("setting_not_acted_on", name=name)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    service = Service(settings)
    await service.start()
    spare_the_collector()
    log.info("ready", ocpp_port=service.gateway.port, http_port=service.web.port, public_url=settings.public_url)
    await leave.wait()
    log.info("leaving")
    await service.stop()


def configure_logging(level: int = logging.INFO) -> None:
    """Lines of JSON where nobody watches, colours where somebody does; on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    human = sys.stderr.isatty()
    # structlog's own way of showing an exception tells the values of variables, and so tokens.
    shown = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = shown if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if human else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def spare_the_collector() -> None:
    """What lives as long as the process is never looked at again, and what a message makes dies without being looked for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def allow_many_files() -> None:
    """Raise the limit of open files as far as we may: each charger is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
