"""A charger's calls are reported one at a time and answered in their order, in callbacks: a task's turn for each would cost as
much as all else (H02)."""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any, Final, TypeAlias

import structlog

from csms.bus import Report, Told
from csms.events import Ack, BootReply, Event, MeterSampled, TransactionEnded, TransactionStarted
from csms.gateway import frames
from csms.gateway.charger_socket import ChargerSocket
from csms.gateway.frames import ErrorCode, Json
from csms.gateway.recording import Recording, ms_since
from csms.gateway.translator import Translator

log = structlog.get_logger(__name__)

MOST_WAITING = 64  # calls of one charger; beyond, its socket is not read (a charger that follows the spec has one)
FEW_WAITING = 16

POLICY_VIOLATION, INTERNAL_ERROR, SERVICE_RESTART = 1008, 1011, 1012

# A station keeps such a message until it is answered, and drops it after a few CALLERRORs (X01): if it is not stored, the
# socket closes instead.
KEPT_UNTIL_ANSWERED: Final = frozenset({TransactionStarted, MeterSampled, TransactionEnded})

NOTHING_NEW: Final = Told(Ack())

# A charger's call: its id, its action, what it says (None: it only repeats another, and a quirk's fix dropped it), and when
# it came.
Call: TypeAlias = tuple[Json, str, Event[Any] | None, float]


class Answering(Recording, ABC):
    """The part of a link that answers. `busy_since` is the moment of the report that is awaited, else 0; `dropping`: calls
    are neither reported nor answered any more."""

    __slots__ = (
        "_awaited",
        "_calls",
        "_free",
        "_report_to",
        "_told",
        "busy_since",
        "dropping",
        "overdue",
        "socket",
        "station_id",
        "translator",
    )

    def __init__(self, socket: ChargerSocket, report: Report, *, station_id: str, translator: Translator) -> None:
        self.socket = socket
        self.station_id = station_id
        self.translator = translator
        self.busy_since = 0.0
        self.overdue = False
        self.dropping = False
        self._report_to = report
        self._calls: list[Call] = []
        self._free = False  # calls are reported as they come: it is served, and no report is awaited
        self._awaited: asyncio.Future[Any] | None = None
        self._told: Call | None = None  # whose report is awaited

    @abstractmethod
    def close(self, code: int, reason: str, *, drop: bool = False) -> None: ...

    @abstractmethod
    def read_on(self) -> None:
        """Fewer or more calls wait: decide anew whether to read."""

    @abstractmethod
    def came_to_rest(self) -> None:
        """No call waits."""

    @property
    def at_rest(self) -> bool:
        return self._awaited is None and (self.dropping or not self._calls)

    @property
    def many_wait(self) -> bool:
        return len(self._calls) >= MOST_WAITING

    def begin(self) -> None:
        """From now on calls are reported, first those that are here."""
        self._free = True
        self._report_next()

    def end(self) -> None:
        """Nobody waits for an answer any more."""
        self._free, self.dropping = False, True
        self._calls.clear()
        if self._awaited is not None:
            self._awaited.cancel()

    def give_up(self) -> None:
        """The report that is awaited takes too long."""
        if self._awaited is not None:
            self.overdue = True
            self._awaited.cancel()

    def called(self, call: Call) -> None:
        if self._free:
            self._report(call)
            return
        self._calls.append(call)
        if self.many_wait:
            self.read_on()

    def send_error(
        self, message_id: Json, action: str, code: ErrorCode, description: str, since: float | None = None
    ) -> None:
        answer = frames.error(message_id, code, description)
        self.socket.write(answer)
        latency_ms = None if since is None else ms_since(since)
        self.record("out", "error", message_id, action, answer.decode(), result="rejected", latency_ms=latency_ms)

    def _report(self, call: Call) -> None:
        event = call[2]
        try:
            reply = NOTHING_NEW if event is None else self._report_to(event)
        except Exception as error:
            self._not_stored(call, error)
            return
        if type(reply) is Told:
            self._answer(call, reply.reply)
            return
        self._free, self._told, self.busy_since = False, call, time.monotonic()
        self._awaited = reply if isinstance(reply, asyncio.Future) else asyncio.ensure_future(reply)
        self._awaited.add_done_callback(self._reported)

    def _reported(self, reply: asyncio.Future[Any]) -> None:
        call, self._told, self._awaited, self.busy_since = self._told, None, None, 0.0
        assert call is not None
        if reply.cancelled():
            self._not_in_time(call)
        elif (error := reply.exception()) is not None:
            self._not_stored(call, error)
        else:
            self._answer(call, reply.result())
        self._free = True
        self._report_next()

    def _report_next(self) -> None:
        while self._calls and self._free and not self.dropping:
            self._report(self._calls.pop(0))
            if len(self._calls) <= FEW_WAITING:
                self.read_on()
        if self._free:
            self.came_to_rest()

    def _answer(self, call: Call, reply: Any) -> None:
        message_id, action, _, since = call
        try:
            answer = frames.result(message_id, self.translator.reply(action, reply))
        except Exception:
            log.exception("answer_failed", station_id=self.station_id, action=action)  # ours to mend
            self.close(INTERNAL_ERROR, "", drop=True)
            return
        self.socket.write(answer)
        self.record("out", "result", message_id, action, answer.decode(), latency_ms=ms_since(since))
        if type(reply) is BootReply and reply.close:
            self.close(POLICY_VIOLATION, "rejected", drop=True)

    def _not_in_time(self, call: Call) -> None:
        if not self.dropping:
            log.error("report_overdue", station_id=self.station_id, action=call[1])
            self.close(SERVICE_RESTART, "no answer in time, send it again", drop=True)

    def _not_stored(self, call: Call, error: BaseException) -> None:
        message_id, action, event, since = call
        event_id = "" if event is None else event.event_id
        log.error("event_not_stored", station_id=self.station_id, action=action, event_id=event_id, exc_info=error)
        if type(event) in KEPT_UNTIL_ANSWERED:
            self.close(SERVICE_RESTART, "not stored, send it again", drop=True)
        else:
            self.send_error(message_id, action, ErrorCode.INTERNAL_ERROR, "not stored", since)
