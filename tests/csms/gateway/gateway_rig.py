"""A gateway on a real socket, with a core that only remembers what it was told and says what the test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from csms import events
from csms.bus import Admission, ConnectionClosed, ConnectionOpened, LoggedFrame, StationCredentials
from csms.gateway.connections import Connections
from csms.gateway.server import Gateway, GatewaySettings

NOON = datetime(2025, 6, 1, 12, 0, 0, 123000, tzinfo=UTC)
ACCEPTED = events.AuthorizationReply(status=events.AuthorizationStatus.ACCEPTED)
REPLIES: dict[type, Any] = {
    events.StationBooted: events.BootReply(
        status=events.RegistrationStatus.ACCEPTED, current_time=NOON, interval_s=300
    ),
    events.HeartbeatReceived: events.HeartbeatReply(NOON),
    events.IdTokenPresented: ACCEPTED,
    events.TransactionStarted: events.StartReply(transaction_id=4711, authorization=ACCEPTED),
    events.TransactionEnded: events.EndReply(authorization=ACCEPTED),
    events.VendorDataReceived: events.VendorDataReply(status=events.VendorDataStatus.UNKNOWN_VENDOR),
    events.CertificateRequested: events.CertificateReply(True),
}


class Core:
    """`answer` may be replaced: it gets the event and gives the reply, or raises."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.replies = dict(REPLIES)
        self.answer: Callable[[Any], Awaitable[Any]] | None = None

    async def report(self, event: Any) -> Any:
        self.events.append(event)
        if self.answer is not None:
            return await self.answer(event)
        return self.replies.get(type(event), events.Ack())


class Stations:
    def __init__(self) -> None:
        self.known: dict[str, StationCredentials] = {}
        self.else_ = StationCredentials(admission=Admission.KNOWN)

    async def credentials(self, station_id: str) -> StationCredentials:
        return self.known.get(station_id, self.else_)


class PresenceLog:
    def __init__(self) -> None:
        self.story: list[Any] = []
        self.seen_at: list[tuple[str, datetime]] = []

    def opened(self, connection: ConnectionOpened) -> None:
        self.story.append(connection)

    def duplicate(self, station_id: str, older: str, newer: str) -> None:
        self.story.append(("duplicate", station_id, older, newer))

    def seen(self, station_id: str, at: datetime) -> None:
        self.seen_at.append((station_id, at))

    def closed(self, connection: ConnectionClosed) -> None:
        self.story.append(connection)

    def of(self, kind: type) -> list[Any]:
        return [entry for entry in self.story if isinstance(entry, kind)]


class FrameLog:
    def __init__(self) -> None:
        self.rows: list[LoggedFrame] = []

    def record(self, frame: LoggedFrame) -> None:
        self.rows.append(frame)

    def having(self, **fields: Any) -> list[LoggedFrame]:
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in fields.items())]


class Rig:
    def __init__(self) -> None:
        self.core = Core()
        self.stations = Stations()
        self.presence = PresenceLog()
        self.frames = FrameLog()
        self.connections = Connections()
        self.gateway: Gateway

    @property
    def port(self) -> int:
        return self.gateway.port

    def url(self, path: str = "CP1") -> str:
        return f"ws://127.0.0.1:{self.port}/ocpp/{path}"

    def charger(self, path: str = "CP1", **options: Any) -> connect:
        options = {
            "subprotocols": ["ocpp1.6"],
            "compression": None,
            "ping_interval": None,
            "open_timeout": 10,
        } | options
        return connect(options.pop("url", None) or self.url(path), **options)


@asynccontextmanager
async def gateway_running(
    rig: Rig | None = None, *, versions: Any = None, quirks: Any = None, **settings: Any
) -> AsyncIterator[Rig]:
    rig = rig or Rig()
    options = {} if versions is None else {"versions": versions}
    rig.gateway = Gateway(
        settings=replace(GatewaySettings(host="127.0.0.1", port=0), **settings),
        connections=rig.connections,
        report=rig.core.report,
        credentials=rig.stations,
        presence=rig.presence,
        message_log=rig.frames,
        quirks=quirks,
        **options,
    )
    await rig.gateway.start()
    try:
        yield rig
    finally:
        async with asyncio.timeout(30):
            await rig.gateway.stop()


async def send(charger: ClientConnection, frame: Any) -> None:
    await charger.send(frame if isinstance(frame, str | bytes) else orjson.dumps(frame).decode())


async def receive(charger: ClientConnection) -> Any:
    async with asyncio.timeout(30):
        return orjson.loads(await charger.recv())


async def ask(charger: ClientConnection, frame: Any) -> Any:
    """Sends a frame, parsed or as text, and gives the frame that comes back, parsed."""
    await send(charger, frame)
    return await receive(charger)


async def until(condition: Callable[[], Any]) -> None:
    """Waits for what another task is about to do."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
