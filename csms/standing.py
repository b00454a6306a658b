"""Who holds which card and what runs where: all that a decision about a card or a transaction needs, read once a batch."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, select, text, union_all

from csms.alerts import Alarm
from csms.authorization import Choice, Decision, OwnerAnswer, choose, concurrent, decide
from csms.batch import Batch
from csms.billing.choice import OPERATOR, Payer, begin_with, kinds_of
from csms.bus import Admission
from csms.clock import SKEW_LIMIT, Gap, Judged, judge
from csms.database import Database, Utc
from csms.events import AuthorizationStatus, Event, IdTokenPresented, TransactionEnded, TransactionStarted
from csms.lifecycle import OPEN_STATES, State
from csms.locations import Place, places
from csms.models import OWN, AuthorizationDecision, RemoteRequest, Station, Tap, Token, Transaction
from csms.reservations import for_starts, used_by
from csms.samples import number_of
from csms.stations import last_gap
from csms.tariff_list import version_at
from csms.tokens import by_key, masked, normalize

REMOTE_START_CLAIMABLE = timedelta(minutes=15)  # a transaction that comes later than the 30 s is still its own (R03)
KEY_LENGTH = 200
UNCLAIMED_STATES = ("sent", "accepted", "no_start", "timed_out")

Row_ = dict[str, Any]
CardEvent = IdTokenPresented | TransactionStarted | TransactionEnded
Payers = Callable[[Connection, Collection[int]], Mapping[int, Payer]]  # by the owners of cards


def no_partners(connection: Connection, owners: Collection[int]) -> Mapping[int, Payer]:
    """The Payers of a core that nobody roams with."""
    return {}


class Consulted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked before the batch, since no HTTP happens in it. `unchecked`: the owner should have been asked and could
    not be, because the charging lies in the past (decision 3)."""

    answer: OwnerAnswer | None = None
    unchecked: bool = False


def dedup_key(event: TransactionStarted) -> str:
    """T4: what a repeated StartTransaction has in common with the first, whatever its message id."""
    claimed = event.occurred_at.isoformat() if event.occurred_at else "-"
    return f"{event.evse}|{event.connector}|{event.meter_start_mwh}|{claimed}|{short(normalize(event.id_token))}"


def lost_start_key(event: TransactionEnded) -> str:
    """The same for an end whose start we never saw (X19)."""
    claimed = event.occurred_at.isoformat() if event.occurred_at else "-"
    card = short(normalize(event.id_token or ""))
    return f"end|{short(event.transaction_ref)}|{event.meter_stop_mwh}|{claimed}|{card}"


def short(text: str) -> str:
    """A key that an index can hold, of a text of any length; two that differ stay two."""
    if len(text) <= KEY_LENGTH:
        return text
    return f"{text[:KEY_LENGTH]}#{blake2b(text.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def tariff_for(
    connection: Connection, payers: Payers, place: Place | None, card: Any | None, at: datetime
) -> Row[Any] | None:
    """With which of the connector's tariffs, in the versions of that moment, a session of this card begins. Who pays
    matters only where a tariff names partners."""
    if place is None or not place.tariffs:
        return None
    tariffs = [version_at(connection, tariff, at) for tariff in place.tariffs]
    payer = OPERATOR
    if card is not None and card.owner_id != OWN:
        named = any("partners" in tariff.details for tariff in tariffs)
        known = payers(connection, [card.owner_id]) if named else {}
        payer = known.get(card.owner_id, Payer(name=""))
    chosen: Row[Any] | None = begin_with(tariffs, payer, kinds_of(card), at)
    return chosen


