"""The chargers' door: who may come in and who must leave follows the database, and every frame is written down."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from csms import certificates, message_store, stations
from csms.bus import Credentials, LoggedFrame, Presence, Report
from csms.gateway.answering import POLICY_VIOLATION
from csms.gateway.connections import Connections
from csms.gateway.message_log import MessageLogWriter
from csms.gateway.quirks.catalogue import Quirks
from csms.gateway.server import Gateway, GatewaySettings
from csms.measures import FRAME_LABELS, Frames
from ocpi_bridge.collector import Waves
from ocpi_bridge.roles.ground import Ground, Tasks
from ocpi_bridge.settings import Settings

REFUSALS_EVERY_S = 1.0
AUTHORITIES_EVERY_S = 2.0


class Chargers:
    """`signed` is set when our authority signed something, by whoever shares it with us."""

    def __init__(
        self,
        ground: Ground,
        connections: Connections,
        quirks: Quirks,
        *,
        report: Report,
        credentials: Credentials,
        presence: Presence,
        signed: asyncio.Event,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ground = ground
        self._connections = connections
        self._signed = signed
        self._message_log = MessageLogWriter(self._write_messages)
        self.gateway = Gateway(
            settings=gateway_settings(ground.settings),
            connections=connections,
            report=report,
            credentials=credentials,
            presence=presence,
            message_log=self._message_log,
            quirks=quirks,
            crowded=crowded,
        )
        ground.metrics.gauge("connections", "Chargers connected", lambda: len(connections.connected()))
        ground.metrics.counts(
            "gateway_events", "What went wrong at the door and in frames", "kind", lambda: self.gateway.counts
        )
        self._frames = Frames(
            answered=ground.metrics.seconds("answer", "How long a charger waited for our answer", "action"),
            obeyed=ground.metrics.seconds("command", "How long a charger took to answer us", "action"),
        )
        ground.metrics.counts_by("frames", "Frames from and to chargers", FRAME_LABELS, self._frames.read)
        ground.metrics.counts(
            "message_log_rows",
            "Frames that were written down, and those that were not in time",
            "what",
            lambda: {"written": self._message_log.written, "dropped": self._message_log.dropped},
        )

    def tasks(self) -> Tasks:
        return {
            "message_log": self._message_log.run,
            "authorities": self._follow_authorities,
            "refusals": self._follow_refusals,
            "waves": Waves(lambda: len(self._connections.connected())).run,
        }

    async def trust_ours(self) -> None:
        """Our own authorities; before the door opens."""
        for root in await asyncio.to_thread(self._roots):
            self.gateway.trust(root)

    def _write_messages(self, frames: Sequence[LoggedFrame]) -> None:
        self._frames.count(frames)
        with self._ground.database.write_log() as connection:
            message_store.write(connection, frames)

    async def _follow_refusals(self) -> None:
        """Who may not be here any more is sent away; its next connection is answered 403."""
        while True:
            await asyncio.sleep(REFUSALS_EVERY_S)
            for station_id, reason in (await asyncio.to_thread(self._unwelcome)).items():
                self._connections.close_station(station_id, POLICY_VIOLATION, reason)

    async def _follow_authorities(self) -> None:
        """Our own authorities are made when they are first needed, here or by a command: from then on the door knows them."""
        while True:
            self._signed.clear()
            await self.trust_ours()
            try:
                async with asyncio.timeout(AUTHORITIES_EVERY_S):
                    await self._signed.wait()
            except TimeoutError:
                pass

    def _roots(self) -> Sequence[str]:
        with self._ground.database.read() as connection:
            return certificates.roots(connection)

    def _unwelcome(self) -> Mapping[str, str]:
        """Stations that are connected and may not be, each with the reason."""
        with self._ground.database.read() as connection:
            revoked = dict.fromkeys(certificates.revoked_and_here(connection), "its certificate is revoked")
            return revoked | dict.fromkeys(stations.refused_and_here(connection), "refused")


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
