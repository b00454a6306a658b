"""Nobody is served who may not be, and whoever is turned away leaves one log line and one row of the message log."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from csms import passwords
from csms.bus import Admission, Credentials, LoggedFrame, MessageLog
from csms.gateway import handshake
from csms.gateway.charger_socket import JSON_ONLY, ChargerSocket, plain_response
from csms.gateway.redaction import redact
from csms.gateway.settings import GatewaySettings
from csms.gateway.translator import Translator

log = structlog.get_logger(__name__)

CREDENTIALS_TIMEOUT_S = 10.0

ADMISSION_REFUSED: Final[Mapping[Admission, HTTPStatus]] = {
    Admission.UNKNOWN: HTTPStatus.NOT_FOUND,
    Admission.REFUSED: HTTPStatus.FORBIDDEN,
}


class LetIn(Protocol):
    """Told of a charger that may be served, just before it learns so."""

    def __call__(self, connection: ChargerSocket, /, *, station_id: str, peer: str, translator: Translator) -> None: ...


class Door:
    def __init__(
        self,
        settings: GatewaySettings,
        *,
        credentials: Credentials,
        message_log: MessageLog,
        counts: Counter[str],
        translators: Mapping[str, Translator],
        let_in: LetIn,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._message_log = message_log
        self._counts = counts
        self._translators = translators
        self._let_in = let_in

    async def process_request(self, connection: ServerConnection, request: Request) -> Response:
        """The whole answer to a handshake. One that offers only versions we do not speak is completed without the header,
        and the caller closes it (T11): it was not let in."""
        assert isinstance(connection, ChargerSocket)
        settings, headers = self._settings, request.headers
        remote = (connection.remote_address or ("",))[0]
        encrypted = connection.transport.get_extra_info("ssl_object") is not None
        peer = handshake.peer(remote, encrypted, headers, settings.trusted_proxies)
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
        assumed = settings.assume_subprotocol_when_missing
        if not offered and assumed not in self._translators:
            spoken = ", ".join(self._translators)
            return refuse(HTTPStatus.BAD_REQUEST, f"Sec-WebSocket-Protocol is missing, offer {spoken}")
        refusal = await self._not_admitted(request, station_id, refuse)
        if refusal is not None:
            return refusal
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
        self._let_in(connection, station_id=station_id, peer=str(peer.address), translator=translator)
        return response

    def not_http(self, connection: ChargerSocket, status: int, reason: str) -> None:
        """What came is no request that the library would show us: a POST of SOAP, TLS on a plain port, noise."""
        peer = str((connection.remote_address or ("",))[0])
        self._note(HTTPStatus(status), reason, peer=peer, station_id="", path="", offered="")

    async def _not_admitted(
        self, request: Request, station_id: str, refuse: Callable[[HTTPStatus, str], Response]
    ) -> Response | None:
        try:
            async with asyncio.timeout(CREDENTIALS_TIMEOUT_S):
                known = await self._credentials.credentials(station_id)
        except Exception:
            log.exception("credentials_unavailable", station_id=station_id)
            return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "cannot tell who may connect")
        status = ADMISSION_REFUSED.get(known.admission)
        if status is not None:
            return refuse(status, f"{known.admission} station")
        wrong = _wrong_password(request, station_id, known.password_hash)
        if wrong is None:
            return None
        response = refuse(HTTPStatus.UNAUTHORIZED, wrong)
        response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
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


def _wrong_password(request: Request, station_id: str, password_hash: str | None) -> str | None:
    """What is wrong, or None. A user that is not the station of the path is refused even where no password is set (B11)."""
    presented = handshake.basic_credentials(request.headers)
    password = None if presented is None else handshake.password_of(presented, station_id)
    if presented is not None and password is None:
        return "the user is not the station of the path"
    if password_hash is None:
        return None
    if password is None:
        return "a password is required"
    return None if passwords.verify(password, password_hash) else "wrong password"
