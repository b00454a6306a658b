"""What we ask of one charger goes out one call at a time, first in first out, and nobody waits past a deadline (X08)."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec
import orjson
import structlog

from csms.commands import Answer, ChangeConfiguration, Command, Outcome, answer_to
from csms.gateway import frames
from csms.gateway.charger_socket import ChargerSocket
from csms.gateway.frames import Error, Json, Result
from csms.gateway.recording import Recording, ms_since
from csms.gateway.redaction import REDACTED
from csms.gateway.translator import CommandUnfit, Translator
from csms.secret_settings import is_secret

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Answer)

LEAST_SECRET = 4  # characters: what is shorter stands everywhere


class Line(Recording, Protocol):
    """The link to the charger, as far as asking needs it."""

    station_id: str
    socket: ChargerSocket
    translator: Translator

    def count(self, what: str, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """The call of ours that the charger has not answered."""

    message_id: str
    action: str
    command: Command[Any]
    answer: asyncio.Future[Any]
    sent_at: float


class Asking:
    def __init__(self, line: Line, call_timeout_s: float) -> None:
        self._line = line
        self._call_timeout_s = call_timeout_s
        self._turn = asyncio.Lock()  # wakes its waiters in their order
        self._pending: Pending | None = None

    async def call(self, command: Command[A], timeout_s: float) -> A:
        """Waits for its turn, sends, waits for the answer; `timeout_s` is for all of it."""
        line = self._line
        try:
            action, payload = line.translator.request(command)
        except CommandUnfit as unfit:
            log.warning("command_unfit", station_id=line.station_id, detail=unfit.answer.detail)
            return unfit.answer  # type: ignore[return-value]  # of the kind that this command has
        sent = False
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                if not line.socket.is_open:
                    return answer_to(command, Outcome.OFFLINE, "disconnected before it was sent")
                sent = True
                return await self._exchange(command, action, payload)
        except TimeoutError:
            detail = "no answer" if sent else "not sent: an earlier call was unanswered"
            return answer_to(command, Outcome.TIMEOUT, detail)

    def answered(self, frame: Result | Error, text: str, now: datetime) -> bool:
        """False when nobody asked: no such call, or it was given up (H05)."""
        pending, line = self._pending, self._line
        if pending is None or frames.id_text(frame.id) != pending.message_id or pending.answer.done():
            return False
        if isinstance(frame, Error):
            kind, result = "error", "rejected"
            answer = line.translator.failure(pending.command, frame.code, frame.description)
        else:
            answer = line.translator.answer(pending.command, frame.payload)
            kind, result = "result", "violation" if answer.outcome is Outcome.FAILED else "ok"
        for secret in secrets_of(pending.command):  # some write what they were sent into their refusal
            text = text.replace(secret, REDACTED)
            answer = msgspec.structs.replace(answer, detail=answer.detail.replace(secret, REDACTED))
        latency_ms = ms_since(pending.sent_at)
        line.record("in", kind, frame.id, pending.action, text, result=result, latency_ms=latency_ms, at=now)
        pending.answer.set_result(answer)
        return True

    def fail(self, detail: str) -> None:
        """The connection is lost to us: whoever waits for its answer learns it now."""
        pending = self._pending
        if pending is not None and not pending.answer.done():
            pending.answer.set_result(answer_to(pending.command, Outcome.FAILED, detail))

    async def _exchange(self, command: Command[A], action: str, payload: Json) -> A:
        line = self._line
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        pending = Pending(uuid.uuid4().hex, action, command, answer, time.perf_counter())
        frame = frames.call(pending.message_id, action, payload)
        self._pending = pending
        line.socket.write(frame)
        line.record("out", "call", pending.message_id, action, frame.decode())
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await answer
        finally:
            self._pending = None
            if answer.cancelled():
                line.count("timeout", action=action)
                waited = ms_since(pending.sent_at)
                line.record("in", "result", pending.message_id, action, "", result="timeout", latency_ms=waited)


def secrets_of(command: Command[Any]) -> Sequence[str]:
    """How the secret in a command may stand in a frame."""
    if not isinstance(command, ChangeConfiguration) or not is_secret(command.key) or len(command.value) < LEAST_SECRET:
        return ()
    return (orjson.dumps(command.value)[1:-1].decode(), command.value, command.value.encode().hex())