class Standing:
    """The state of one batch; what its events decide is written into it too, so that later ones see it."""

    def __init__(
        self, batch: Batch, database: Database, events: Sequence[CardEvent], payers: Payers = no_partners
    ) -> None:
        self._batch = batch
        self._payers = payers
        starts = [event for event in events if isinstance(event, TransactionStarted)]
        ends = [event for event in events if isinstance(event, TransactionEnded)]
        station_ids = sorted({event.station_id for event in events})
        keys = {normalize(event.id_token) for event in events if event.id_token}
        self.cards = by_key(batch.connection, sorted(keys))
        self._load_stations(station_ids)
        self._load_requests(station_ids)
        self._load_transactions(events, station_ids)
        self._load_cards(transaction["token_id"] for transaction in self.transactions if transaction["repeated"])
        self._load_taps()
        self.reservations = for_starts(batch.connection, starts, batch.now)
        self.places = places(batch.connection, {(event.station_id, event.evse) for event in starts})
        self._gaps = {event.event_id: gap for event in (*starts, *ends) if (gap := self._gap(event)) is not None}
        self._numbers = iter(database.next_numbers(batch.connection, len(starts) + len(ends)) if starts or ends else ())

    # ---- loading ----------------------------------------------------------------------------------------------------

    def _load_stations(self, station_ids: Sequence[str]) -> None:
        rows = self._batch.connection.execute(_STATIONS, {"stations": station_ids})
        self.stations = {row.station_id: row for row in rows}

    def _load_requests(self, station_ids: Sequence[str]) -> None:
        """Remote starts that no transaction has claimed, newest first; with the cards they were made for."""
        since = self._batch.now - REMOTE_START_CLAIMABLE
        rows = self._batch.connection.execute(_REQUESTS, {"stations": station_ids, "since": since})
        self.requests = [dict(row._mapping) for row in rows]
        self._cards_by_id = {card.id: card for cards in self.cards.values() for card in cards}
        self._load_cards(request["token_id"] for request in self.requests)

    def _load_cards(self, ids: Iterable[int | None]) -> None:
        if missing := set(ids) - {None} - self._cards_by_id.keys():
            rows = self._batch.connection.execute(_CARDS, {"cards": sorted(id for id in missing if id is not None)})
            self._cards_by_id |= {card.id: card for card in rows}

    def _load_transactions(self, events: Sequence[CardEvent], station_ids: Sequence[str]) -> None:
        """Whatever runs at these stations or on these cards, and whatever these events may repeat; locked by id."""
        numbers = {number_of(e.transaction_ref) for e in events if isinstance(e, TransactionEnded)} - {None}
        repeated = {(e.station_id, dedup_key(e)) for e in events if isinstance(e, TransactionStarted)} | {
            (e.station_id, lost_start_key(e)) for e in events if isinstance(e, TransactionEnded)
        }
        wanted = {
            "stations": station_ids,
            "numbers": sorted(number for number in numbers if number is not None),
            "keys": sorted({key for _, key in repeated}),
            "cards": sorted(self._cards_by_id),
        }
        rows = [dict(row._mapping) for row in self._batch.connection.execute(_TRANSACTIONS, wanted)]
        self.transactions = [row | {"repeated": (row["station_id"], row["dedup_key"]) in repeated} for row in rows]

    def _load_taps(self) -> None:
        wanted = {"cards": sorted(self._cards_by_id)}
        rows = self._batch.connection.execute(_TAPS, wanted) if self._cards_by_id else ()
        self.taps = {row.token_id: dict(row._mapping) for row in rows}

    def _gap(self, event: Event[Any]) -> Gap | None:
        """Only an old claim needs to know when the station was away."""
        claimed = event.occurred_at
        if claimed is None or event.received_at - claimed <= SKEW_LIMIT:
            return None
        return last_gap(self._batch.connection, event.station_id, claimed)

    # ---- looking ----------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        return next(self._numbers)

    def judge(self, event: Event[Any]) -> Judged:
        """T2, with what we know of the station's absence and clock."""
        station = self.stations.get(event.station_id)
        skew = station.clock_skew_s if station is not None else None
        gap = self._gaps.get(event.event_id)
        return judge(event.occurred_at, event.received_at, gap=gap, live_skew_s=skew)

    def epoch(self, station_id: str) -> int:
        station = self.stations.get(station_id)
        return station.boot_epoch if station is not None else 0

    def known(self, station_id: str) -> bool:
        """Provisioned or adopted: a stranger starts nothing (T1)."""
        station = self.stations.get(station_id)
        return station is not None and station.admission == Admission.KNOWN

    def card(self, token_id: int | None) -> Row[Any] | None:
        return None if token_id is None else self._cards_by_id.get(token_id)

    def repeats(self, station_id: str, key: str) -> list[Row_]:
        """Transactions of this station with this dedup key, the newest epoch first."""
        same = [t for t in self.transactions if t["station_id"] == station_id and t["dedup_key"] == key]
        return sorted(same, key=lambda transaction: -transaction["dedup_epoch"])

    def running_at(self, station_id: str, evse: int | None = None) -> list[Row_]:
        """Transactions of the station (and EVSE) that have not ended, the latest first."""
        states = OPEN_STATES
        found = [
            t
            for t in self.transactions
            if t["station_id"] == station_id and t["state"] in states and (evse is None or t["evse"] == evse)
        ]
        return sorted(found, key=lambda transaction: transaction["started_at"], reverse=True)

    def active_on(self, token_id: int) -> list[Row_]:
        """Active transactions of a card, anywhere in the fleet (D06)."""
        return [t for t in self.transactions if t["token_id"] == token_id and t["state"] == State.ACTIVE]

    def charging_here(self, event: IdTokenPresented) -> Row[Any] | None:
        """The card that charges at this very station under what was presented, whoever else's card has the same uid (T3)."""
        active = [t for t in self.running_at(event.station_id) if t["state"] == State.ACTIVE]
        cards = self.cards.get(normalize(event.id_token), ())
        return next((card for card in cards for t in active if t["token_id"] == card.id), None)

    def claimable(self, station_id: str, id_token: str, evse: int | None) -> Row_ | None:
        """The remote start that this tag answers at this station; the newest when there are several."""
        key = normalize(id_token)
        for request in self.requests:
            fits = request["evse"] is None or evse is None or request["evse"] == evse
            if (request["station_id"], request["tag_key"]) == (station_id, key) and fits:
                return request if request["transaction_id"] is None else None
        return None

    def tariff_for(self, place: Place | None, card: Any | None, at: datetime) -> Row[Any] | None:
        return tariff_for(self._batch.connection, self._payers, place, card, at)

    def reserved(self, event: TransactionStarted, card: Any, at: datetime) -> Row_ | None:
        """The reservation that this start uses. Whom it was kept for is the charger's to mind: we only know who came."""
        return used_by(self.reservations, event, card, at)

    def tapped_elsewhere(self, token_id: int, station_id: str) -> bool:
        tap = self.taps.get(token_id)
        return tap is not None and tap["station_id"] != station_id and tap["expires_at"] > self._batch.now

    # ---- deciding ---------------------------------------------------------------------------------------------------

    def decide(
        self, event: IdTokenPresented | TransactionStarted, at: datetime, consulted: Consulted, request: Row_ | None
    ) -> Decision:
        """Whether the card is good here at `at`, its use elsewhere left aside."""
        if not self.known(event.station_id):
            return Decision(status=AuthorizationStatus.INVALID, reason="station_not_adopted")
        if request is not None and (card := self.card(request["token_id"])) is not None:
            return Decision(
                status=AuthorizationStatus.ACCEPTED,
                reason="remote_start",
                token=card,
                authorization_reference=request["authorization_reference"],
            )
        choice = self.choose(event.id_token)
        if consulted.unchecked and choice.token is not None:
            return Decision(status=AuthorizationStatus.ACCEPTED, reason="delivered_late_unchecked", token=choice.token)
        return decide(choice, at, answer=consulted.answer)

    def choose(self, id_token: str) -> Choice:
        return choose(self.cards.get(normalize(id_token), ()))

    def unless_concurrent(self, decision: Decision, others: Iterable[Row_]) -> Decision:
        """D06, on the card's row: `others` are its transactions that count against it."""
        if decision.accepted and decision.token is not None and not decision.token.exempt and any(others):
            return concurrent(decision, "active_elsewhere")
        return decision

    def log_decision(self, event: CardEvent, kind: str, decision: Decision, auth_method: str | None) -> None:
        """D09. The raw tag is kept as hex: no byte of it is lost, none of it acts. Who did not know which card was meant says
        so in an alert."""
        raw = event.id_token or ""
        if decision.reason == "several_owners":
            subject = masked(normalize(raw))
            self._batch.alarm(Alarm(kind="card_of_several_owners", subject=subject, station_id=event.station_id))
        token = decision.token
        self._batch.insert(
            AuthorizationDecision,
            {
                "at": event.received_at,
                "station_id": event.station_id,
                "event_id": event.event_id,
                "kind": kind,
                "id_token": hexed(raw),
                "id_token_key": short(normalize(raw)),
                "token_id": token.id if token is not None else None,
                "owner_id": token.owner_id if token is not None else None,
                "status": decision.status.value,
                "reason": decision.reason,
                "auth_method": auth_method,
                "authorization_reference": decision.authorization_reference,
            },
        )


