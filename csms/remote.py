"""Requests somebody waits on: a receipt before anything is sent, an outcome whatever happens, and what follows from it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
import structlog
from sqlalchemy import Connection, Row, case, func, or_, select, update

from csms import tokens
from csms.authorization import ASK_OWNER, OWNER_BUDGET_S, Choice, OwnerAnswer, Question, TokenOwner, choose, decide
from csms.bus import Send
from csms.commands import Answer, AnyCommand, Command, Outcome, StartRemotely
from csms.consultation import question
from csms.database import Database
from csms.effects import promised
from csms.journal import Fact, FactType, Wake, append
from csms.models import OWN, Connector, Evse, RemoteRequest, Token
from csms.outcomes import follow
from csms.requests import enqueue as enqueue
from csms.requests import kind_of, tag_for, told
from csms.sealing import SealBroken, Vault
from csms.secret_settings import without_secrets
from csms.station_security import reveal

log = structlog.get_logger(__name__)

NO_SHOW_S = 30  # R03
PARTNER = "partner:"  # with which `requested_by` begins where a partner asks
GRACE_S = 10.0  # after its deadline a request without an outcome was lost with its process
_QUEUED = select(RemoteRequest.id).where(RemoteRequest.state == "queued").limit(1)  # asked four times a second

STATE: dict[Outcome, str] = {
    Outcome.ACCEPTED: "accepted",
    Outcome.SCHEDULED: "accepted",
    Outcome.REBOOT_REQUIRED: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.NOT_SUPPORTED: "rejected",
    Outcome.OCCUPIED: "rejected",
    Outcome.INOPERATIVE: "rejected",
    Outcome.NOT_FOUND: "rejected",
    Outcome.VERSION_MISMATCH: "rejected",
    Outcome.OFFLINE: "offline",
    Outcome.TIMEOUT: "timed_out",
    Outcome.FAILED: "failed",
}


class RemoteControl:
    """Sends what was asked, each request in a task of its own."""

    def __init__(
        self,
        database: Database,
        *,
        send: Send,
        wake: Wake,
        clock: Callable[[], datetime],
        poll_s: float = 0.25,
        vault: Vault | None = None,
        owner: TokenOwner | None = None,
    ) -> None:
        """`vault` opens the passwords that were sealed until they are sent; `owner` is asked whether a partner's card is
        good before it starts anything."""
        self._database = database
        self._send = send
        self._wake = wake
        self._clock = clock
        self._poll_s = poll_s
        self._vault = vault
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(
        self,
        command: Command[Any],
        *,
        requested_by: str,
        token_id: int | None = None,
        authorization_reference: str | None = None,
        timeout_s: float = 30.0,
    ) -> str:
        """Store the receipt and return its id at once. The command is sent afterwards; the outcome goes to the row and the
        journal."""

        def store() -> str:
            with self._database.write() as connection:
                return self.receipt(
                    connection,
                    command,
                    requested_by=requested_by,
                    token_id=token_id,
                    authorization_reference=authorization_reference,
                    timeout_s=timeout_s,
                )

        request_id = await asyncio.to_thread(store)
        self.carry_out(request_id, command, requested_by=requested_by, timeout_s=timeout_s)
        return request_id

    def receipt(
        self,
        connection: Connection,
        command: Command[Any],
        *,
        requested_by: str,
        token_id: int | None = None,
        authorization_reference: str | None = None,
        timeout_s: float = 30.0,
    ) -> str:
        """As `request`, in the caller's transaction: `carry_out` with the same words must follow its commit."""
        return enqueue(
            connection,
            command,
            requested_by=requested_by,
            now=self._clock(),
            timeout_s=timeout_s,
            state="sent",
            token_id=token_id,
            authorization_reference=authorization_reference,
        )

    def carry_out(self, request_id: str, command: Command[Any], *, requested_by: str, timeout_s: float) -> None:
        """On the loop; returns at once."""
        self._start(request_id, command, timeout_s, vouched=requested_by.startswith(PARTNER))

    async def run(self) -> None:
        """Sends what other processes queued, until cancelled."""
        while True:
            for request_id, command, timeout_s in await asyncio.to_thread(self._take_queued):
                self._start(request_id, command, timeout_s)
            await asyncio.sleep(self._poll_s)

    async def stop(self, *, within_s: float = 0.0) -> None:
        """Ends the waits that have not ended `within_s`; their requests are settled by the watch rule after their deadline."""
        if self._tasks and within_s > 0:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, request_id: str, command: Command[Any], timeout_s: float, *, vouched: bool = False) -> None:
        """`vouched`: whether the card is good is the asking partner's business, and nothing is looked up."""
        task = asyncio.create_task(self._carry(request_id, command, timeout_s, vouched=vouched))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, request_id: str, command: Command[Any], timeout_s: float, *, vouched: bool = False) -> None:
        try:
            answer, spent_s = (None, 0.0) if vouched else await self._refusal(request_id, command, timeout_s)
            if answer is None:
                left_s = max(timeout_s - spent_s, 0.0)
                answer = await self._send(reveal(command, self._vault), timeout_s=left_s)
        except SealBroken as error:  # nothing was sent
            answer = Answer(outcome=Outcome.NOT_SUPPORTED, detail=str(error))
        except Exception as error:  # a bug must not leave somebody waiting
            log.exception("send_failed", station_id=command.station_id, request_id=request_id)
            answer = Answer(outcome=Outcome.FAILED, detail=type(error).__name__)
        try:
            await asyncio.to_thread(self._settle, request_id, command, answer)
        except Exception:  # the watch rule settles it after its deadline
            log.exception("outcome_not_stored", station_id=command.station_id, request_id=request_id)
        self._wake()

    # ---- may this card start anything? ------------------------------------------------------------------------------

    async def _refusal(self, request_id: str, command: Command[Any], timeout_s: float) -> tuple[Answer | None, float]:
        """Why this start is not even sent, None for all else; and how many seconds its card's owner took to say so. Of a
        start that its partner asked for it is the partner's business whether the card is good (R02, CM-22)."""
        found = (
            await asyncio.to_thread(self._card_of, request_id, command) if isinstance(command, StartRemotely) else None
        )
        if found is None:
            return None, 0.0
        card, asking = found
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._ask(asking, min(OWNER_BUDGET_S, timeout_s)) if asking is not None else None
        spent_s = loop.time() - began
        decision = decide(Choice(token=card), self._clock(), answer=answer)
        if not decision.accepted:
            words = dict.fromkeys((decision.status.value, decision.reason, decision.message or ""))
            return Answer(outcome=Outcome.REJECTED, detail=": ".join(filter(None, words))), spent_s
        if decision.authorization_reference is not None:
            await asyncio.to_thread(self._vouched, request_id, decision.authorization_reference)
        return None, spent_s

    def _card_of(self, request_id: str, command: StartRemotely) -> tuple[Row[Any], Question | None] | None:
        """The card, and what to ask its owner; None where nothing is to be decided."""
        row = RemoteRequest
        with self._database.read() as connection:
            query = select(row.requested_by, Token.__table__).join(Token, Token.id == row.token_id)
            card = connection.execute(query.where(row.id == request_id)).one_or_none()
            if card is None or card.requested_by.startswith(PARTNER):
                return None
            if card.owner_id == OWN or card.whitelist not in ASK_OWNER:
                return card, None
            return card, question(connection, command.station_id, command.evse, card)

    async def _ask(self, asking: Question, budget_s: float) -> OwnerAnswer:
        if self._owner is None:
            return OwnerAnswer(status=None)
        try:
            async with asyncio.timeout(budget_s):
                return await self._owner.ask(asking, timeout_s=budget_s)
        except TimeoutError:
            log.warning("owner_silent", owner_id=asking.owner_id, station_id=asking.station_id)
            return OwnerAnswer(status=None)

    def _vouched(self, request_id: str, authorization_reference: str) -> None:
        with self._database.write() as connection:
            row = RemoteRequest
            vouched = update(row).where(row.id == request_id).values(authorization_reference=authorization_reference)
            connection.execute(vouched)

    # ---- what came of it --------------------------------------------------------------------------------------------

    def _settle(self, request_id: str, command: Command[Any], answer: Answer) -> None:
        now = self._clock()
        state = STATE[answer.outcome]
        starts = isinstance(command, StartRemotely) and state == "accepted"

        def settle(connection: Connection) -> None:
            row = RemoteRequest
            settled = {
                "command": told(command),
                "outcome": answer.outcome.value,
                "detail": answer.detail,
                "answer": msgspec.to_builtins(without_secrets(answer)),
                "start_by": now + timedelta(seconds=NO_SHOW_S) if starts else None,
                "finished_at": now,
                **promised(command, answer, now),
            }
            connection.execute(update(row).where(row.id == request_id).values(**settled))
            unclaimed = (row.id == request_id, row.transaction_id.is_(None))  # its transaction may have been faster
            connection.execute(update(row).where(*unclaimed).values(state=state))
            outcome = _outcome_fact(request_id, command.station_id, kind_of(command), answer.outcome)
            append(connection, [outcome, *follow(connection, request_id, command, answer, now)], now=now)

        self._database.transact(settle)

    def _take_queued(self) -> list[tuple[str, Command[Any], float]]:
        row = RemoteRequest
        now = self._clock()
        with self._database.read() as connection:
            if connection.execute(_QUEUED).scalar() is None:
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


