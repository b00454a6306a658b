"""Chargers connect to ws(s)://host/ocpp/{station_id}, are let in or told why not, and are served until they leave."""

import asyncio
import logging
import socket as sockets
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast
from weakref import WeakSet

import structlog
from cryptography import x509
from websockets.asyncio.server import Server, ServerConnection, serve

from csms.bus import Credentials, MessageLog, Presence, Report, StationCredentials
from csms.gateway.answering import POLICY_VIOLATION, SERVICE_RESTART
from csms.gateway.charger_socket import ChargerSocket
from csms.gateway.client_certificates import Authorities
from csms.gateway.connections import Connections
from csms.gateway.crowd import Crowd
from csms.gateway.door import Door
from csms.gateway.link import Link, Wiring
from csms.gateway.proof import Proof
from csms.gateway.quirks.catalogue import Quirks
from csms.gateway.settings import GatewaySettings
from csms.gateway.sweeper import Sweeper
from csms.gateway.translator import Translator
from csms.gateway.versions import VERSIONS
from csms.shutting import shut

__all__ = ["Gateway", "GatewaySettings"]

log = structlog.get_logger(__name__)

PROTOCOL_ERROR = 1002
PROBE_OF_OLDER_S = 2.0  # T9
OPEN_TIMEOUT_S = 60.0  # ten thousand handshakes may stand in line
CLOSE_TIMEOUT_S = 5.0
BACKLOG = 4096

