"""What each partner must still hear: due deliveries are leased together, and their answers kept together."""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

import structlog
from sqlalchemy import Connection, Table, and_, bindparam, or_, select, update
from sqlalchemy.engine import Row

from crud.hub_clients import halted
from crud.models import Delivery
from crud.partners import Partners
from csms.clock import HOSTS_AGREE_WITHIN
from csms.database import Database, Utc
from csms.many_rows import THE_KEY, ManyChanges
from ocpi_bridge.due import PARTS, WAITING, Circuit, Due, Key, Room, pick
from ocpi_bridge.emsp_client import Delivery as Answer
from ocpi_bridge.emsp_client import Reply
from ocpi_bridge.next_call import Job, NextCalls, Render, Step, told
from ocpi_bridge.push import enqueue
from ocpi_bridge.telling import Fate, Message, Verb, judge, retry_at, storable, summary

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=15)  # longer than any call: after a crash, what was in flight is sent again
LONGEST_WAIT = timedelta(minutes=20)  # a little more than between two attempts; before the first there is none
PUT_OFF_EVERY_S = 10.0
PUT_OFF_AT_ONCE = 1_000

Answered = tuple[Job, Reply]
Prepared = tuple[Row[Any], Job | Step]

_T = cast(Table, Delivery.__table__)
_IDS: Any = bindparam("ids", expanding=True)
# One order of locks, that of push.enqueue; what is being changed right now is left for the next look.
_IN_ORDER = (
    select(_T.c.id, _T.c.wanted, _T.c.told, _T.c.attempts)
    .where(_T.c.id.in_(_IDS))
    .order_by(_T.c.partner_id, _T.c.module, _T.c.object_id)
)
_LOCKED = _IN_ORDER.with_for_update()
_DUE = (WAITING, _T.c.next_attempt_at <= bindparam("now", type_=Utc))
_FREE = _IN_ORDER.where(*_DUE).with_for_update(skip_locked=True)
_PUT_OFF = (
    select(_T.c.id)
    .where(
        WAITING,
        _T.c.next_attempt_at > bindparam("soon", type_=Utc),
        or_(_T.c.attempts == 0, _T.c.next_attempt_at > bindparam("longest", type_=Utc)),
    )
    .order_by(_T.c.partner_id, _T.c.module, _T.c.object_id)
    .limit(PUT_OFF_AT_ONCE)
)
_NEXT = update(_T).where(_T.c.id.in_(_IDS)).values(next_attempt_at=bindparam("next", type_=Utc))


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
        self._calls = NextCalls(partners, render, clock=clock)
        self._clock = clock
        self._chance = chance
        self._looked_for_put_off_at = -PUT_OFF_EVERY_S

    # ---- what is due ------------------------------------------------------------------------------------------------

    def take(self, free: Callable[[int], int], flying: Collection[Key], room: Room) -> Sequence[Job]:
        """The calls to make now, their rows leased to us (see `pick`); what needs none is written down. One look is one
        transaction that reads and one that writes, however many are due."""
        now = self._clock()
        if time.monotonic() - self._looked_for_put_off_at > PUT_OFF_EVERY_S:
            self._looked_for_put_off_at = time.monotonic()
            self._bring_forward(now)
        with self._database.read() as connection:
            picked = pick(connection, now, free, flying, room)
            if not picked:
                return ()
            try:
                prepared = self._calls.of(connection, picked)
            except Exception:
                prepared = None
        if prepared is None:
            prepared = [one for due in picked for one in self._alone(due)]
        if not prepared:
            return ()
        try:
            return self._leased(prepared, now)
        except Exception:
            return [job for one in prepared for job in self._leased_alone(one, now)]

    def _bring_forward(self, now: datetime) -> None:
        """What was put off for longer than anything is: whoever wrote that had a clock that ran ahead, and is right now or
        another. The partner would wait by as much."""
        when = {"soon": now + HOSTS_AGREE_WITHIN, "longest": now + LONGEST_WAIT}
        with self._database.read() as connection:
            if connection.execute(_PUT_OFF, when).first() is None:
                return

        def forward(connection: Connection) -> int:
            ids = connection.execute(_PUT_OFF.with_for_update(skip_locked=True), when).scalars().all()
            if ids:
                connection.execute(_NEXT, {"ids": ids, "next": now})
            return len(ids)

        log.warning("deliveries_brought_forward", deliveries=self._database.transact(forward))

    def _alone(self, due: Due) -> Sequence[Prepared]:
        """One that cannot be made ready must not silence the others."""
        try:
            with self._database.read() as connection:
                return self._calls.of(connection, [due])
        except Exception as error:
            log.exception("delivery_failed", module=due.module, object_id=due.object_id, partner_id=due.partner_id)
            self.broken(due.id, f"{type(error).__name__}: {error}")
            return ()

    def _leased(self, prepared: Sequence[Prepared], now: datetime) -> Sequence[Job]:
        seen = {row.id: (row.told, row.attempts) for row, _ in prepared}

        def lease(connection: Connection) -> Sequence[Job]:
            found = connection.execute(_FREE, {"ids": [*seen], "now": now})
            ours = {row.id for row in found if (row.told, row.attempts) == seen[row.id]}  # else it was told meanwhile
            if ours:
                connection.execute(_NEXT, {"ids": sorted(ours), "next": now + LEASE})
            mine = [step for row, step in prepared if row.id in ours]
            for step in mine:
                if not isinstance(step, Job):
                    step(connection)
            return [step for step in mine if isinstance(step, Job)]

        return self._database.transact(lease)

    def _leased_alone(self, one: Prepared, now: datetime) -> Sequence[Job]:
        try:
            return self._leased([one], now)
        except Exception as error:
            log.exception("delivery_failed", module=one[0].module, object_id=one[0].object_id)
            self.broken(one[0].id, f"{type(error).__name__}: {error}")
            return ()

    # ---- what came of it --------------------------------------------------------------------------------------------

    def settle(self, answered: Sequence[Answered]) -> None:
        """All of them in one transaction, since each costs a commit; one that cannot be written harms no other."""
        try:
            self._settle_together(answered)
        except Exception:
            if len(answered) == 1:
                raise
            for one in answered:
                self._settle_alone(one)

    def _settle_together(self, answered: Sequence[Answered]) -> None:
        fates = self._database.transact(lambda connection: self._settled(connection, answered))
        for (job, reply), fate in zip(answered, fates, strict=True):
            if fate is Fate.STOPPED:
                _log_stopped(job, reply)

    def _settle_alone(self, one: Answered) -> None:
        try:
            self._settle_together([one])
        except Exception as error:
            log.exception("delivery_failed", module=one[0].row.module, object_id=one[0].row.object_id)
            self.broken(one[0].row.id, f"{type(error).__name__}: {error}")

    def _settled(self, connection: Connection, answered: Sequence[Answered]) -> Sequence[Fate | None]:
        """What each came to; None of a delivery that is there no more."""
        there = {row.id: row for row in connection.execute(_LOCKED, {"ids": [job.row.id for job, _ in answered]})}
        tokens = {
            id: self._partners.get(connection, id).token_out for id in {job.row.partner_id for job, _ in answered}
        }
        fates: list[Fate | None] = []
        changes: dict[int, dict[str, Any]] = {}
        for job, reply in answered:
            row = there.get(job.row.id)
            if row is None:
                fates.append(None)
                continue
            # After a new registration the partner may have forgotten what it confirmed to the old token.
            same = tokens[job.row.partner_id] == job.peer.token
            state = storable(job.message.state) if same else None
            fate, changes[row.id] = self._settle(connection, job, reply, state, changed=row.wanted != job.row.wanted)
            fates.append(fate)
        _write(connection, changes)
        return fates

    def _settle(
        self, connection: Connection, job: Job, reply: Reply, state: Any, *, changed: bool
    ) -> tuple[Fate, dict[str, Any]]:
        """`changed`: the object is another since. Returns also what becomes of the row."""
        verdict = judge(job.row.module, job.message.verb, arrived(job.message, reply), job.row.attempts)
        now = self._clock()
        if verdict.fate is Fate.TOLD:
            return verdict.fate, self._confirmed(connection, job, reply, state, now)
        if job.location is not None and verdict.doubt:
            self._doubted(connection, job, verdict.fate, now)
            return verdict.fate, told(job.row, now)
        words = summary(reply, job.peer.token)
        if reply.delivery is Answer.HUB:
            words = halted(job.peer.their_party, words)
        changes: dict[str, Any] = {"attempts": verdict.attempts, "last_error": words}
        if verdict.doubt:
            changes["confirmed"] = None
        if job.row.module == "cdrs":
            changes |= _of_doubtful_cdr(job, reply)
        if verdict.fate is Fate.STOPPED:
            changes["stopped"] = None if changed else changes["last_error"]
        again = retry_at(now, verdict.attempts, self._chance())
        changes["next_attempt_at"] = again if verdict.fate is Fate.AGAIN else now
        return verdict.fate, changes

    def _confirmed(self, connection: Connection, job: Job, reply: Reply, state: Any, now: datetime) -> dict[str, Any]:
        gone = job.message.verb is Verb.DELETE
        changes = told(job.row, now) | {"confirmed_at": None if gone else now}
        if job.location is None:
            changes["confirmed"] = state
        else:
            known = and_(_T.c.id == job.location.id, _T.c.confirmed.is_not(None))
            connection.execute(update(_T).where(known).values(confirmed=state))
        if job.row.module == "cdrs":
            asked_for = job.row.remote_url if job.message.verb is Verb.GET else None
            changes["remote_url"] = reply.location or asked_for  # CD-03
            if changes["remote_url"] is None:
                log.warning("cdr_location_missing", partner=job.peer.name, object_id=job.row.object_id)  # CD-04
        return changes

    def _doubted(self, connection: Connection, job: Job, fate: Fate, now: datetime) -> None:
        """The PATCH of an EVSE that may not have been taken: its whole location is told instead (PU-07)."""
        assert job.location is not None
        at = retry_at(now, 1, self._chance()) if fate is Fate.AGAIN else now
        connection.execute(update(_T).where(_T.c.id == job.location.id).values(confirmed=None))
        enqueue(connection, [(job.row.partner_id, "locations", job.location.object_id)], at)

    def hasten(self, circuit: Circuit) -> None:
        """This module of the partner answers again: what failed there is tried now, and not after its wait."""
        partner_id, module = circuit
        waits = (Delivery.partner_id == partner_id, Delivery.module.in_([module, *PARTS.get(module, ())]), WAITING)
        with self._database.write() as connection:
            soon = update(Delivery).where(*waits, Delivery.attempts > 0, Delivery.next_attempt_at > self._clock())
            connection.execute(soon.values(next_attempt_at=self._clock()))

    def give_back(self, jobs: Sequence[Job]) -> None:
        """They were not called, and may go at once, as if they had not been taken."""
        with self._database.write() as connection:
            connection.execute(_NEXT, {"ids": sorted(job.row.id for job in jobs), "next": self._clock()})

    def broken(self, delivery_id: int, why: str) -> None:
        """It could not be made ready, or its answer not be kept: an error of ours, tried again like one of theirs."""
        with self._database.write() as connection:
            row = connection.execute(_LOCKED, {"ids": [delivery_id]}).one_or_none()
            if row is None:
                return  # it was deleted meanwhile, and there is nothing to tell any more
            made = row.attempts + 1
            again = retry_at(self._clock(), made, self._chance())
            _write(connection, {row.id: {"attempts": made, "next_attempt_at": again, "last_error": why[:300]}})


