"""Before the batch: a card whose owner wants to be asked is asked, so that no database transaction ever waits for HTTP."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Connection, Row, or_, select

from csms.authorization import ASK_OWNER, DECISION_LASTS, OWNER_BUDGET_S, OwnerAnswer, Question, TokenOwner, choose
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

    def __init__(self, database: Database, owner: TokenOwner | None, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._owner = owner
        self._clock = clock

    async def consult(self, event: IdTokenPresented | TransactionStarted) -> Consulted:
        """Never raises for the owner's sake, whatever the owner does; takes at most OWNER_BUDGET_S plus a look into the
        database."""
        found = await asyncio.to_thread(self._look, event)
        if isinstance(found, Consulted):
            return found
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

    def _look(self, event: IdTokenPresented | TransactionStarted) -> Question | Consulted:
        key = normalize(event.id_token)
        with self._database.read() as connection:
            token = choose(by_key(connection, [key]).get(key, ())).token
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
            return _question(connection, event, token)

    def _is_known_here(
        self, connection: Connection, event: IdTokenPresented | TransactionStarted, token: Row[Token], key: str
    ) -> bool:
        """It charges here and wants to stop (T3), or a remote start vouches for it (CM-22)."""
        active = select(Transaction.id).where(
            Transaction.station_id == event.station_id,
            Transaction.token_id == token.id,
            Transaction.state == State.ACTIVE.value,
        )
        asked = select(RemoteRequest.id).where(
            RemoteRequest.station_id == event.station_id,
            RemoteRequest.tag_key == key,
            RemoteRequest.state.in_(UNCLAIMED_STATES),
            RemoteRequest.transaction_id.is_(None),
            RemoteRequest.created_at > self._clock() - REMOTE_START_CLAIMABLE,
        )
        return connection.execute(select(or_(active.exists(), asked.exists()))).scalar() is True

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


def _question(connection: Connection, event: IdTokenPresented | TransactionStarted, token: Row[Token]) -> Question:
    """With the place, in the owner's eyes: the site, and the EVSE when the event names one (TK-36, TK-37)."""
    query = (
        select(Location.location_id, Evse.uid)
        .join(Evse, Evse.__table__.c.location_row == Location.id)
        .where(Evse.station_id == event.station_id, Evse.removed.is_(False))
        .order_by(Evse.evse)
    )
    if isinstance(event, TransactionStarted):
        query = query.where(Evse.evse == event.evse)
    spots = connection.execute(query).all()
    return Question(
        token_id=token.id,
        owner_id=token.owner_id,
        uid=token.uid,
        type=token.type,
        country_code=token.country_code,
        party_id=token.party_id,
        station_id=event.station_id,
        location_id=spots[0].location_id if spots else None,
        evse_uids=tuple(spot.uid for spot in spots),
    )
