"""Requests somebody waits on: a receipt before anything is sent, an outcome whatever happens, and what follows from it."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, func, insert, select, update

from csms.bus import Send
from csms.commands import Answer, AnyCommand, Command, Outcome, StartRemotely
from csms.database import Database
from csms.journal import Fact, FactType, Wake, append
from csms.models import RemoteRequest, Token
from csms.tokens import normalize

log = structlog.get_logger(__name__)

NO_SHOW_S = 30  # R03
WIRE_TAG_LENGTH = 20  # what every OCPP version can carry (decision 2)
GRACE_S = 10.0  # after its deadline a request without an outcome was lost with its process

STATE: dict[Outcome, str] = {
    Outcome.ACCEPTED: "accepted",
    Outcome.SCHEDULED: "accepted",
    Outcome.REBOOT_REQUIRED: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.NOT_SUPPORTED: "rejected",
    Outcome.OFFLINE: "offline",
    Outcome.TIMEOUT: "timed_out",
    Outcome.FAILED: "failed",
}


def enqueue(
    connection: Connection,
    command: Command[Any],
    *,
    requested_by: str,
    now: datetime,
    timeout_s: float,
    state: str = "queued",
    token_id: int | None = None,
    authorization_reference: str | None = None,
) -> str:
    """Store the receipt; a service that reads "queued" ones will send it. Returns the request's id."""
    request_id = str(uuid.uuid4())
    connection.execute(
        insert(RemoteRequest).values(
            id=request_id,
            kind=_kind(command),
            station_id=command.station_id,
            evse=getattr(command, "evse", None),
            command=msgspec.to_builtins(command),
            state=state,
            requested_by=requested_by,
            token_id=token_id,
            tag_key=normalize(command.id_token) if isinstance(command, StartRemotely) else None,
            authorization_reference=authorization_reference,
            created_at=now,
            deadline_at=now + timedelta(seconds=timeout_s),
        )
    )
    return request_id


def tag_for(connection: Connection, token: Any) -> str:
    """What to send as id_token for this card: its uid where it fits the wire and is nobody else's, else a minted tag that
    only its request knows (decision 2, CM-26)."""
    same = select(func.count()).select_from(Token).where(Token.uid_key == token.uid_key)
    unambiguous = connection.execute(same).scalar_one() <= 1
    fits = 0 < len(token.uid.strip()) == len(token.uid) <= WIRE_TAG_LENGTH
    if unambiguous and fits and token.uid.isascii() and token.uid.isprintable():
        return str(token.uid)
    return f"RB{uuid.uuid4().hex[:18].upper()}"


