"""One connected charger: its calls are answered in order, ours sent one at a time, and neither waits for the other (H02)."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import structlog

from csms.bus import (
    ConnectionClosed,
    ConnectionOpened,
    LoggedFrame,
    MessageLog,
    Presence,
    Report,
    StationCredentials,
)
from csms.commands import Answer, Command
from csms.events import Event, StationBooted
from csms.gateway import frames
from csms.gateway.answering import Answering
from csms.gateway.asking import Asking
from csms.gateway.charger_socket import ChargerSocket
from csms.gateway.frames import Call, Error, ErrorCode, Result, Unreadable
from csms.gateway.proof import Proof
from csms.gateway.quirks.applied import Applied, apply
from csms.gateway.quirks.catalogue import Quirks
from csms.gateway.redaction import TELL_NO_SECRET, redact
from csms.gateway.translator import CallRefused, Translator

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Answer)

MESSAGE_TOO_BIG, ABNORMAL = 1009, 1006

LONGEST_ID = 255  # characters of an id or an action that are written down


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What all links of a gateway share. `displace` is told of the sockets that a newer one replaces (T9)."""

    report: Report
    presence: Presence
    message_log: MessageLog
    call_timeout_s: float
    ping_interval_s: tuple[float, float]
    frames_per_s: int
    displace: Callable[["Link", "Link"], None]
    quirks: Quirks = field(default_factory=Quirks)
    counts: Counter[str] = field(default_factory=Counter)