# (option, value): a connection whose other end vanished is found by the kernel within two minutes (B07). Linux hands the
# options of the listening socket on to every accepted one.
TCP_OPTIONS: Final = (
    (sockets.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (sockets.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (sockets.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (sockets.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (sockets.IPPROTO_TCP, "TCP_USER_TIMEOUT", 120_000),
)


class Gateway:
    def __init__(
        self,
        *,
        settings: GatewaySettings,
        connections: Connections,
        report: Report,
        credentials: Credentials,
        presence: Presence,
        message_log: MessageLog,
        versions: Mapping[str, Callable[[], Translator]] = VERSIONS,
        quirks: Quirks | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """`crowded`: while it says so, nobody is let in, and those who come are told to come back later (503)."""
        self.port = settings.port
        self._settings = settings
        self._connections = connections
        self._links: set[Link] = set()
        self._opening: WeakSet[ChargerSocket] = WeakSet()  # their handshake is not over, or went wrong
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._authorities = Authorities()
        self._trusted: list[str] = []  # roots, beside those of the settings
        self._wiring = Wiring(
            report=report,
            presence=presence,
            message_log=message_log,
            call_timeout_s=settings.call_timeout_s,
            ping_interval_s=settings.ping_interval_s,
            frames_per_s=settings.frames_per_s,
            displace=self._displace,
            quirks=quirks or Quirks(),
        )
        self.crowd = Crowd(
            at_once=settings.handshakes_at_once,
            in_line=settings.handshakes_in_line,
            per_address=settings.sockets_per_address,
        )
        self._door = Door(
            settings,
            credentials=credentials,
            message_log=message_log,
            counts=self._wiring.counts,
            translators={subprotocol: make() for subprotocol, make in versions.items()},
            authorities=self._authorities,
            quirks=self._wiring.quirks,
            let_in=self._let_in,
            crowd=self.crowd,
            crowded=crowded,
        )

    @property
    def counts(self) -> Counter[str]:
        """How often since the start: refused, told_later, throttled, malformed, violation, unsolicited, timeout, too_big,
        quirk:ID."""
        return self._wiring.counts

    async def start(self) -> None:
        """When it returns, `port` is bound and served. Raises OSError, which names the address or files that fail."""
        settings = self._settings
        self._tls = _tls(settings)
        if self._tls is not None:
            self._tls.sslobject_class = _telling(self._door.no_tls)
        for root in _client_authorities(settings):
            self._authorities.add(root)
        for pem in self._trusted:
            self._believe(pem)
        listener = _listen(settings.host, settings.port)
        self.port = listener.getsockname()[1]
        logger = logging.getLogger("csms.gateway.websockets")
        logger.setLevel(logging.WARNING)  # a line for every connection that opens is no news
        self._server = await serve(
            self._handle,
            sock=listener,
            backlog=BACKLOG,
            ssl=self._tls,
            compression="deflate" if settings.compression else None,
            process_request=self._door.process_request,
            server_header="roambridge",
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            max_size=settings.max_frame_bytes,
            create_connection=cast(Any, self._socket),
            logger=logger,
        )
        sweeper = Sweeper(
            self._links,
            pong_timeout_s=settings.pong_timeout_s,
            report_timeout_s=settings.report_timeout_s,
            probe_grace_s=settings.probe_grace_s,
            frames_per_s=settings.frames_per_s,
            tick_s=min(1.0, settings.ping_interval_s[0] / 4, settings.pong_timeout_s / 4),
        )
        self._spawn(sweeper.run())
        log.info("gateway_listens", host=settings.host, port=self.port, tls=settings.tls_cert is not None)

    async def stop(self) -> None:
        """Calls that are here are answered, then every charger is sent away with 1012; it comes back and sends again what
        was not answered."""
        server, self._server = self._server, None
        if server is None:
            return
        await shut(server.sockets, partial(server.close, close_connections=False))
        for socket in list(self._opening):
            socket.hang_up_unasked()
        for link in list(self._links):
            link.leave(SERVICE_RESTART, "service restarts")
        closed = asyncio.ensure_future(server.wait_closed())
        _, unfinished = await asyncio.wait([closed], timeout=2 * CLOSE_TIMEOUT_S)
        if unfinished:
            log.warning("chargers_do_not_leave", connections=len(server.handler_tasks))
            for task in [*server.handler_tasks]:
                task.cancel()
            await asyncio.wait([closed], timeout=CLOSE_TIMEOUT_S)
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def trust(self, root: str) -> None:
        """Client certificates of this authority of ours (PEM) count, from the next connection on. Repeats do nothing."""
        if root not in self._trusted:
            self._trusted.append(root)
            self._believe(root)

    def _believe(self, root: str) -> None:
        self._authorities.add(x509.load_pem_x509_certificate(root.encode()), ours=True)
        if self._tls is not None:
            self._tls.load_verify_locations(cadata=root)
            _ask_for_certificates(self._tls, self._settings)

    def _let_in(
        self,
        connection: ChargerSocket,
        /,
        *,
        station_id: str,
        peer: str,
        translator: Translator,
        proof: Proof,
        known: StationCredentials,
    ) -> None:
        link = Link(connection, self._wiring, station_id=station_id, peer=peer, translator=translator, proof=proof)
        link.recognise(known)  # it may send no Boot (T1)
        connection.receiver = link

    def _socket(self, *library: Any, **limits: Any) -> ChargerSocket:
        """Made before anybody knows who it is."""
        socket = ChargerSocket(*library, **limits, not_http=self._door.not_http, crowd=self.crowd)
        self._opening.add(socket)
        return socket

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ChargerSocket)
        self._opening.discard(connection)
        connection.settle()
        link = connection.receiver
        if not isinstance(link, Link):
            await connection.close(PROTOCOL_ERROR, "no OCPP version in common")
            return
        self._links.add(link)
        self.crowd.came(link.peer)
        self._connections.attach(link)
        try:
            await link.serve()
        finally:
            self._links.discard(link)
            self.crowd.left(link.peer)
            self._connections.detach(link)
            link.ended()
            connection.receiver = None  # no cycle is left for the collector, which may be frozen

    def displaced(self, station_id: str, older: str, newer: str) -> None:
        """The connection `newer` of this station is at another gateway. Nothing happens when `older` is gone."""
        for link in self._connections.links_of(station_id):
            if link.connection_id == older:
                self._spawn(self._close_displaced(link, newer))

    def _displace(self, older: Link, newer: Link) -> None:
        self._spawn(self._close_displaced(older, newer.connection_id))

    async def _close_displaced(self, older: Link, newer: str) -> None:
        """The newer one is served already; whether the older one still answers only tells a reconnect from a second
        station under the same identity (T9)."""
        if await older.socket.pongs(PROBE_OF_OLDER_S):
            log.warning("duplicate_identity", station_id=older.station_id, older=older.connection_id, newer=newer)
            self._wiring.presence.duplicate(older.station_id, older.connection_id, newer)
        older.close(POLICY_VIOLATION, "replaced by a newer connection")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _listen(host: str, port: int) -> sockets.socket:
    family = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0][0]
    listener = sockets.create_server((host, port), family=family, backlog=BACKLOG)
    for level, name, value in TCP_OPTIONS:
        if hasattr(sockets, name):
            listener.setsockopt(level, getattr(sockets, name), value)
    return listener


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        files = ", ".join(str(file) for file in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if file)
        raise OSError(f"these files are no certificate with its key: {files} ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_client_ca is not None or settings.tls_client_required:
        _ask_for_certificates(context, settings)
    return context


def _telling(failed: Callable[[str], None]) -> type[ssl.SSLObject]:
    """What OpenSSL turns away reaches nobody else: not the door, and with TLS 1.3 often not even the charger."""

    class Telling(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLCertVerificationError as error:
                failed(f"client certificate: {error.verify_message}")
                raise
            except ssl.SSLError as error:
                failed(str(error.reason or error))
                raise

    return Telling


def _ask_for_certificates(context: ssl.SSLContext, settings: GatewaySettings) -> None:
    """Stations with a password and stations with a certificate share the port, so one is asked for and not demanded. While
    no authority is known nobody is asked: some stations then send what their factory gave them."""
    context.verify_mode = ssl.CERT_REQUIRED if settings.tls_client_required else ssl.CERT_OPTIONAL


def _client_authorities(settings: GatewaySettings) -> Sequence[x509.Certificate]:
    if settings.tls_client_ca is None:
        return []
    try:
        return x509.load_pem_x509_certificates(settings.tls_client_ca.read_bytes())
    except ValueError as error:
        raise OSError(f"this file holds no certificates: {settings.tls_client_ca} ({error})") from error