def auth_method(decision: Decision, request: Row_ | None) -> str:
    """How the driver was let in, in the words of the bill (SE-17); `request`: the remote start that this claims."""
    if request is not None and decision.reason == "remote_start":
        return "COMMAND"
    return "AUTH_REQUEST" if decision.asked else "WHITELIST"


def hexed(raw: str) -> str:
    return raw.encode("utf-8", "surrogatepass").hex()


# Put together once: to do so costs as much as to ask them, and a batch may hold a single event.
_NAMED_STATIONS: Any = bindparam("stations", expanding=True)
_NAMED_CARDS: Any = bindparam("cards", expanding=True)
_STATIONS = select(Station.station_id, Station.admission, Station.boot_epoch, Station.clock_skew_s).where(
    Station.station_id.in_(_NAMED_STATIONS)
)
_REQUESTS = (
    select(RemoteRequest.__table__)
    .where(
        RemoteRequest.station_id.in_(_NAMED_STATIONS),
        RemoteRequest.state.in_(UNCLAIMED_STATES),
        RemoteRequest.kind == "start_remotely",
        RemoteRequest.transaction_id.is_(None),
        RemoteRequest.created_at > bindparam("since", type_=Utc),
    )
    .order_by(RemoteRequest.created_at.desc())
)
_CARDS = select(Token.__table__).where(Token.id.in_(_NAMED_CARDS))
_AMONG = (  # an index for each
    and_(Transaction.station_id.in_(_NAMED_STATIONS), Transaction.state.in_([state.value for state in OPEN_STATES])),
    Transaction.number.in_(bindparam("numbers", expanding=True)),
    Transaction.dedup_key.in_(bindparam("keys", expanding=True)),
    # Word for word the condition of its unique index, so that the index answers.
    and_(Transaction.token_id.in_(_NAMED_CARDS), text("state = 'active' AND NOT exempt")),
)
_TRANSACTIONS = (
    select(Transaction.__table__)
    .where(Transaction.id.in_(union_all(*(select(Transaction.id).where(condition) for condition in _AMONG))))
    .order_by(Transaction.id)
    .with_for_update()
)
_TAPS = select(Tap.__table__).where(Tap.token_id.in_(_NAMED_CARDS)).order_by(Tap.token_id).with_for_update()