# ---- a driver in front of a station ---------------------------------------------------------------------------------


class UnknownEvse(Exception):
    """No EVSE, or several, by this id; or it has no such connector."""


class UnknownCard(Exception):
    """No card has this uid, or several owners have one and none can be preferred."""


def start_for_card(
    connection: Connection,
    at: str,
    id_token: str,
    *,
    requested_by: str,
    now: datetime,
    connector: str | None = None,
    timeout_s: float = 30.0,
) -> str:
    """R01: start where a driver scanned a code; returns the request's id.

    `at` is what the code says: an EVSE's id (with or without its separators), its uid, or an address that ends with one of
    them. `id_token` is a known card; what is sent is its uid where it fits, else a minted tag. Whether the card is good is
    asked before anything is sent, and a no is the request's outcome with its reason (R02). `connector` is optional.
    """
    evse = evse_at(connection, at)
    if connector is not None:
        known = select(Connector.id).where(
            Connector.__table__.c.evse_row == evse.id,
            func.lower(Connector.connector_id) == connector.lower(),
            Connector.removed.is_(False),
        )
        if connection.execute(known).first() is None:
            raise UnknownEvse(f"{at} has no connector {connector}")
    card = choose(tokens.by_key(connection, [key := tokens.normalize(id_token)]).get(key, ())).token
    if card is None:
        raise UnknownCard(tokens.masked(id_token))
    command = StartRemotely(station_id=evse.station_id, evse=evse.evse, id_token=tag_for(connection, card))
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s, token_id=card.id)