class RemoteControl:
    """Sends what was asked, each request in a task of its own."""

    def __init__(
        self, database: Database, *, send: Send, wake: Wake, clock: Callable[[], datetime], poll_s: float = 0.25
    ) -> None:
        self._database = database
        self._send = send
        self._wake = wake
        self._clock = clock
        self._poll_s = poll_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(
        self,
        command: Command[Any],
        *,
        requested_by: str,
        token_id: int | None = None,
        authorization_reference: str | None = None,
        timeout_s: float = 30.0,
        also: Callable[[Connection, str], None] | None = None,
    ) -> str:
        """Store the receipt, and whatever `also(connection, request_id)` writes with it, in one transaction; return its id
        at once. The command is sent afterwards; the outcome goes to the row and the journal."""

        def store() -> str:
            with self._database.write() as connection:
                request_id = enqueue(
                    connection,
                    command,
                    requested_by=requested_by,
                    now=self._clock(),
                    timeout_s=timeout_s,
                    state="sent",
                    token_id=token_id,
                    authorization_reference=authorization_reference,
                )
                if also is not None:
                    also(connection, request_id)
                return request_id

        request_id = await asyncio.to_thread(store)
        self._start(request_id, command, timeout_s)
        return request_id

    async def run(self) -> None:
        """Sends what other processes queued, until cancelled."""
        while True:
            for request_id, command, timeout_s in await asyncio.to_thread(self._take_queued):
                self._start(request_id, command, timeout_s)
            await asyncio.sleep(self._poll_s)

    async def stop(self) -> None:
        """Ends the waits; their requests are settled by the watch rule after their deadline."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, request_id: str, command: Command[Any], timeout_s: float) -> None:
        task = asyncio.create_task(self._carry(request_id, command, timeout_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, request_id: str, command: Command[Any], timeout_s: float) -> None:
        try:
            answer: Answer = await self._send(command, timeout_s=timeout_s)
        except Exception as error:  # a bug must not leave somebody waiting
            log.exception("send_failed", station_id=command.station_id, request_id=request_id)
            answer = Answer(outcome=Outcome.FAILED, detail=type(error).__name__)
        try:
            await asyncio.to_thread(self._settle, request_id, command, answer)
        except Exception:  # the watch rule settles it after its deadline
            log.exception("outcome_not_stored", station_id=command.station_id, request_id=request_id)
        self._wake()

    def _settle(self, request_id: str, command: Command[Any], answer: Answer) -> None:
        now = self._clock()
        state = STATE[answer.outcome]
        starts = isinstance(command, StartRemotely) and state == "accepted"
        with self._database.write() as connection:
            row = RemoteRequest
            settled = {
                "outcome": answer.outcome.value,
                "detail": answer.detail,
                "answer": msgspec.to_builtins(answer),
                "start_by": now + timedelta(seconds=NO_SHOW_S) if starts else None,
                "finished_at": now,
            }
            connection.execute(update(row).where(row.id == request_id).values(**settled))
            unclaimed = (row.id == request_id, row.transaction_id.is_(None))  # its transaction may have been faster
            connection.execute(update(row).where(*unclaimed).values(state=state))
            append(connection, [_outcome_fact(request_id, command.station_id, _kind(command), answer.outcome)], now=now)

    def _take_queued(self) -> list[tuple[str, Command[Any], float]]:
        row = RemoteRequest
        now = self._clock()
        with self._database.read() as connection:
            if connection.execute(select(row.id).where(row.state == "queued").limit(1)).scalar() is None:
                return []
        with self._database.write() as connection:
            taken = connection.execute(
                update(row)
                .where(row.state == "queued", row.deadline_at > now)
                .values(state="sent")
                .returning(row.id, row.command, row.deadline_at)
            ).all()
        found = [(id_, self._read(id_, told), (until - now).total_seconds()) for id_, told, until in taken]
        return [(id_, command, timeout_s) for id_, command, timeout_s in found if command is not None]

    def _read(self, request_id: str, told: Any) -> Command[Any] | None:
        """None for what a newer version queued: it is settled as failed, and holds up nothing behind it."""
        try:
            command: Command[Any] = msgspec.convert(told, AnyCommand)
            return command
        except msgspec.ValidationError as error:
            log.warning("request_unreadable", request_id=request_id, error=str(error))
            failed = {"state": "failed", "outcome": Outcome.FAILED.value, "detail": str(error)}
            with self._database.write() as connection:
                row = RemoteRequest
                settled = update(row).where(row.id == request_id).values(**failed, finished_at=self._clock())
                station_id, kind = connection.execute(settled.returning(row.station_id, row.kind)).one()
                append(connection, [_outcome_fact(request_id, station_id, kind, Outcome.FAILED)], now=self._clock())
            return None


# ---- what time decides (watch rules) --------------------------------------------------------------------------------


def settle_lost(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Requests whose process died before an outcome: nobody will answer them any more."""
    row = RemoteRequest
    lost = connection.execute(
        update(row)
        .where(row.state.in_(("queued", "sent")), row.deadline_at < now - timedelta(seconds=GRACE_S))
        .values(state="timed_out", outcome=Outcome.TIMEOUT.value, finished_at=now)
        .returning(row.id, row.station_id, row.kind)
    ).all()
    return [_outcome_fact(*request, Outcome.TIMEOUT) for request in lost]


def no_shows(connection: Connection, now: datetime) -> Sequence[Fact]:
    """R03: accepted, and no transaction came in time. One that comes later still finds its request."""
    row = RemoteRequest
    missed = connection.execute(
        update(row)
        .where(row.state == "accepted", row.start_by <= now, row.transaction_id.is_(None))
        .values(state="no_start")
        .returning(row.id, row.station_id)
    ).all()
    return [
        Fact(type=FactType.REMOTE_START_UNANSWERED, subject=request_id, station_id=station_id)
        for request_id, station_id in missed
    ]


def _kind(command: Command[Any]) -> str:
    return str(type(command).__struct_config__.tag)


def _outcome_fact(request_id: str, station_id: str, kind: str, outcome: Outcome) -> Fact:
    data = {"outcome": outcome.value, "kind": kind}
    return Fact(type=FactType.REMOTE_OUTCOME, subject=request_id, station_id=station_id, data=data)