def _write(connection: Connection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """By the rows' ids; those that change in the same columns go together."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for id, values in changes.items():
        alike.setdefault(tuple(sorted(values)), []).append({THE_KEY: id, **values})
    for columns, rows in alike.items():
        _changing(columns).execute(connection, rows)


@cache
def _changing(columns: tuple[str, ...]) -> ManyChanges:
    return ManyChanges(_T, "id", columns)


def _log_stopped(job: Job, reply: Reply) -> None:
    log.error(
        "delivery_stopped",
        partner=job.peer.name,
        module=job.row.module,
        object_id=job.row.object_id,
        delivery=reply.delivery.value,
        http_status=reply.http_status,
        status_code=reply.status_code,
    )


def arrived(message: Message, reply: Reply) -> Answer:
    """What an answer means; that of a GET only if it is the object that was asked for."""
    if message.verb is Verb.GET and reply.ok:
        found = reply.data.get("id") if isinstance(reply.data, Mapping) else None
        same = str(found).casefold() == str(message.body["id"]).casefold()
        return Answer.CONFIRMED if same else Answer.NOT_FOUND
    return reply.delivery


def _of_doubtful_cdr(job: Job, reply: Reply) -> dict[str, Any]:
    """Money is never told twice where that can be known: an address there is asked before the next POST, and a refusal after
    an answer in doubt may well mean that it is there (PU-11)."""
    if job.message.verb is Verb.GET:
        gone = arrived(job.message, reply) in (Answer.NOT_FOUND, Answer.REFUSED)
        return {"remote_url": None} if gone else {}
    if reply.delivery is Answer.UNSURE:
        return {"remote_url": reply.location}
    doubted = (job.row.last_error or "").startswith(Answer.UNSURE)
    if reply.delivery is Answer.REFUSED and doubted:
        words = summary(reply, job.peer.token)
        return {"last_error": f"{Answer.UNSURE.value}: an earlier attempt may have arrived; the last one: {words}"}
    return {}
