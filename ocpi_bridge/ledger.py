"""What each partner must still hear: the call that a due delivery needs now, and what its answer makes of the row."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, and_, case, literal, null, select, update
from sqlalchemy.engine import Row

from adapters import v211
from crud.caller import Party
from crud.hub_clients import away, halted
from crud.models import Delivery
from crud.partners import PartnerRecord, Partners
from csms.database import Database
from csms.models import Tariff, Transaction
from ocpi_bridge.due import (
    PARTS,
    WAITING,
    Circuit,
    Due,
    Key,
    Room,
    Turn,
    is_credit,
    pick,
    session_is_behind,
    turn_of_cdr,
    untried,
)
from ocpi_bridge.emsp_client import Delivery as Answer
from ocpi_bridge.emsp_client import Peer, Reply
from ocpi_bridge.peers import peer
from ocpi_bridge.push import enqueue
from ocpi_bridge.telling import (
    Body,
    Fate,
    Message,
    Verb,
    about,
    about_evse,
    exact,
    judge,
    party,
    retry_at,
    storable,
    summary,
    taken_back,
)

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=15)  # longer than any call: after a crash, what was in flight is sent again
SOON = timedelta(seconds=1)
STEADY = timedelta(seconds=2)  # between two statuses of one EVSE; the first goes at once, and the last is never lost
NO_CREDITS = "OCPI 2.1.1 has no credit CDRs; settle this one with the partner by other means"

Step = Callable[[Connection], None]


class Render(Protocol):
    """The current state of an object as its GET would show it to this partner, a plain dict in OCPI's words; None when it is
    not shown to it.

    It carries the party of ours under which the partner knows it, in 2.1.1 too, where only the address shows that. `module` is
    locations, evses (the EVSE object alone), sessions, cdrs or tariffs; `object_id` is the row's id as text. For
    tariffs any version's row stands for the version in force, and None means that the partner does not pay it, or not now.
    """

    def __call__(
        self, connection: Connection, module: str, object_id: str, partner_id: int, /
    ) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call, ready to be made. `row` is the delivery it settles; `location`, of an EVSE, its location's delivery."""

    row: Row[Any]
    peer: Peer
    message: Message
    location: Row[Any] | None = None


