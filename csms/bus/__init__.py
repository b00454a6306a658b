"""The seam between gateway and core: all that crosses it, so that a broker has an obvious place."""

from collections.abc import Awaitable, Generator
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from csms.commands import Answer, Command
from csms.events import Event

R = TypeVar("R")
A = TypeVar("A", bound=Answer)


class Told(Generic[R]):
    """A reply that is known at once: nobody who awaits it waits, and who cannot await takes `reply`."""

    __slots__ = ("reply",)

    def __init__(self, reply: R) -> None:
        self.reply = reply

    def __await__(self) -> Generator[Any, None, R]:
        yield from ()
        return self.reply


class Report(Protocol):
    """The only way in from chargers. What it returns is done after the commit that holds the event, and raises only when it
    is not stored. A Told or a Future costs least; whatever else can be awaited will do."""

    def __call__(self, event: Event[R], /) -> Awaitable[R]: ...


class Send(Protocol):
    """The only way out to chargers. Never raises for the charger's sake: absence, silence and errors are outcomes.

    `timeout_s` covers the whole wait, the queue before the socket included.
    """

    def __call__(self, command: Command[A], /, *, timeout_s: float) -> Awaitable[A]: ...


class NotTaken(Exception):
    """The core could not handle the event: it is among the dead letters, and sending it again would not help."""


class Admission(StrEnum):
    KNOWN = "known"  # provisioned or adopted: serve it
    PENDING = "pending"  # a stranger who may wait for adoption: its Boot is answered Pending
    UNKNOWN = "unknown"  # answer 404: strangers are rejected by policy, or too many wait already
    REFUSED = "refused"  # an operator refused it: answer 403


class StationCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """`password_hash` None: no password was set, plain access is the network's decision. `next_password_hash`: a password
    the station was given and has not used yet; both are good until then (X15). `least_profile`: the least security profile
    that is served, 0 to 3. `revoked`: SHA-256 fingerprints in hex of certificates that name it and count no more. `vendor`,
    `model`, `serial_number`, `firmware_version`: what it said at its last Boot that was not rejected, empty where nothing.
    `heartbeat_interval_s`: what it is told at a Boot that is accepted."""

    admission: Admission
    password_hash: str | None = None
    next_password_hash: str | None = None
    least_profile: int = 0
    revoked: frozenset[str] = frozenset()
    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware_version: str = ""
    heartbeat_interval_s: int = 300


class Credentials(Protocol):
    """Who may connect. `station_id` is the identity in the URL, percent-decoded, case kept."""

    async def credentials(self, station_id: str, /) -> StationCredentials: ...


class ConnectionOpened(msgspec.Struct, frozen=True, kw_only=True):
    """`connection_id` unique per socket; `peer` is the charger's address (a trusted proxy's X-Forwarded-For counted).
    `security_profile`: what the station proved, 0 to 3; `password`: by which of its two passwords, "current" or "next"; None
    where it needed none; `certificate`: SHA-256 fingerprint in hex of the client certificate that it proved it with.
    `news_id`: of this news, which a bus may tell more than once; empty where it is told once."""

    connection_id: str
    station_id: str
    ocpp_version: str
    peer: str
    opened_at: datetime
    replaced: str | None = None  # connection_id of the older socket that this one displaced (T9)
    security_profile: int | None = None
    password: Literal["current", "next"] | None = None
    certificate: str | None = None
    news_id: str = ""


class ConnectionClosed(msgspec.Struct, frozen=True, kw_only=True):
    """`last_frame_at` None: whoever knew it died; the station was last seen when it was. `news_id` as of ConnectionOpened."""

    connection_id: str
    station_id: str
    closed_at: datetime
    last_frame_at: datetime | None = None
    code: int | None = None
    reason: str = ""
    news_id: str = ""


class Presence(Protocol):
    """Who is connected. None of these may block a charger: the core writes them in its own batches."""

    def opened(self, connection: ConnectionOpened, /) -> None: ...

    def duplicate(self, station_id: str, older: str, newer: str, /) -> None:
        """Both sockets of one identity answered: `older` and `newer` are connection ids (T9, B13)."""
        ...

    def seen(self, station_id: str, at: datetime, /) -> None:
        """Any frame came in; called per frame, must cost next to nothing (T8, C02)."""
        ...

    def closed(self, connection: ConnectionClosed, /) -> None: ...


class LoggedFrame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the message log (A04). `direction`: "in" from the charger, "out" to it. `message_type`: "call", "result",
    "error" or "unreadable". `result`: "ok", "rejected" (CALLERROR sent or received), "timeout", "malformed", "violation",
    "unsolicited", "refused" (a connection refused before any frame). `latency_ms`: on an answer, the time since its call.
    `text` is the frame as it crossed the wire, with secrets redacted, cut at the frame cap."""

    at: datetime
    station_id: str
    ocpp_version: str
    direction: str
    message_type: str
    message_id: str = ""
    action: str = ""
    result: str = "ok"
    latency_ms: float | None = None
    text: str = ""


class MessageLog(Protocol):
    def record(self, frame: LoggedFrame, /) -> None:
        """Takes the row and returns at once; rows are written in batches and never block a charger."""
        ...
