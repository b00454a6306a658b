"""The call that each due delivery needs now, or what is written down of it instead; here nothing is sent or written."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.engine import Row

from adapters import v211
from crud.caller import Party
from crud.hub_clients import away, halted
from crud.models import Delivery
from crud.partners import PartnerRecord, Partners
from csms.models import Tariff, Transaction
from ocpi_bridge.cdr_order import Place, Turn, places
from ocpi_bridge.due import Due, Key, untried
from ocpi_bridge.emsp_client import Peer
from ocpi_bridge.peers import peer
from ocpi_bridge.push import enqueue
from ocpi_bridge.telling import Body, Message, Verb, about, about_evse, exact, party, taken_back

log = structlog.get_logger(__name__)

SOON = timedelta(seconds=1)
STEADY = timedelta(seconds=2)  # between two statuses of one EVSE; the first goes at once, and the last is never lost
NO_CREDITS = "OCPI 2.1.1 has no credit CDRs; settle this one with the partner by other means"

Step = Callable[[Connection], None]

_ROWS = select(Delivery.__table__).where(Delivery.id.in_(bindparam("ids", expanding=True)))


class Render(Protocol):
    """The current state of objects of one module as their GETs would show them to this partner, by their ids: each a plain
    dict in OCPI's words; those that are not shown to it are left out.

    They carry the party of ours under which the partner knows them, in 2.1.1 too, where only the address shows that. `module`
    is locations, evses (the EVSE object alone), sessions, cdrs or tariffs; an id is the row's as text. For tariffs any
    version's row stands for the version in force, and one is left out that the partner does not pay, or not now.
    """

    def __call__(
        self, connection: Connection, module: str, ids: Sequence[str], partner_id: int, /
    ) -> Mapping[str, Mapping[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call, ready to be made. `row` is the delivery it settles; `location`, of an EVSE, its location's delivery."""

    due: Due
    row: Row[Any]
    peer: Peer
    message: Message
    location: Row[Any] | None = None


class NextCalls:
    def __init__(self, partners: Partners, render: Render, *, clock: Callable[[], datetime]) -> None:
        self._partners = partners
        self._render = render
        self._clock = clock

    def of(self, connection: Connection, picked: Sequence[Due]) -> Sequence[tuple[Row[Any], Job | Step]]:
        """Each with its row, in order, but for what is there no more; a Step is what there is to write when nothing can be
        said now."""
        # `wanted` is read before the state, so the state is at least as new as what `told` will claim.
        rows = {row.id: row for row in connection.execute(_ROWS, {"ids": [due.id for due in picked]})}
        picked = [due for due in picked if due.id in rows]
        partners = {id: self._partners.get(connection, id) for id in {due.partner_id for due in picked}}
        shown = self._shown(connection, picked)
        cdrs = [due for due in picked if due.module == "cdrs"]
        turns = places(connection, cdrs) if cdrs else {}
        found = []
        for due in picked:
            row, partner = rows[due.id], partners[due.partner_id]
            found.append((row, self._step(connection, due, row, partner, shown.get(due.id), turns.get(due.id))))
        return found

    def _shown(self, connection: Connection, picked: Sequence[Due]) -> Mapping[int, Body]:
        alike: defaultdict[tuple[int, str], list[Due]] = defaultdict(list)
        for due in picked:
            alike[due.partner_id, due.module].append(due)
        found: dict[int, Body] = {}
        for (partner_id, module), these in alike.items():
            bodies = self._render(connection, module, [due.object_id for due in these], partner_id)
            found |= {due.id: exact(bodies[due.object_id]) for due in these if due.object_id in bodies}
        return found

    def _step(
        self,
        connection: Connection,
        due: Due,
        row: Row[Any],
        partner: PartnerRecord,
        current: Body | None,
        place: Place | None,
    ) -> Job | Step:
        if due.module == "evses":
            return self._evse_step(connection, due, row, partner, current)
        if place is not None and (step := self._cdr_waits(due, row, partner, place)) is not None:
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
        return self._job(due, row, partner, message, meant=meant)

    def _cdr_waits(self, due: Due, row: Row[Any], partner: PartnerRecord, place: Place) -> Step | None:
        """None: it is its turn. A credit has none in 2.1.1, and so neither has the CDR that stands instead (CD-09)."""
        untellable = partner.version == v211.VERSION and place.credit
        if place.turn is Turn.NOW and not untellable:
            return None
        if place.turn is Turn.MISSING:
            return self._after((due.partner_id, "cdrs", str(place.before)), row)
        if place.turn is Turn.LATER:
            return self._later(row, row.attempts)
        words = NO_CREDITS if untellable else f"the CDR {place.before}, which goes before it, was stopped"
        log.error("delivery_stopped", partner=due.partner_id, module=due.module, object_id=due.object_id, why=words)
        return lambda connection: write(connection, row.id, {"stopped": words, "last_error": words})

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
        return self._job(due, row, partner, message, location) if message is not None else self._known(row)

    def _gone_step(self, connection: Connection, due: Due, row: Row[Any], partner: PartnerRecord) -> Job | Step:
        """A tariff is taken back (TA-03), and after the locations that referred to it (TA-04); a location that is published no
        longer, where the version has no word for that. A partner that never was told of it hears nothing of it (TA-06)."""
        if due.module == "locations" and row.confirmed is not None:
            return self._job(due, row, partner, taken_back(exact(row.confirmed)))
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
        message = Message(verb=Verb.DELETE, body=body, state=None, path=(tariff.tariff_id,))
        return self._job(due, row, partner, message)

    def _job(
        self,
        due: Due,
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
        return Job(due=due, row=row, peer=calling, message=message, location=location)

    def _known(self, row: Row[Any]) -> Step:
        return lambda connection: write(connection, row.id, told(row, self._clock()))

    def _halt(self, row: Row[Any], words: str) -> Step:
        """Nothing is sent and nothing queued until the hub says that the party is back (HC-04, HC-07)."""
        return lambda connection: write(connection, row.id, {"stopped": words, "last_error": words})

    def _later(self, row: Row[Any], attempts: int, at: datetime | None = None) -> Step:
        at = at or self._clock() + SOON
        return lambda connection: write(connection, row.id, {"attempts": attempts, "next_attempt_at": at})

    def _after(self, first: Key, row: Row[Any]) -> Step:
        def step(connection: Connection) -> None:
            enqueue(connection, [first], self._clock())
            self._later(row, row.attempts)(connection)

        return step

    def _hand_over(self, location: Key, row: Row[Any]) -> Step:
        def step(connection: Connection) -> None:
            enqueue(connection, [location], self._clock())
            write(connection, row.id, told(row, self._clock()))

        return step


def told(row: Row[Any], now: datetime) -> dict[str, Any]:
    """Up to what was read; a change that came since makes it due at once."""
    return {"told": row.wanted, "attempts": 0, "next_attempt_at": now, "last_error": None}


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


def write(connection: Connection, delivery_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