class Link(Answering):
    """Lives as long as its socket. `opened` turns true with the first frame, or when the socket has outlived a probe: only
    then is anybody told of it, and only then are older sockets of the same station closed (X11)."""

    __slots__ = (
        "_asking",
        "_close_reason",
        "_leaving",
        "_quirks",
        "_reading",
        "_wake",
        "_wiring",
        "allowance",
        "connection_id",
        "last_frame_at",
        "last_life",
        "older",
        "opened",
        "opened_at",
        "peer",
        "ping_after_s",
        "pinged_at",
        "proof",
        "since",
    )

    def __init__(
        self, socket: ChargerSocket, wiring: Wiring, *, station_id: str, peer: str, translator: Translator, proof: Proof
    ) -> None:
        super().__init__(socket, wiring.report, station_id=station_id, translator=translator)
        self.proof = proof
        self.peer = peer
        self.connection_id = socket.id.hex
        self.opened = False
        self.opened_at = self.last_frame_at = datetime.now(UTC)
        self.since = self.last_life = time.monotonic()
        self.pinged_at = 0.0  # of the ping that is unanswered, else 0
        self.ping_after_s = random.uniform(*wiring.ping_interval_s)  # noqa: S311 - spreads load
        self.older: Link | None = None
        self.allowance = wiring.frames_per_s  # frames that are still read until it is renewed
        self._wiring = wiring
        self._wake: asyncio.Future[None] | None = None
        self._reading = True
        self._leaving: tuple[int, str] | None = None
        self._close_reason = ""
        self._asking: Asking | None = None  # few chargers are ever asked anything
        self._quirks: Applied | None = None  # most have none that acts

    # ---- the connection's life --------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Answers calls in their order until the socket is closed, then those that were already here."""
        try:
            self.begin()
            while True:
                if self.at_rest and self._leaving is not None:
                    self.close(*self._leaving)
                if self.at_rest and not self.socket.is_open:
                    return
                self._wake = asyncio.get_running_loop().create_future()
                try:
                    await self._wake
                finally:
                    self._wake = None
        finally:
            self.end()

    def notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def came_to_rest(self) -> None:
        if self._leaving is not None or not self.socket.is_open:
            self.notify()

    def read_on(self) -> None:
        read = not self.many_wait and self.allowance > 0 and self.socket.writable
        if read is not self._reading and not self.socket.transport.is_closing():
            self._reading = read
            (self.socket.transport.resume_reading if read else self.socket.transport.pause_reading)()

    def renew(self, allowance: int) -> None:
        spent, self.allowance = self.allowance <= 0, allowance
        if spent:
            self.read_on()

    def open(self) -> None:
        self.opened = True
        older, self.older = self.older, None
        self._wiring.presence.opened(
            ConnectionOpened(
                connection_id=self.connection_id,
                station_id=self.station_id,
                ocpp_version=self.translator.version,
                peer=self.peer,
                opened_at=self.opened_at,
                replaced=older.connection_id if older is not None and older.opened else None,
                security_profile=self.proof.profile,
                password=self.proof.password,
                certificate=self.proof.certificate,
            )
        )
        while older is not None:
            older.fail_command("displaced by a newer connection")
            self._wiring.displace(older, self)
            older.older, older = None, older.older

    def close(self, code: int, reason: str, *, drop: bool = False) -> None:
        """`drop`: calls that wait, and those still to come, are neither reported nor answered; the station sends them again
        on its next connection."""
        self.dropping = self.dropping or drop
        self._close_reason = self._close_reason or reason
        self.socket.close_now(code, reason)
        self.notify()

    def leave(self, code: int, reason: str) -> None:
        """Closes once the calls that are here have been answered."""
        self._leaving = (code, reason)
        self.notify()

    def abort(self, reason: str) -> None:
        self._close_reason = self._close_reason or reason
        self.socket.transport.abort()

    def ended(self) -> None:
        """The socket is closing or gone: whoever waits for this charger learns it."""
        self.fail_command("connection closed before the answer")
        sent, received = self.socket.protocol.close_sent, self.socket.protocol.close_rcvd
        if sent is not None and sent.code == MESSAGE_TOO_BIG:
            self._wiring.counts["too_big"] += 1
            log.warning("frame_too_big", station_id=self.station_id, peer=self.peer)
            self.record("in", "unreadable", "", "", sent.reason, result="malformed")
        if self.opened:
            close = received or sent
            self._wiring.presence.closed(
                ConnectionClosed(
                    connection_id=self.connection_id,
                    station_id=self.station_id,
                    closed_at=datetime.now(UTC),
                    last_frame_at=self.last_frame_at,
                    code=close.code if close is not None else ABNORMAL,
                    reason=self._close_reason or (close.reason if close is not None else ""),
                )
            )

    def recognise(self, station: StationCredentials | StationBooted) -> None:
        """What is known of its vendor, model and firmware applies from now on; a fix that did already keeps its memory."""
        of_its_kind = self._wiring.quirks.of(station.vendor, station.model, station.firmware_version)
        self._quirks = apply(of_its_kind, self._wiring.counts, self._quirks)
        if self._quirks is not None and not self._quirks.pings:
            self.ping_after_s, self.pinged_at = math.inf, 0.0

    # ---- from the charger -------------------------------------------------------------------------------------------

    def received(self, data: bytes | bytearray, /) -> None:
        if self.dropping:
            return
        self.allowance -= 1
        if self.allowance == 0:
            self.count("throttled")
            self.read_on()
        self.last_frame_at = now = datetime.now(UTC)
        if not self.opened:
            self.open()
        self._wiring.presence.seen(self.station_id, now)
        try:
            usual = self.translator.read_usual(data, self.station_id, now)
            if usual is not None:
                self._understood(*usual, _loggable(data), now)
                return
            frame = frames.parse(data)
            if type(frame) is Unreadable and self._quirks is not None:
                frame = self._quirks.reread(data, frame)
            text = _loggable(data)
            if type(frame) is Call:
                self._called(frame, text, now)
            elif type(frame) is Unreadable:
                self._not_understood(frame, text)
            elif isinstance(frame, Result | Error):
                self._answered(frame, text, now)
        except Exception:
            log.exception("frame_failed", station_id=self.station_id)  # ours to mend; the charger stays connected
            self.record("in", "unreadable", "", "", _loggable(data), result="malformed", at=now)

    def _called(self, call: Call, text: str, now: datetime) -> None:
        try:
            event = self.translator.read(call, self.station_id, now)
        except CallRefused as refused:
            self.count("malformed", action=call.action[:50], why=refused.description)
            self.record("in", "call", call.id, call.action, text, result="malformed", at=now)
            self.send_error(call.id, call.action, refused.code, refused.description)
            return
        self._understood(call.id, call.action, event, text, now)

    def _understood(self, message_id: frames.Json, action: str, event: Event[Any], text: str, now: datetime) -> None:
        result = "ok"
        if event.violations:
            self.count("violation", action=action, violations=event.violations)
            result = "violation"
        self.record("in", "call", message_id, action, text, result=result, at=now)
        if type(event) is StationBooted:
            self.recognise(event)
        told = event if self._quirks is None else self._quirks.event(event)
        self.called((message_id, action, told, time.perf_counter()))

    def _not_understood(self, frame: Unreadable, text: str) -> None:
        self.count("malformed", why=frame.reason)
        message_id = "" if frame.reply_to is None else frame.reply_to
        self.record("in", "unreadable", message_id, "", text, result="malformed")
        if frame.reply_to is not None:
            self.send_error(frame.reply_to, "", ErrorCode.FORMATION_VIOLATION, frame.reason)

    # ---- to the charger ---------------------------------------------------------------------------------------------

    async def call(self, command: Command[A], timeout_s: float) -> A:
        """Asks the charger; absence, silence and errors are outcomes."""
        if self._quirks is not None:
            command = cast(Command[A], self._quirks.command(command))
        if self._asking is None:
            self._asking = Asking(self, self._wiring.call_timeout_s)
        return await self._asking.call(command, timeout_s)

    def fail_command(self, detail: str) -> None:
        if self._asking is not None:
            self._asking.fail(detail)

    def _answered(self, frame: Result | Error, text: str, now: datetime) -> None:
        if self._asking is not None and self._asking.answered(frame, text, now):
            return
        self.count("unsolicited", message_id=frames.id_text(frame.id)[:50])
        kind = "result" if isinstance(frame, Result) else "error"
        self.record("in", kind, frame.id, "", text, result="unsolicited", at=now)

    # ---- what is written down ---------------------------------------------------------------------------------------

    def count(self, what: str, **fields: object) -> None:
        self._wiring.counts[what] += 1
        log.info(f"frame_{what}", station_id=self.station_id, **fields)

    def record(
        self,
        direction: str,
        message_type: str,
        message_id: frames.Json,
        action: str,
        text: str,
        *,
        result: str = "ok",
        latency_ms: float | None = None,
        at: datetime | None = None,
    ) -> None:
        known = type(message_id) is str and len(message_id) <= LONGEST_ID
        self._wiring.message_log.record(
            LoggedFrame(
                at=at or datetime.now(UTC),
                station_id=self.station_id,
                ocpp_version=self.translator.version,
                direction=direction,
                message_type=message_type,
                message_id=message_id if known else frames.id_text(message_id)[:LONGEST_ID],
                action=action[:LONGEST_ID],
                result=result,
                latency_ms=latency_ms,
                text=text if action in TELL_NO_SECRET else redact(text),
            )
        )


def _loggable(data: bytes | bytearray) -> str:
    text = data.decode("utf-8", "replace")
    return text.replace("\0", "\\u0000") if "\0" in text else text
