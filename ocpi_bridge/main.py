"""The composition root: every object of the service is built here, in one straight line, and started and stopped in order."""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from adapters import Adapter
from crud import Crud
from crud.cdrs import CdrsCrud
from crud.commands import CommandsCrud
from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.partners import Partners, Vault
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from crud.tokens import TokensCrud
from csms import message_store, schema, stations
from csms.billing.charge_records import bill, session_price
from csms.bus import LoggedFrame
from csms.core import Csms
from csms.database import Database
from csms.gateway.connections import Connections
from csms.gateway.link import POLICY_VIOLATION
from csms.gateway.message_log import MessageLogWriter
from csms.gateway.server import Gateway, GatewaySettings
from csms.journal import FactType, Subscriber, Wake, behind
from csms.metrics import Metrics
from csms.retention import Retention
from csms.watch import Watch
from ocpi_bridge.callbacks import Callbacks
from ocpi_bridge.delivery import Deliveries
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.ocpi_app import create_ocpi_app
from ocpi_bridge.outbound import Guarded, OutboundPolicy, Refused, Unreachable
from ocpi_bridge.push import RULES as TOLD
from ocpi_bridge.push import Push
from ocpi_bridge.registration import OurRole, Registration, our_roles
from ocpi_bridge.settings import Settings, advice
from ocpi_bridge.supervisor import Supervisor
from ocpi_bridge.token_owner import TokenOwnerAtPartner
from ocpi_bridge.token_sync import TokenSync
from ocpi_bridge.web import WebServer, create_app

log = structlog.get_logger(__name__)

REFUSALS_EVERY_S = 1.0
ROLES_EVERY_S = 60.0
OPEN_FILES = 200_000  # ten thousand chargers, and then some


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
        self._client = EmspClient(self._guarded, clock=clock)
        self.partners = Partners(self.database, Vault(settings.needed_secret_key()))

        # The core, and the gateway that serves it chargers.
        self.connections = Connections()
        self.csms = Csms(
            self.database,
            send=self.connections.send,
            wake=self.wake,
            our_party=settings.our_party,
            token_owner=TokenOwnerAtPartner(self.database, self.partners, self._client, clock=clock),
            unknown_stations=settings.unknown_stations,
            clock=clock,
        )
        self._message_log = MessageLogWriter(self._write_messages)
        self.gateway = Gateway(
            settings=gateway_settings(settings),
            connections=self.connections,
            report=self.csms.report,
            credentials=self.csms.stations,
            presence=self.csms.stations,
            message_log=self._message_log,
        )

        # OCPI: what partners may ask, and what they are told.
        self._our_roles: list[OurRole] = [(*settings.our_party, settings.operator_name)]
        self._token_sync = TokenSync(self.database, self.partners, self._client, clock=clock, changed=self.wake)
        self.registration = Registration(
            self.database,
            self.partners,
            self._client,
            public_url=settings.public_url,
            our_roles=self._our_roles,
            clock=clock,
            changed=self._partner_changed,
        )
        locations, tariffs = LocationsCrud(self.database), TariffsCrud(self.database)
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
                }
            ),
            adapter=Adapter(),
            partners=self.partners,
            credentials=self.registration,
            public_url=settings.public_url,
            our_parties=OurParties(self._our_roles),
            clock=clock,
        )
        self.current_state = CurrentState(locations=locations, sessions=sessions, cdrs=cdrs, tariffs=tariffs)
        self.web = WebServer(
            create_app(ocpi, database=self.database, metrics=self.metrics, listening=lambda: self._serving), settings
        )
        self._serving = False
        self.metrics.gauge("connections", "Chargers connected", lambda: len(self.connections.connected()))
        self.metrics.counts("gateway_events", "What went wrong at the door and in frames", "kind", self._gateway_counts)
        self.metrics.gauges("journal_behind", "Facts not passed yet", "subscriber", self._behind)

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
        await self.web.stop()
        await self.csms.remote.stop()
        await self._supervisor.stop("deliveries", "callbacks", "token_sync", "watch", "remote")
        await self._supervisor.stop()
        await self.csms.close()
        await self._guarded.aclose()
        self.database.dispose()

    def _tasks(self) -> dict[str, Callable[[], Any]]:
        deliveries = Deliveries(
            self.database, self._client, self.partners, self.current_state, wake=self.due, clock=self.clock
        )
        callbacks = Callbacks(self.database, self.partners, self._client, wake=self.wake, clock=self.clock)
        retention = Retention(
            self.database,
            message_days=self.settings.message_log_days,
            sample_days=self.settings.meter_sample_days,
            clock=self.clock,
        )
        push = Push(clock=self.clock)
        billing = Subscriber(
            "billing", self.database, bill, wake=self.wake, types=[FactType.TRANSACTION_ENDED], then=self.wake
        )
        telling = Subscriber("ocpi_push", self.database, push.handle, wake=self.wake, types=TOLD, then=self.due)
        assert self.csms.after_boot is not None  # a service follows up
        return {
            "core": self.csms.run,
            "after_boot": self.csms.after_boot.run,
            "remote": self.csms.remote.run,
            "message_log": self._message_log.run,
            "watch": Watch(self.database, wake=self.wake, clock=self.clock).run,
            "billing": billing.run,
            "ocpi_push": telling.run,
            "deliveries": deliveries.run,
            "callbacks": callbacks.run,
            "token_sync": self._token_sync.run,
            "retention": retention.run,
            "roles": self._follow_imports,
            "refusals": self._follow_refusals,
        }

    def _write_messages(self, frames: Sequence[LoggedFrame]) -> None:
        with self.database.write_log() as connection:
            message_store.write(connection, frames)

    def _read_roles(self) -> list[OurRole]:
        with self.database.read() as connection:
            return our_roles(connection, self.settings.our_party, self.settings.operator_name)

    async def _follow_imports(self) -> None:
        """Sites of another party may be imported while we run: from then on it is one of ours (PU-03)."""
        while True:
            await asyncio.sleep(ROLES_EVERY_S)
            self._our_roles[:] = await asyncio.to_thread(self._read_roles)

    async def _follow_refusals(self) -> None:
        """Who is refused while connected is sent away; its next connection is answered 403."""
        while True:
            await asyncio.sleep(REFUSALS_EVERY_S)
            for station_id in await asyncio.to_thread(self._refused):
                self.connections.close_station(station_id, POLICY_VIOLATION, "refused")

    def _refused(self) -> Sequence[str]:
        with self.database.read() as connection:
            return stations.refused_and_here(connection)

    def _partner_changed(self) -> None:
        self.wake()
        self.due()
        self._token_sync.wake()

    async def _url_allowed(self, url: str) -> bool:
        try:
            await self._guarded.check(url)
        except (Refused, Unreachable):
            return False
        return True

    def _behind(self) -> Mapping[str, int]:
        try:
            with self.database.read() as connection:
                return behind(connection)
        except SQLAlchemyError:  # the other numbers are told all the same, and whether we are ready says why
            return {}

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
    )


def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises SettingsError when something needed is not set."""
    settings.needed_secret_key()
    configure_logging()
    allow_many_files()
    for name in settings.unknown:
        log.warning("unknown_setting", advice=advice(name))
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