Answered = tuple[Job, Reply]


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

    def take(self, free: Callable[[int], int], flying: Collection[Key], room: Room) -> Sequence[Due]:
        """Rows to deliver now, leased to us; see `pick`."""
        now = self._clock()
        with self._database.read() as connection:
            picked = pick(connection, now, free, flying, room)
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
        rendered = self._render(connection, due.module, due.object_id, due.partner_id)
        current = None if rendered is None else exact(rendered)
        if due.module == "evses":
            return self._evse_step(connection, due, row, partner, current)
        if due.module == "cdrs" and (step := self._cdr_waits(connection, due, row, partner)) is not None:
            return step
        if current is None:
            return self._gone_step(connection, due, row, partner)
        message = about(partner.version, due.module)(current, exact(row.confirmed))
        if message is None:
            return self._known(row)
        if due.module == "cdrs" and row.remote_url is not None:  # an answer in doubt named its address there (PU-11)
            message = Message(verb=Verb.GET, body=current, state=message.state, path=(row.remote_url,))
        if not known_party(partner, current):
            return self._later(row, row.attempts)
        meant = meant_party(connection, due, partner, current)
        if partner.is_hub and meant is not None and (status := away(connection, partner.id, meant)) is not None:
            return self._halt(row, halted(meant, f"is {status} at {partner.name}"))
        return self._job(row, partner, message, meant=meant)

    def _cdr_waits(self, connection: Connection, due: Due, row: Row[Any], partner: PartnerRecord) -> Step | None:
        """None: it is its turn. A credit has none in 2.1.1, and so neither has the CDR that stands instead (CD-09)."""
        if session_is_behind(connection, due):
            return self._later(row, row.attempts)
        turn, before = turn_of_cdr(connection, due)
        untellable = partner.version == v211.VERSION and is_credit(connection, due)
        if turn is Turn.NOW and not untellable:
            return None
        if turn is Turn.MISSING:
            return self._after((due.partner_id, "cdrs", str(before)), row)
        if turn is Turn.LATER:
            return self._later(row, row.attempts)
        words = NO_CREDITS if untellable else f"the CDR {before}, which goes before it, was stopped"
        log.error("delivery_stopped", partner=due.partner_id, module=due.module, object_id=due.object_id, why=words)
        return lambda connection: _write(connection, row.id, {"stopped": words, "last_error": words})

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
        if row.confirmed_at is not None and self._clock() < row.confirmed_at + STEADY:  # LO-65: it flaps
            return self._later(row, row.attempts, row.confirmed_at + STEADY)
        if location is None or location.confirmed is None or location.wanted > location.told:
            return self._hand_over(due.key, row)
        try:
            message = about_evse(current, exact(location.confirmed))
        except KeyError:
            return self._hand_over(due.key, row)
        return self._job(row, partner, message, location) if message is not None else self._known(row)

    def _gone_step(self, connection: Connection, due: Due, row: Row[Any], partner: PartnerRecord) -> Job | Step:
        """A tariff is taken back (TA-03), and after the locations that referred to it (TA-04); a location that is published no
        longer, where the version has no word for that. A partner that never was told of it hears nothing of it (TA-06)."""
        if due.module == "locations" and row.confirmed is not None:
            return self._job(row, partner, taken_back(exact(row.confirmed)))
        tariff = None
        if due.module == "tariffs" and (row.confirmed_at is not None or row.attempts):  # an attempt may have arrived
            named = select(Tariff.country_code, Tariff.party_id, Tariff.tariff_id)
            tariff = connection.execute(named.where(Tariff.id == int(due.object_id))).one_or_none()
        if tariff is None:
            return self._known(row)
        if (due.partner_id, "locations") in untried(connection):
            return self._later(row, max(row.attempts, 1))
        of_us = partner.our_party if partner.version == v211.VERSION else (tariff.country_code, tariff.party_id)
        body = {"country_code": of_us[0], "party_id": of_us[1], "id": tariff.tariff_id}
        return self._job(row, partner, Message(verb=Verb.DELETE, body=body, state=None, path=(tariff.tariff_id,)))

    def _job(
        self,
        row: Row[Any],
        partner: PartnerRecord,
        message: Message,
        location: Row[Any] | None = None,
        *,
        meant: Party | None = None,
    ) -> Job | Step:
        """`meant` None: everybody; over a hub a broadcast, but for a DELETE, which cannot be one (RT-06)."""
        whole = message.state or message.body
        open_routing = message.verb is Verb.DELETE
        calling = peer(partner, our_party=party(whole), their_party=meant, open_routing=open_routing)
        if calling is None:  # it left since it was picked
            return lambda connection: None
        return Job(row=row, peer=calling, message=message, location=location)

    def _known(self, row: Row[Any]) -> Step:
        return lambda connection: _write(connection, row.id, self._told(row))

    def _halt(self, row: Row[Any], words: str) -> Step:
        """Nothing is sent and nothing queued until the hub says that the party is back (HC-04, HC-07)."""
        return lambda connection: _write(connection, row.id, {"stopped": words, "last_error": words})

    def _later(self, row: Row[Any], attempts: int, at: datetime | None = None) -> Step:
        at = at or self._clock() + SOON
        return lambda connection: _write(connection, row.id, {"attempts": attempts, "next_attempt_at": at})

    def _after(self, first: Key, row: Row[Any]) -> Step:
        def write(connection: Connection) -> None:
            enqueue(connection, [first], self._clock())
            self._later(row, row.attempts)(connection)

        return write

    def _hand_over(self, location: Key, row: Row[Any]) -> Step:
        def write(connection: Connection) -> None:
            enqueue(connection, [location], self._clock())
            _write(connection, row.id, self._told(row))

        return write

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
        with self._database.write() as connection:
            fates = [self._settle(connection, job, reply) for job, reply in answered]
        for (job, reply), fate in zip(answered, fates, strict=True):
            if fate is Fate.STOPPED:
                _log_stopped(job, reply)

    def _settle_alone(self, one: Answered) -> None:
        try:
            self._settle_together([one])
        except Exception as error:
            log.exception("delivery_failed", module=one[0].row.module, object_id=one[0].row.object_id)
            self.broken(one[0].row.id, f"{type(error).__name__}: {error}")

    def _settle(self, connection: Connection, job: Job, reply: Reply) -> Fate:
        verdict = judge(job.row.module, job.message.verb, arrived(job.message, reply), job.row.attempts)
        now = self._clock()
        # After a new registration the partner may have forgotten what it confirmed to the old token.
        same = self._partners.get(connection, job.row.partner_id).token_out == job.peer.token
        state = storable(job.message.state) if same else None
        if verdict.fate is Fate.TOLD:
            self._confirmed(connection, job, reply, state, now)
        elif job.location is not None and verdict.doubt:
            self._doubted(connection, job, verdict.fate, now)
        else:
            words = summary(reply, job.peer.token)
            if reply.delivery is Answer.HUB:
                words = halted(job.peer.their_party, words)
            changes: dict[str, Any] = {"attempts": verdict.attempts, "last_error": words}
            if verdict.doubt:
                changes["confirmed"] = null()
            if job.row.module == "cdrs":
                changes |= _of_doubtful_cdr(job, reply)
            if verdict.fate is Fate.STOPPED:
                unchanged = Delivery.wanted == job.row.wanted
                changes["stopped"] = case((unchanged, literal(changes["last_error"])), else_=null())
            again = retry_at(now, verdict.attempts, self._chance())
            changes["next_attempt_at"] = again if verdict.fate is Fate.AGAIN else now
            _write(connection, job.row.id, changes)
        return verdict.fate

    def _confirmed(self, connection: Connection, job: Job, reply: Reply, state: Any, now: datetime) -> None:
        gone = job.message.verb is Verb.DELETE
        changes = self._told(job.row) | {"confirmed_at": None if gone else now}
        if job.location is None:
            changes["confirmed"] = null() if state is None else state
        else:
            known = and_(Delivery.id == job.location.id, Delivery.confirmed.is_not(None))
            connection.execute(update(Delivery).where(known).values(confirmed=null() if state is None else state))
        if job.row.module == "cdrs":
            asked_for = job.row.remote_url if job.message.verb is Verb.GET else None
            changes["remote_url"] = reply.location or asked_for  # CD-03
            if changes["remote_url"] is None:
                log.warning("cdr_location_missing", partner=job.peer.name, object_id=job.row.object_id)  # CD-04
        _write(connection, job.row.id, changes)

    def _doubted(self, connection: Connection, job: Job, fate: Fate, now: datetime) -> None:
        """The PATCH of an EVSE that may not have been taken: its whole location is told instead (PU-07)."""
        assert job.location is not None
        at = retry_at(now, 1, self._chance()) if fate is Fate.AGAIN else now
        connection.execute(update(Delivery).where(Delivery.id == job.location.id).values(confirmed=null()))
        enqueue(connection, [(job.row.partner_id, "locations", job.location.object_id)], at)
        _write(connection, job.row.id, self._told(job.row))

    def hasten(self, circuit: Circuit) -> None:
        """This module of the partner answers again: what failed there is tried now, and not after its wait."""
        partner_id, module = circuit
        waits = (Delivery.partner_id == partner_id, Delivery.module.in_([module, *PARTS.get(module, ())]), WAITING)
        with self._database.write() as connection:
            soon = update(Delivery).where(*waits, Delivery.attempts > 0, Delivery.next_attempt_at > self._clock())
            connection.execute(soon.values(next_attempt_at=self._clock()))

    def broken(self, delivery_id: int, why: str) -> None:
        """It could not be made ready, or its answer not be kept: an error of ours, tried again like one of theirs."""
        with self._database.write() as connection:
            row = connection.execute(select(Delivery.attempts).where(Delivery.id == delivery_id)).one()
            made = row.attempts + 1
            again = retry_at(self._clock(), made, self._chance())
            _write(connection, delivery_id, {"attempts": made, "next_attempt_at": again, "last_error": why[:300]})

    def _told(self, row: Row[Any]) -> dict[str, Any]:
        """Up to what was read; a change that came since makes it due at once."""
        return {"told": row.wanted, "attempts": 0, "next_attempt_at": self._clock(), "last_error": None}


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


def known_party(partner: PartnerRecord, current: Body) -> bool:
    """Was the partner told that the object's owner is one of ours (PU-03)? It is as soon as our credentials reach it."""
    told = (partner.told_of_us or {}).get("parties")
    return told is None or "-".join(party(current)) in told


def meant_party(connection: Connection, due: Due, partner: PartnerRecord, current: Body) -> Party | None:
    """Whose card it is about; None for what everybody may know (RT-07)."""
    token = current.get("cdr_token")
    if token is None and partner.is_hub and due.module == "chargingprofiles":
        kept = connection.execute(select(Transaction.snapshot).where(Transaction.id == due.object_id)).scalar()
        token = (kept or {}).get("token")
    return party(token) if token else None


def _write(connection: Connection, delivery_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
