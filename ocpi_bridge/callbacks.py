"""The result of a partner's command reaches its response_url: once, when the charger has answered or its time is over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, and_, or_, select, update

from adapters.commands import command_result
from crud.models import CommandCallback
from crud.partners import Partners, SealBroken
from csms.commands import Outcome
from csms.database import Database
from csms.journal import Wake
from csms.models import RemoteRequest
from ocpi_bridge.emsp_client import Delivery, EmspClient, Peer
from ocpi_bridge.peers import peer

log = structlog.get_logger(__name__)

GATHER_S = 0.1  # under load one look serves many changes

# The remote control says TIMEOUT itself at the deadline; later than this, whoever waited for the charger is gone.
ABANDONED_AFTER = timedelta(seconds=2)
RETRY_AFTER_S = 0.5
AT_ONCE = 100  # results taken in one look

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
        with self._wake.listening() as grown:
            while True:
                for result in await asyncio.to_thread(self.take):
                    group.create_task(self._send(result))
                await grown.news(poll_s=self._poll_s, gather_s=GATHER_S)

    def take(self) -> list[Result]:
        """The results that are known and not sent; they count as sent from here on."""
        now = self._clock()
        with self._database.read() as connection:
            if connection.execute(_known(now).limit(1)).first() is None:
                return []
        results = []
        with self._database.write() as connection:
            for row in connection.execute(_known(now).limit(AT_ONCE)).all():
                mine = connection.execute(
                    update(CommandCallback)
                    .where(CommandCallback.request_id == row.request_id, CommandCallback.sent_at.is_(None))
                    .values(sent_at=now)
                )
                if mine.rowcount != 1:
                    continue
                calling = self._calling(connection, row)
                if calling is None:
                    log.warning("command_result_dropped", request_id=row.request_id, partner_id=row.partner_id)
                    continue
                outcome = OUTCOMES.get(row.outcome, Outcome.FAILED)
                results.append(
                    Result(
                        request_id=row.request_id,
                        command=row.command,
                        response_url=row.response_url,
                        body=command_result(outcome, detail=row.detail or ""),
                        calling=calling,
                    )
                )
        return results

    def _calling(self, connection: Connection, row: Any) -> Peer | None:
        """None for a partner that may not, or with a changed SECRET_KEY cannot, be called."""
        try:
            partner = self._partners.get(connection, row.partner_id)
        except SealBroken as error:
            log.error("partner_left_out", partner_id=row.partner_id, reason=str(error))
            return None
        return peer(partner, their_party=(row.country_code, row.party_id))  # RT-13

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


def _known(now: datetime) -> Any:
    """Callbacks whose request has an outcome, or was left without one by a process that died (CM-06)."""
    return (
        select(
            CommandCallback.request_id,
            CommandCallback.partner_id,
            CommandCallback.command,
            CommandCallback.response_url,
            CommandCallback.country_code,
            CommandCallback.party_id,
            RemoteRequest.outcome,
            RemoteRequest.detail,
        )
        .join(RemoteRequest, RemoteRequest.id == CommandCallback.request_id)
        .where(
            CommandCallback.sent_at.is_(None),
            or_(
                RemoteRequest.outcome.is_not(None),
                and_(RemoteRequest.outcome.is_(None), RemoteRequest.deadline_at < now - ABANDONED_AFTER),
            ),
        )
        .order_by(CommandCallback.created_at)
    )