def evse_at(connection: Connection, at: str) -> Row[Any]:
    """Which EVSE a code at a station means. Raises UnknownEvse."""
    code = unquote(at.strip().rstrip("/").rpartition("/")[2]).casefold()
    bare = func.replace(func.replace(func.lower(Evse.evse_id), "*", ""), "-", "")
    query = select(Evse.__table__).where(
        or_(Evse.uid_key == code, bare == code.replace("*", "").replace("-", "")), Evse.removed.is_(False)
    )
    found = connection.execute(query.limit(2)).all() if code else []
    if len(found) != 1:
        raise UnknownEvse(f"{at} is {'several EVSEs' if found else 'no EVSE'}")
    return found[0]


# ---- what time decides (watch rules) --------------------------------------------------------------------------------


def settle_lost(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Requests whose process died before an outcome: nobody will answer them any more. What was never taken from the queue
    has not reached its station either."""
    row = RemoteRequest
    waits = row.state == "queued"
    lost = connection.execute(
        update(row)
        .where(row.state.in_(("queued", "sent")), row.deadline_at < now - timedelta(seconds=GRACE_S))
        .values(
            state=case((waits, "offline"), else_="timed_out"),
            outcome=case((waits, Outcome.OFFLINE.value), else_=Outcome.TIMEOUT.value),
            detail=case((waits, "no service took it from the queue"), else_=row.detail),
            finished_at=now,
        )
        .returning(row.id, row.station_id, row.kind, row.command, row.outcome)
    ).all()
    facts: list[Fact] = []
    for request_id, station_id, kind, asked, told_outcome in lost:
        outcome = Outcome(told_outcome)
        facts.append(_outcome_fact(request_id, station_id, kind, outcome))
        try:
            command: Command[Any] = msgspec.convert(asked, AnyCommand)
        except msgspec.ValidationError:
            continue  # of a newer version: what follows from it is that version's business
        connection.execute(update(row).where(row.id == request_id).values(command=told(command)))
        facts += follow(connection, request_id, command, Answer(outcome=outcome), now)
    return facts


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


def _outcome_fact(request_id: str, station_id: str, kind: str, outcome: Outcome) -> Fact:
    data = {"outcome": outcome.value, "kind": kind}
    return Fact(type=FactType.REMOTE_OUTCOME, subject=request_id, station_id=station_id, data=data)
