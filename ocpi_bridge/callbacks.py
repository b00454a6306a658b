"""The result of a partner's command reaches its response_url: once, when the charger has answered or its time is over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, or_, select, update

from adapters import shown, v211
from adapters.commands import CANCELED_RESERVATION, canceled_reservation, command_result
from crud import charging_profiles
from crud.hub_clients import away
from crud.models import CommandCallback
from crud.partners import Partners
from csms.commands import Outcome
from csms.database import Database, Utc
from csms.journal import FactType, Wake
from csms.models import RemoteRequest, Reservation
from csms.sealing import SealBroken
from ocpi_bridge.emsp_client import Delivery, EmspClient, Peer
from ocpi_bridge.peers import peer

log = structlog.get_logger(__name__)

KNOWN_BY = frozenset({FactType.REMOTE_OUTCOME, FactType.REMOTE_START_UNANSWERED, FactType.RESERVATION_CHANGED})
GATHER_S = 0.1  # under load one look serves many changes

# The remote control says TIMEOUT itself at the deadline; later than this, whoever waited for the charger is gone.
ABANDONED_AFTER = timedelta(seconds=2)
RETRY_AFTER_S = 0.5
AT_ONCE = 100  # results taken in one look
CANCELLED_WITHIN = timedelta(days=1)  # a reservation that was over for longer interests nobody

OUTCOMES: dict[str | None, Outcome] = {None: Outcome.TIMEOUT} | {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class Result:
    request_id: str
    command: str
    response_url: str
    body: dict[str, Any]
    calling: Peer


class Callbacks:
    """At most one POST arrives: a result is marked as sent before it leaves, and only one that surely never left is tried
    once more (CM-04, CM-08)."""

    def __init__(
        self,
        database: Database,
        partners: Partners,
        client: EmspClient,
        *,
        wake: Wake,
        clock: Callable[[], datetime],
        poll_s: float = 0.5,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        self._database = database
        self._partners = partners
        self._client = client
        self._wake = wake
        self._clock = clock
        self._poll_s = poll_s
        self._retry_after_s = retry_after_s

    async def run(self) -> None:
        """Sends until cancelled; woken by the journal, and polling for what another process asked. A database that is away
        is an exception, raised when what was taken before has been sent."""
        away: Exception | None = None
        async with asyncio.TaskGroup() as group:
            try:
                await self._send_all(group)
            except Exception as error:  # the group would cancel results that count as sent already
                away = error
        if away is not None:
            raise away

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        with self._wake.listening(KNOWN_BY) as grown:
            while True:
                for result in await asyncio.to_thread(self.take):
                    group.create_task(self._send(result))
                await grown.news(poll_s=self._poll_s, gather_s=GATHER_S)

    def take(self) -> list[Result]:
        """The results that are known and not sent; they count as sent from here on."""
        now = self._clock()
        with self._database.read() as connection:
            since = {"abandoned": now - ABANDONED_AFTER, "running_out": now - CANCELLED_WITHIN}
            if all(connection.execute(look, since).first() is None for look in _LOOKS):
                return []
        with self._database.write() as connection:
            known = connection.execute(_KNOWN.limit(AT_ONCE), since).all()
            mine = [row for row in known if self._mine(connection, row, CommandCallback.sent_at, now)]
            results = [
                self._result(connection, row, BODIES.get(row.command, of_command)(connection, row, now)) for row in mine
            ]
            cancelled = connection.execute(_CANCELLED.limit(AT_ONCE), since).all()
            mine = [row for row in cancelled if self._mine(connection, row, CommandCallback.withdrawn_at, now)]
            results += [
                self._result(connection, row, canceled_reservation())
                for row in mine
                if canceller(connection, row) != f"partner:{row.partner_id}"
            ]
        return [result for result in results if result is not None]

    @staticmethod
    def _mine(connection: Connection, row: Any, marked: Any, now: datetime) -> bool:
        """Is it ours to send? Of two processes that look at once only one may."""
        which = (CommandCallback.request_id == row.request_id, marked.is_(None))
        return connection.execute(update(CommandCallback).where(*which).values({marked: now})).rowcount == 1

    def _result(self, connection: Connection, row: Any, body: dict[str, Any]) -> Result | None:
        calling = self._calling(connection, row)
        if calling is None:
            log.warning("command_result_dropped", request_id=row.request_id, partner_id=row.partner_id)
            return None
        if calling.version == v211.VERSION:
            if body["result"] == CANCELED_RESERVATION:  # it has no word for this
                return None
            body = shown("commands", body, calling.version).dict()
        return Result(
            request_id=row.request_id, command=row.command, response_url=row.response_url, body=body, calling=calling
        )

    def _calling(self, connection: Connection, row: Any) -> Peer | None:
        """None for a partner that may not, or with a changed SECRET_KEY cannot, be called, and for a party that is away."""
        try:
            partner = self._partners.get(connection, row.partner_id)
        except SealBroken as error:
            log.error("partner_left_out", partner_id=row.partner_id, reason=str(error))
            return None
        meant = (row.country_code, row.party_id)
        if partner.is_hub and away(connection, partner.id, meant) is not None:  # HC-04
            return None
        return peer(partner, their_party=meant)  # RT-13

    async def _send(self, result: Result) -> None:
        try:
            await self._post(result)
        except Exception:  # a result that cannot be sent must not take the others with it
            log.exception("command_result_failed", request_id=result.request_id, partner=result.calling.name)

    async def _post(self, result: Result) -> None:
        reply = await self._client.post_result(result.calling, result.response_url, result.body)
        if reply.delivery is Delivery.UNREACHABLE:
            await asyncio.sleep(self._retry_after_s)
            reply = await self._client.post_result(result.calling, result.response_url, result.body)
        (log.info if reply.ok else log.warning)(
            "command_result_sent",
            partner=result.calling.name,
            command=result.command,
            request_id=result.request_id,
            result=result.body["result"],
            delivery=reply.delivery.value,
        )


# ---- what is known --------------------------------------------------------------------------------------------------


def of_command(_connection: Connection, row: Any, _now: datetime) -> dict[str, Any]:
    return command_result(outcome_of(row), command=row.command, detail=row.detail or "")


def outcome_of(row: Any) -> Outcome:
    return OUTCOMES.get(row.outcome, Outcome.FAILED)


def of_profile(connection: Connection, row: Any, now: datetime) -> dict[str, Any]:
    return charging_profiles.result_body(connection, row, outcome_of(row), now)


# By command, where the result is not a CommandResult.
BODIES: dict[str, Callable[[Connection, Any, datetime], dict[str, Any]]] = dict.fromkeys(
    (charging_profiles.GET, charging_profiles.SET, charging_profiles.CLEAR), of_profile
)


_WAITING = (
    CommandCallback.request_id,
    CommandCallback.partner_id,
    CommandCallback.command,
    CommandCallback.response_url,
    CommandCallback.country_code,
    CommandCallback.party_id,
    CommandCallback.session_id,
    RemoteRequest.outcome,
    RemoteRequest.detail,
    RemoteRequest.answer,
)


# Callbacks whose request has an outcome, or was left without one by a process that died (CM-06).
_KNOWN = (
    select(*_WAITING)
    .join(RemoteRequest, RemoteRequest.id == CommandCallback.request_id)
    .where(
        CommandCallback.sent_at.is_(None),
        or_(RemoteRequest.outcome.is_not(None), RemoteRequest.deadline_at < bindparam("abandoned", type_=Utc)),
    )
    .order_by(CommandCallback.created_at)
)
# Reservations that a partner was granted and that were cancelled since, whoever asked for it.
_CANCELLED = (
    select(*_WAITING, Reservation.number, Reservation.station_id, Reservation.created_at.label("reserved_at"))
    .join(RemoteRequest, RemoteRequest.id == CommandCallback.request_id)
    .join(Reservation, Reservation.remote_request_id == CommandCallback.request_id)
    .where(
        Reservation.state == "cancelled",
        Reservation.expires_at > bindparam("running_out", type_=Utc),
        RemoteRequest.outcome == Outcome.ACCEPTED.value,
        CommandCallback.sent_at.is_not(None),
        CommandCallback.withdrawn_at.is_(None),
    )
    .order_by(CommandCallback.created_at)
)
_LOOKS = (_KNOWN.limit(1), _CANCELLED.limit(1))


def canceller(connection: Connection, row: Any) -> str | None:
    """Who asked last to cancel this reservation."""
    asked = (
        select(RemoteRequest.requested_by, RemoteRequest.command)
        .where(
            RemoteRequest.kind == "cancel_reservation",
            RemoteRequest.station_id == row.station_id,
            RemoteRequest.created_at >= row.reserved_at,
            RemoteRequest.outcome.is_not(None),
        )
        .order_by(RemoteRequest.created_at.desc())
    )
    mine = (who for who, command in connection.execute(asked) if command.get("reservation_id") == row.number)
    return next(mine, None)
