"""OCPP 1.6-J and the internal vocabularies say the same things: frames in become events, commands become frames out."""

from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec
import orjson
import structlog

from csms.commands import Answer, Command, Outcome, answer_to
from csms.events import Event
from csms.gateway.frames import Call, ErrorCode, Json
from csms.gateway.ocpp16.inbound import INBOUND, VERSION, Inbound, Source
from csms.gateway.ocpp16.outbound import OUTBOUND
from csms.gateway.ocpp16.outcomes import REFUSED_BY_CODE
from csms.gateway.ocpp16.salvage import LONGEST_TEXT, mend, without_nul
from csms.gateway.ocpp16.schemas import MOST_VIOLATIONS, Schema, actions, error_code
from csms.gateway.ocpp16.usual import Usual
from csms.gateway.translator import CallRefused, CommandUnfit

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Answer)

_ID_TOKENS = frozenset({"idTag"})  # kept as the charger sent them; the core strips and compares (D03)


class Ocpp16:
    version = VERSION

    def __init__(self) -> None:
        self._actions = actions()
        self._usual = Usual()
        self._inbound = {action: (Schema(action), row) for action, row in INBOUND.items()}
        self._outbound = {command: (Schema(row.action), row) for command, row in OUTBOUND.items()}

    def read(self, call: Call, station_id: str, received_at: datetime) -> Event[Any]:
        known = self._inbound.get(call.action)
        if known is None:
            raise self._unknown(call.action)
        schema, row = known
        source = Source(station_id, received_at, [*call.faults])
        payload = call.payload
        try:
            if call.nul:
                payload = without_nul(payload, keep=_ID_TOKENS)
            if not schema.is_valid(payload):
                source.notes.extend(schema.violations(payload))
                payload = mend(payload, row.fields)
            event = row.event(payload, source)
        except CallRefused as refused:
            raise CallRefused(error_code(source.notes) if source.notes else refused.code, str(refused)) from None
        except Exception:
            # Our own mistake must not cost a transaction: the evidence is stored, the reading can be done again.
            log.exception("payload_not_read", station_id=station_id, action=call.action)
            event = self._nothing_readable(row, source)
        return event if not source.notes else _with_violations(event, call.payload, source.notes)

    def read_usual(
        self, data: bytes | bytearray, station_id: str, received_at: datetime
    ) -> tuple[str, str, Event[Any]] | None:
        return self._usual.read(data, station_id, received_at)

    def reply(self, action: str, reply: Any, /) -> Json:
        return INBOUND[action].reply(reply)

    def request(self, command: Command[Any], /) -> tuple[str, Json]:
        known = self._outbound.get(type(command))
        if known is None:
            raise CommandUnfit(answer_to(command, Outcome.NOT_SUPPORTED, "OCPP 1.6 has no such message"))
        schema, row = known
        try:
            payload = row.payload(command)
        except ValueError as error:
            raise CommandUnfit(answer_to(command, Outcome.FAILED, f"cannot be said in OCPP 1.6: {error}")) from None
        if not schema.is_valid(payload):
            broken = ", ".join(schema.violations(payload))
            raise CommandUnfit(answer_to(command, Outcome.FAILED, f"cannot be said in OCPP 1.6: {broken}"))
        return row.action, payload

    def answer(self, command: Command[A], payload: Json, /) -> A:
        return cast(A, OUTBOUND[type(command)].answer(payload))

    def failure(self, command: Command[A], code: str, description: str, /) -> A:
        outcome = REFUSED_BY_CODE.get(code, Outcome.FAILED)
        return answer_to(command, outcome, f"{code} {description}".strip()[:LONGEST_TEXT])

    def _unknown(self, action: str) -> CallRefused:
        if action in self._actions:
            return CallRefused(ErrorCode.NOT_SUPPORTED, f"{action} is not taken here")
        return CallRefused(ErrorCode.NOT_IMPLEMENTED, "unknown action")

    def _nothing_readable(self, row: Inbound, source: Source) -> Event[Any]:
        if not row.of_transaction:
            raise CallRefused(ErrorCode.FORMATION_VIOLATION, "the payload cannot be read") from None
        source.note("payload:unreadable")
        return row.event({}, source)


def _with_violations(event: Event[Any], payload: Json, notes: list[str]) -> Event[Any]:
    try:
        raw = orjson.dumps(payload).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        raw = ""
    return msgspec.structs.replace(event, violations=tuple(notes[:MOST_VIOLATIONS]), raw=raw)
