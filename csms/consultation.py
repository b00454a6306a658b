"""Before the batch: a card whose owner wants to be asked is asked, so that no database transaction ever waits for HTTP."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, or_, select

from csms.authorization import (
    ASK_OWNER,
    DECISION_LASTS,
    OWNER_BUDGET_S,
    OwnerAnswer,
    Question,
    Stranger,
    TokenFinder,
    TokenOwner,
    choose,
)
from csms.clock import SKEW_LIMIT
from csms.database import Database
from csms.events import AuthorizationStatus, IdTokenPresented, TransactionStarted
from csms.lifecycle import State
from csms.models import OWN, AuthorizationDecision, Evse, Location, RemoteRequest, Token, Transaction
from csms.standing import REMOTE_START_CLAIMABLE, UNCLAIMED_STATES, Consulted, dedup_key
from csms.tokens import by_key, normalize

log = structlog.get_logger(__name__)


class Consultation:
    """`consult` gives what the owner said, or that it was not asked and why that must show."""

    def __init__(
        self,
        database: Database,
        owner: TokenOwner | None,
        *,
        finder: TokenFinder | None = None,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._owner = owner
        self._finder = finder
        self._clock = clock

    async def consult(self, event: IdTokenPresented | TransactionStarted) -> Consulted:
        """Never raises for the owner's sake, whatever the owner does; takes at most OWNER_BUDGET_S plus a look into the
        database."""
        found = await asyncio.to_thread(self._look, event)
        if isinstance(found, Consulted):
            return found
        if isinstance(found, Stranger):
            return Consulted(answer=await self._find(found))
        if self._owner is None:
            return Consulted()
        try:
            async with asyncio.timeout(OWNER_BUDGET_S):
                answer = await self._owner.ask(found, timeout_s=OWNER_BUDGET_S)
        except TimeoutError:
            log.warning("owner_silent", owner_id=found.owner_id, station_id=found.station_id)
            answer = OwnerAnswer(status=None)
        except Exception:  # no fault of ours on the way to a partner may cost a charger its transaction
            log.exception("owner_not_asked", owner_id=found.owner_id, station_id=found.station_id)
            answer = OwnerAnswer(status=None)
        return Consulted(answer=answer)

    async def _find(self, stranger: Stranger) -> OwnerAnswer | None:
        assert self._finder is not None  # else nobody is a stranger
        try:
            async with asyncio.timeout(OWNER_BUDGET_S):
                return await self._finder.find(stranger, timeout_s=OWNER_BUDGET_S)
        except TimeoutError:
            return None

    def _look(self, event: IdTokenPresented | TransactionStarted) -> Question | Stranger | Consulted:
        key = normalize(event.id_token)
        with self._database.read() as connection:
            choice = choose(by_key(connection, [key]).get(key, ()))
            token = choice.token
            if token is None and not choice.ambiguous and self._finder is not None and key:
                return self._stranger(connection, event, key)
            if token is None or token.owner_id == OWN or token.whitelist not in ASK_OWNER:
                return Consulted()
            if self._is_known_here(connection, event, token, key):
                return Consulted()
            if isinstance(event, TransactionStarted):
                if self._is_repeated(connection, event):
                    return Consulted()
                if recent := self._recent(connection, event.station_id, token):
                    return Consulted(answer=recent)
                if event.occurred_at is not None and event.received_at - event.occurred_at > SKEW_LIMIT:
                    return Consulted(unchecked=True)
            evse = event.evse if isinstance(event, TransactionStarted) else None
            return question(connection, event.station_id, evse, token)

    def _stranger(
        self, connection: Connection, event: IdTokenPresented | TransactionStarted, key: str
    ) -> Stranger | Consulted:
        """Only who waits now is asked about, and not under the tag of a remote start, which stands for a card (CM-26)."""
        if connection.execute(select(self._asked_to_start(event, key).exists())).scalar():
            return Consulted()
        evse = None
        if isinstance(event, TransactionStarted):
            late = event.occurred_at is not None and event.received_at - event.occurred_at > SKEW_LIMIT
            if late or self._is_repeated(connection, event):
                return Consulted()
            evse = event.evse
        location_id, evse_uids = place_of(connection, event.station_id, evse)
        uid = "".join(letter for letter in event.id_token if letter.isprintable()).strip()
        return Stranger(uid=uid, station_id=event.station_id, location_id=location_id, evse_uids=evse_uids)

    def _is_known_here(
        self, connection: Connection, event: IdTokenPresented | TransactionStarted, token: Row[Token], key: str
    ) -> bool:
        """It charges here and wants to stop (T3), or a remote start vouches for it (CM-22)."""
        active = select(Transaction.id).where(
            Transaction.station_id == event.station_id,
            Transaction.token_id == token.id,
            Transaction.state == State.ACTIVE.value,
        )
        asked = self._asked_to_start(event, key)
        return connection.execute(select(or_(active.exists(), asked.exists()))).scalar() is True

    def _asked_to_start(self, event: IdTokenPresented | TransactionStarted, key: str) -> Any:
        return select(RemoteRequest.id).where(
            RemoteRequest.station_id == event.station_id,
            RemoteRequest.tag_key == key,
            RemoteRequest.state.in_(UNCLAIMED_STATES),
            RemoteRequest.transaction_id.is_(None),
            RemoteRequest.created_at > self._clock() - REMOTE_START_CLAIMABLE,
        )

    @staticmethod
    def _is_repeated(connection: Connection, event: TransactionStarted) -> bool:
        """It was answered before, and that answer stands (E03)."""
        query = select(Transaction.id).where(
            Transaction.station_id == event.station_id, Transaction.dedup_key == dedup_key(event)
        )
        return connection.execute(query.limit(1)).scalar() is not None

    def _recent(self, connection: Connection, station_id: str, token: Row[Token]) -> OwnerAnswer | None:
        """The owner's yes at this very station, still fresh (decision 3)."""
        made = AuthorizationDecision
        reference = connection.execute(
            select(made.authorization_reference)
            .where(
                made.station_id == station_id,
                made.token_id == token.id,
                made.kind == "authorize",
                made.status == AuthorizationStatus.ACCEPTED.value,
                made.at > self._clock() - DECISION_LASTS,
            )
            .order_by(made.at.desc())
            .limit(1)
        ).one_or_none()
        if reference is None:
            return None
        return OwnerAnswer(status=AuthorizationStatus.ACCEPTED, authorization_reference=reference[0])


def place_of(connection: Connection, station_id: str, evse: int | None) -> tuple[str | None, tuple[str, ...]]:
    """In partners' eyes: the site, and the EVSE when it is known which, else all of the station."""
    query = (
        select(Location.location_id, Evse.uid)
        .join(Evse, Evse.__table__.c.location_row == Location.id)
        .where(Evse.station_id == station_id, Evse.removed.is_(False))
        .order_by(Evse.evse)
    )
    if evse is not None:
        query = query.where(Evse.evse == evse)
    spots = connection.execute(query).all()
    return (spots[0].location_id if spots else None), tuple(spot.uid for spot in spots)


def question(connection: Connection, station_id: str, evse: int | None, token: Row[Token]) -> Question:
    """With the place (TK-36, TK-37)."""
    location_id, evse_uids = place_of(connection, station_id, evse)
    return Question(
        token_id=token.id,
        owner_id=token.owner_id,
        uid=token.uid,
        type=token.type,
        country_code=token.country_code,
        party_id=token.party_id,
        station_id=station_id,
        location_id=location_id,
        evse_uids=evse_uids,
    )
