"""Nobody is served who may not be, and whoever is turned away leaves one log line and one row of the message log.

Where many come at once, those told to come back later are counted, and logged together once a second.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from csms.bus import Admission, Credentials, LoggedFrame, MessageLog, StationCredentials
from csms.gateway import client_certificates, handshake
from csms.gateway.charger_socket import JSON_ONLY, ChargerSocket, plain_response
from csms.gateway.client_certificates import Authorities, Vouched
from csms.gateway.crowd import Crowd
from csms.gateway.proof import Disproof, Proof, prove
from csms.gateway.quirks.catalogue import Quirks
from csms.gateway.quirks.fixes import FIXES
from csms.gateway.redaction import redact
from csms.gateway.settings import GatewaySettings
from csms.gateway.translator import Translator

log = structlog.get_logger(__name__)

CREDENTIALS_TIMEOUT_S = 10.0
RETRY_AFTER_S = (20, 60)  # each its own, or all would be back at once
TELL_EVERY_S = 1.0

ADMISSION_REFUSED: Final[Mapping[Admission, HTTPStatus]] = {
    Admission.UNKNOWN: HTTPStatus.NOT_FOUND,
    Admission.REFUSED: HTTPStatus.FORBIDDEN,
}


class Doubtful(Exception):
    """A client certificate was presented that does not count; says why."""


class LetIn(Protocol):
    """Told of a charger that may be served, just before it learns so."""

    def __call__(
        self,
        connection: ChargerSocket,
        /,
        *,
        station_id: str,
        peer: str,
        translator: Translator,
        proof: Proof,
        known: StationCredentials,
    ) -> None: ...


class Door:
    def __init__(
        self,
        settings: GatewaySettings,
        *,
        credentials: Credentials,
        message_log: MessageLog,
        counts: Counter[str],
        translators: Mapping[str, Translator],
        authorities: Authorities,
        quirks: Quirks,
        let_in: LetIn,
        crowd: Crowd,
        crowded: Callable[[], bool],
    ) -> None:
        """`crowded`: what came in is not worked off yet, and nobody else is let in."""
        self._settings = settings
        self._credentials = credentials
        self._message_log = message_log
        self._counts = counts
        self._translators = translators
        self._authorities = authorities
        self._quirks = quirks
        self._let_in = let_in
        self._crowd = crowd
        self._crowded = crowded
        self._told_at = -math.inf  # of the last line about those told to come back

    async def process_request(self, connection: ServerConnection, request: Request) -> Response:
        """The whole answer to a handshake. One that offers only versions we do not speak is completed without the header,
        and the caller closes it (T11): it was not let in."""
        assert isinstance(connection, ChargerSocket)
        settings, headers = self._settings, request.headers
        remote = (connection.remote_address or ("",))[0]
        tls = connection.transport.get_extra_info("ssl_object")
        peer = handshake.peer(remote, tls is not None, headers, settings.trusted_proxies)
        station_id = handshake.station_id(request.path, settings.path_prefix)
        offered = handshake.offered(headers)
        note = partial(
            self._note,
            peer=str(peer.address),
            station_id=station_id or "",
            path=request.path[:200],
            offered=", ".join(offered)[:200],
        )

        def refuse(status: HTTPStatus, reason: str, body: str | None = None) -> Response:
            note(status, reason)
            return plain_response(connection, status, body or f"{reason}\n")

        if not handshake.is_websocket(request):
            return refuse(HTTPStatus.UPGRADE_REQUIRED, "no WebSocket handshake", JSON_ONLY)
        if station_id is None:
            return refuse(HTTPStatus.NOT_FOUND, "no station identity in the path")
        if not peer.secure and not handshake.within(peer.address, settings.allow_plain):
            return refuse(HTTPStatus.FORBIDDEN, "plain ws is not allowed from this network, use wss")
        subprotocol = next((word for word in offered if word in self._translators), None)
        if subprotocol is None and not handshake.SOAP.isdisjoint(offered):
            return refuse(HTTPStatus.BAD_REQUEST, "SOAP or an early version was offered", JSON_ONLY)
        if self._crowded() or connection.too_late:
            return self._later(connection, HTTPStatus.SERVICE_UNAVAILABLE, "what came in is not worked off yet")
        if self._crowd.crowds(str(peer.address)):
            return self._later(connection, HTTPStatus.TOO_MANY_REQUESTS, f"all sockets of {peer.address} are taken")
        try:
            certificate = self._certificate(tls, remote, headers)
        except Doubtful as doubt:
            return refuse(HTTPStatus.FORBIDDEN, str(doubt))
        admitted = await self._admission(
            request, station_id, secure=peer.secure, certificate=certificate, refuse=refuse
        )
        if isinstance(admitted, Response):
            return admitted
        known, proof = admitted
        assumed = self._assumed(known)
        if not offered and assumed is None:
            spoken = ", ".join(self._translators)
            return refuse(HTTPStatus.BAD_REQUEST, f"Sec-WebSocket-Protocol is missing, offer {spoken}")
        response = connection.protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            note(HTTPStatus(response.status_code), "malformed WebSocket handshake")
            return response
        if subprotocol is None and offered:
            note(HTTPStatus.SWITCHING_PROTOCOLS, "no subprotocol in common")
            return response
        if subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
            connection.protocol.subprotocol = Subprotocol(subprotocol)
        translator = self._translators[subprotocol or assumed or ""]
        self._let_in(
            connection, station_id=station_id, peer=str(peer.address), translator=translator, proof=proof, known=known
        )
        return response

    def not_http(self, connection: ChargerSocket, status: int, reason: str) -> None:
        """What came is no request that the library would show us: a POST of SOAP, TLS on a plain port, noise."""
        peer = str((connection.remote_address or ("",))[0])
        self._note(HTTPStatus(status), reason, peer=peer, station_id="", path="", offered="")

    def no_tls(self, reason: str) -> None:
        """TLS came to nothing. Who it was nobody tells at that moment."""
        self._note(HTTPStatus.FORBIDDEN, f"TLS failed, {reason}"[:200], peer="", station_id="", path="", offered="")

    async def _admission(
        self,
        request: Request,
        station_id: str,
        *,
        secure: bool,
        certificate: Vouched | None,
        refuse: Callable[[HTTPStatus, str], Response],
    ) -> tuple[StationCredentials, Proof] | Response:
        try:
            async with asyncio.timeout(CREDENTIALS_TIMEOUT_S):
                known = await self._credentials.credentials(station_id)
        except Exception:
            log.exception("credentials_unavailable", station_id=station_id)
            return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "cannot tell who may connect")
        status = ADMISSION_REFUSED.get(known.admission)
        if status is not None:
            return refuse(status, f"{known.admission} station")
        presented = handshake.basic_credentials(request.headers)
        proof = prove(known, station_id, secure=secure, credentials=presented, certificate=certificate)
        if isinstance(proof, Proof):
            return known, proof
        return _challenge(refuse(proof.status, proof.reason), proof)

    def _assumed(self, known: StationCredentials) -> str | None:
        """What a station that offers no subprotocol speaks: the listener's word, or its vendor's quirk (T11)."""
        assumed = self._settings.assume_subprotocol_when_missing
        if assumed in self._translators:
            return assumed
        for quirk in self._quirks.of(known.vendor, known.model, known.firmware_version):
            if FIXES[quirk.fix].assumes_version:
                return next(iter(self._translators))
        return None

    def _certificate(self, tls: Any, remote: str, headers: Headers) -> Vouched | None:
        """The client certificate that TLS received and verified, or that a trusted proxy says it received."""
        settings, now = self._settings, datetime.now(UTC)
        received = None if tls is None else tls.getpeercert(binary_form=True)
        try:
            if received is not None:
                certificate = client_certificates.from_tls(received)
                doubt = client_certificates.out_of_time(certificate, now)
            else:
                told = handshake.forwarded_certificate(
                    remote, headers, settings.trusted_proxies, settings.client_cert_header
                )
                if told is None:
                    return None
                chain = client_certificates.forwarded(told)
                certificate, doubt = chain[0], self._authorities.doubt(chain, now)
        except ValueError as error:
            raise Doubtful("the client certificate cannot be read") from error
        if doubt is not None:
            raise Doubtful(doubt)
        return self._authorities.vouched(certificate)

    def _later(self, connection: ChargerSocket, status: HTTPStatus, reason: str) -> Response:
        """Costs next to nothing: there may be thousands of them, and each comes again."""
        self._counts["told_later"] += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning("newcomers_told_later", reason=reason, status=int(status), so_far=self._counts["told_later"])
        response = plain_response(connection, status, f"{reason}, come back later\n")
        response.headers["Retry-After"] = str(random.randint(*RETRY_AFTER_S))  # noqa: S311 - spreads load
        return response

    def _note(self, status: HTTPStatus, reason: str, *, peer: str, station_id: str, path: str, offered: str) -> None:
        self._counts["refused"] += 1
        path = redact(path.partition("?")[0])
        log.warning(
            "connection_refused",
            peer=peer,
            station_id=station_id,
            path=path,
            offered=offered,
            status=int(status),
            reason=reason,
        )
        self._message_log.record(
            LoggedFrame(
                at=datetime.now(UTC),
                station_id=station_id,
                ocpp_version="",
                direction="in",
                message_type="unreadable",
                result="refused",
                text=f"{int(status)} {reason}; peer {peer}; path {path}; offered [{offered}]",
            )
        )


def _challenge(response: Response, disproof: Disproof) -> Response:
    if disproof.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
    return response
