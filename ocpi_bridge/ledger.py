"""What each partner must still hear: the call that a due delivery needs now, and what its answer makes of the row."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, and_, case, literal, null, select, update
from sqlalchemy.engine import Row

from crud.models import Delivery
from crud.partners import PartnerRecord, Partners
from csms.database import Database
from csms.models import Tariff
from ocpi_bridge.due import WAITING, Due, Key, pick, session_is_behind, untried
from ocpi_bridge.emsp_client import Peer, Reply
from ocpi_bridge.peers import peer
from ocpi_bridge.push import enqueue
from ocpi_bridge.telling import (
    ABOUT,
    Body,
    Fate,
    Message,
    Verb,
    about_evse,
    exact,
    judge,
    party,
    retry_at,
    storable,
    summary,
)

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=15)  # longer than any call: after a crash, what was in flight is sent again
SOON = timedelta(seconds=1)

Step = Callable[[Connection], None]


class Render(Protocol):
    """The current state of an object as its GET would show it, a plain dict in OCPI's words; None when it is not shown.

    `module` is locations, evses (the EVSE object alone), sessions, cdrs or tariffs; `object_id` is the row's id as text. For
    tariffs any version's row stands for the version in force, and None means that the tariff was removed.
    """

    def __call__(self, connection: Connection, module: str, object_id: str, /) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call, ready to be made. `row` is the delivery it settles; `location`, of an EVSE, its location's delivery."""

    row: Row[Any]
    peer: Peer
    message: Message
    location: Row[Any] | None = None


