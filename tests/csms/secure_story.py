"""A core whose gateway speaks TLS and signs what stations ask for, and a charger that keeps its own key, made of websockets
and cryptography only."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.headers import build_authorization_basic

from csms import certificates
from csms.certificates import Signing
from csms.database import Database
from csms.gateway.server import Gateway, GatewaySettings
from csms.journal import FactType, Subscriber, Wake
from csms.sealing import Vault
from tests.csms import pki
from tests.csms.gateway_and_core import Live, NoLog

VAULT = Vault("a key that only the tests have")


class Secure(Live):
    """Its clock is ours: certificates are judged by the time of this machine."""

    def __init__(self, database: Database, folder: Path, *, demanded: str | None = None) -> None:
        super().__init__(database, vault=VAULT)
        self.now = datetime.now(UTC)
        self.folder = folder
        self.cert, key = pki.gateway().files(folder)
        self.gateway = Gateway(
            settings=GatewaySettings(host="127.0.0.1", port=0, tls_cert=self.cert, tls_key=key),
            connections=self.connections,
            report=self.csms.report,
            credentials=self.csms.stations,
            presence=self.csms.stations,
            message_log=NoLog(),
        )
        signing = Signing(VAULT, organization="Example Charging", demanded=demanded, clock=lambda: self.now)
        self.signing = Subscriber(
            "certificates",
            database,
            signing.handle,
            wake=Wake(),
            types=[FactType.CERTIFICATE_REQUESTED],
            then=self.trust,
            poll_s=0.02,
            gather_s=0.0,
        )

    def trust(self) -> None:
        with self.database.read() as connection:
            for root in certificates.roots(connection):
                self.gateway.trust(root)

    def verb(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self.database.write() as connection:
            return verb(connection, *arguments, requested_by="cli:test", now=self.now, **named)


@asynccontextmanager
async def secure(database: Database, folder: Path, **options: Any) -> AsyncIterator[Secure]:
    story = Secure(database, folder, **options)
    running = [asyncio.create_task(run()) for run in (story.csms.run, story.csms.remote.run, story.signing.run)]
    await story.gateway.start()
    try:
        yield story
    finally:
        await story.gateway.stop()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await story.csms.remote.stop()
        await story.csms.close()


class Charger:
    """Connects with what it holds: a password, a key and its certificate, or nothing."""

    def __init__(self, story: Secure, station_id: str = "CP1", *, password: str | None = None) -> None:
        self.story = story
        self.station_id = station_id
        self.password = password
        self.key: Any = None
        self.certificate: str | None = None
        self.socket: ClientConnection
        self._numbers = iter(range(1, 1000))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Charger"]:
        """Counts as connected once it has spoken and was heard."""
        context = ssl.create_default_context(cafile=self.story.cert)
        if self.certificate is not None:
            cert, key = self.story.folder / "station.crt", self.story.folder / "station.key"
            cert.write_text(self.certificate)
            key.write_bytes(pki.key_pem(self.key))
            context.load_cert_chain(cert, key)
        headers = {}
        if self.password is not None:
            headers["Authorization"] = build_authorization_basic(self.station_id, self.password)
        url = f"wss://127.0.0.1:{self.story.gateway.port}/ocpp/{self.station_id}"
        options: dict[str, Any] = {"subprotocols": ["ocpp1.6"], "additional_headers": headers, "ping_interval": None}
        async with connect(url, ssl=context, **options) as self.socket:
            await self.say("StatusNotification", connectorId=0, errorCode="NoError", status="Available")
            yield self

    async def refused(self) -> int:
        """The status of the answer to its handshake."""
        try:
            async with self.connected():
                return 101
        except InvalidStatus as refusal:
            return refusal.response.status_code

    async def say(self, action: str, **payload: Any) -> Any:
        await self.socket.send(orjson.dumps([2, str(next(self._numbers)), action, payload]).decode())
        kind, _, answer = await self._receive()
        assert kind == 3, answer
        return answer

    async def hear(self, action: str) -> tuple[str, dict[str, Any]]:
        """The id and the payload of what it is asked next."""
        kind, id_, asked, payload = await self._receive()
        assert (kind, asked) == (2, action)
        return id_, payload

    async def answer(self, id_: str, **payload: Any) -> None:
        await self.socket.send(orjson.dumps([3, id_, payload]).decode())

    async def _receive(self) -> Any:
        async with asyncio.timeout(30):
            return orjson.loads(await self.socket.recv())