class Ledger:
    """Synchronous: its methods run in a thread, and none holds a transaction while a partner is called."""

    def __init__(
        self,
        database: Database,
        partners: Partners,
        render: Render,
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._partners = partners
        self._render = render
        self._clock = clock
        self._chance = chance

    # ---- what is due ------------------------------------------------------------------------------------------------

    def take(self, free: Callable[[int], int], flying: Collection[Key]) -> Sequence[Due]:
        """Rows to deliver now, leased to us: of each partner at most `free(partner_id)`, none of what is in flight."""
        now = self._clock()
        with self._database.read() as connection:
            picked = pick(connection, now, free, flying)
        if not picked:
            return ()
        with self._database.write() as connection:
            leased = connection.execute(
                update(Delivery)
                .where(Delivery.id.in_([due.id for due in picked]), WAITING, Delivery.next_attempt_at <= now)
                .values(next_attempt_at=now + LEASE)
                .returning(Delivery.id)
            )
            ours = set(leased.scalars())
        return [due for due in picked if due.id in ours]

    # ---- what to say ------------------------------------------------------------------------------------------------

    def prepare(self, due: Due) -> Job | None:
        """The call that tells the newest state; None when there is nothing to say now, which is then written down."""
        with self._database.read() as connection:
            step = self._step(connection, due)
        if isinstance(step, Job):
            return step
        with self._database.write() as connection:
            step(connection)
        return None

    def _step(self, connection: Connection, due: Due) -> Job | Step:
        # `wanted` is read before the state, so the state is at least as new as what `told` will claim.
        row = connection.execute(select(Delivery.__table__).where(Delivery.id == due.id)).one()
        partner = self._partners.get(connection, due.partner_id)
        rendered = self._render(connection, due.module, due.object_id)
        current = None if rendered is None else exact(rendered)
        if due.module == "evses":
            return self._evse_step(connection, due, row, partner, current)
        if due.module == "cdrs" and session_is_behind(connection, due):
            return self._later(row, row.attempts)
        if current is None:
            return self._gone_step(connection, due, row, partner)
        message = ABOUT[due.module](current, exact(row.confirmed))
        return self._job(row, partner, message) if message is not None else self._known(row)

    def _evse_step(
        self, connection: Connection, due: Due, row: Row[Any], partner: PartnerRecord, current: Body | None
    ) -> Job | Step:
        """A PATCH inside a location that the partner knows; else the whole location carries the status."""
        query = select(Delivery.__table__)
        location = connection.execute(
            query.where(
                Delivery.partner_id == due.partner_id,
                Delivery.module == "locations",
                Delivery.object_id == due.key[2],
            )
        ).one_or_none()
        if current is None:
            return self._known(row)
        if location is None or location.confirmed is None or location.wanted > location.told:
            return self._hand_over(due.key, row)
        try:
            message = about_evse(current, exact(location.confirmed))
        except KeyError:
            return self._hand_over(due.key, row)
        return self._job(row, partner, message, location) if message is not None else self._known(row)

    def _gone_step(self, connection: Connection, due: Due, row: Row[Any], partner: PartnerRecord) -> Job | Step:
        """Only a tariff is taken back (TA-03), and after the locations that referred to it (TA-04)."""
        tariff = None
        if due.module == "tariffs" and row.told > 0:
            named = select(Tariff.country_code, Tariff.party_id, Tariff.tariff_id)
            tariff = connection.execute(named.where(Tariff.id == int(due.object_id))).one_or_none()
        if tariff is None:
            return self._known(row)
        if (due.partner_id, "locations") in untried(connection):
            return self._later(row, max(row.attempts, 1))
        body = {"country_code": tariff.country_code, "party_id": tariff.party_id, "id": tariff.tariff_id}
        return self._job(row, partner, Message(verb=Verb.DELETE, body=body, state=None, path=(tariff.tariff_id,)))

    def _job(
        self, row: Row[Any], partner: PartnerRecord, message: Message, location: Row[Any] | None = None
    ) -> Job | Step:
        whole = message.state or message.body
        token = whole.get("cdr_token")
        calling = peer(partner, our_party=party(whole), their_party=party(token) if token else None)
        if calling is None:  # it left since it was picked
            return lambda connection: None
        return Job(row=row, peer=calling, message=message, location=location)

    def _known(self, row: Row[Any]) -> Step:
        return lambda connection: _write(connection, row.id, self._told(row))

    def _later(self, row: Row[Any], attempts: int) -> Step:
        at = self._clock() + SOON
        return lambda connection: _write(connection, row.id, {"attempts": attempts, "next_attempt_at": at})

    def _hand_over(self, location: Key, row: Row[Any]) -> Step:
        def write(connection: Connection) -> None:
            enqueue(connection, [location], self._clock())
            _write(connection, row.id, self._told(row))

        return write

    # ---- what came of it --------------------------------------------------------------------------------------------

    def settle(self, job: Job, reply: Reply) -> None:
        verdict = judge(job.row.module, job.message.verb, reply.delivery, job.row.attempts)
        now = self._clock()
        with self._database.write() as connection:
            # After a new registration the partner may have forgotten what it confirmed to the old token.
            same = self._partners.get(connection, job.row.partner_id).token_out == job.peer.token
            state = storable(job.message.state) if same else None
            if verdict.fate is Fate.TOLD:
                self._confirmed(connection, job, reply, state, now)
            elif job.location is not None and verdict.doubt:
                self._doubted(connection, job, verdict.fate, now)
            else:
                changes: dict[str, Any] = {"attempts": verdict.attempts, "last_error": summary(reply, job.peer.token)}
                if verdict.doubt:
                    changes["confirmed"] = null()
                if verdict.fate is Fate.STOPPED:
                    unchanged = Delivery.wanted == job.row.wanted
                    changes["stopped"] = case((unchanged, literal(changes["last_error"])), else_=null())
                again = retry_at(now, verdict.attempts, self._chance())
                changes["next_attempt_at"] = again if verdict.fate is Fate.AGAIN else now
                _write(connection, job.row.id, changes)
        if verdict.fate is Fate.STOPPED:
            log.error(
                "delivery_stopped",
                partner=job.peer.name,
                module=job.row.module,
                object_id=job.row.object_id,
                delivery=reply.delivery.value,
                http_status=reply.http_status,
                status_code=reply.status_code,
            )

    def _confirmed(self, connection: Connection, job: Job, reply: Reply, state: Any, now: datetime) -> None:
        changes = self._told(job.row) | {"confirmed_at": now}
        if job.location is None:
            changes["confirmed"] = null() if state is None else state
        else:
            known = and_(Delivery.id == job.location.id, Delivery.confirmed.is_not(None))
            connection.execute(update(Delivery).where(known).values(confirmed=null() if state is None else state))
        if job.row.module == "cdrs":
            changes["remote_url"] = reply.location  # CD-03
            if reply.location is None:
                log.warning("cdr_location_missing", partner=job.peer.name, object_id=job.row.object_id)  # CD-04
        _write(connection, job.row.id, changes)

    def _doubted(self, connection: Connection, job: Job, fate: Fate, now: datetime) -> None:
        """The PATCH of an EVSE that may not have been taken: its whole location is told instead (PU-07)."""
        assert job.location is not None
        at = retry_at(now, 1, self._chance()) if fate is Fate.AGAIN else now
        connection.execute(update(Delivery).where(Delivery.id == job.location.id).values(confirmed=null()))
        enqueue(connection, [(job.row.partner_id, "locations", job.location.object_id)], at)
        _write(connection, job.row.id, self._told(job.row))

    def broken(self, due: Due, why: str) -> None:
        """It could not even be made ready: an error of ours, tried again like one of theirs."""
        with self._database.write() as connection:
            row = connection.execute(select(Delivery.attempts).where(Delivery.id == due.id)).one()
            made = row.attempts + 1
            again = retry_at(self._clock(), made, self._chance())
            _write(connection, due.id, {"attempts": made, "next_attempt_at": again, "last_error": why[:300]})

    def _told(self, row: Row[Any]) -> dict[str, Any]:
        """Up to what was read; a change that came since makes it due at once."""
        return {"told": row.wanted, "attempts": 0, "next_attempt_at": self._clock(), "last_error": None}


def _write(connection: Connection, delivery_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
