"""A partner's cards are known here because its whole list was read: after registration, at start, and every few hours."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, select, update

from adapters import v211
from adapters.datatypes import Unreadable
from adapters.tokens import overlong, token_from_ocpi
from adapters.v211.tokens import token_from_211
from crud.partners import PartnerRecord, Partners
from csms import lock_order
from csms.database import Database
from csms.journal import Fact, FactType, append
from csms.models import Token
from csms.tokens import TokenRecord, normalize, of_partner, put
from ocpi_bridge.emsp_client import Delivery, EmspClient, PullFailed
from ocpi_bridge.peers import addressed, peer
from ocpi_bridge.pulling import Pulling

log = structlog.get_logger(__name__)

FULL_AFTER = timedelta(hours=24)  # until then what changed since is enough (PG-16)
OVERLAP = timedelta(hours=1)  # the partner's clock is not ours
RESUMED_WITHIN = timedelta(hours=1)
IN_DOUBT = (Delivery.UNSURE, Delivery.UNREACHABLE)
PULL_LIMIT_S = 3600.0
ROWS_A_COMMIT = 500  # a pull of hundreds of thousands never holds the database for long (TK-22)
SMALL = 10  # of lists up to this long, any number may go


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What one pull brought. `complete`: the whole list was read to its end. `kept`: cards that it left out, but too many
    of them to believe it."""

    listed: int = 0
    changed: int = 0
    unreadable: int = 0
    invalidated: int = 0
    kept: int = 0
    complete: bool = False
    failure: str | None = None


class TokenSync:
    def __init__(
        self,
        database: Database,
        partners: Partners,
        client: EmspClient,
        *,
        clock: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
        poll_s: float = 2.0,
        spread: Callable[[], float] = random.random,
        doubt: Callable[[int], None] = lambda _partner_id: None,
    ) -> None:
        """`changed` is called on the loop after a pull, so that the journal's readers look at once; `doubt` with the id of a
        hub that brought cards of a party that it never named."""
        self._database = database
        self._partners = partners
        self._client = client
        self._clock = clock
        self._changed = changed
        self._doubt = doubt
        self._pulling = Pulling(
            what="tokens",
            partners=self._registered,
            unread=lambda partner: partner.tokens_pulled_at is None,
            pull=self._failure,
            clock=clock,
            poll_s=poll_s,
            spread=spread,
        )
        self._begun: dict[int, _Begun] = {}

    def wake(self) -> None:
        """A partner may have registered: look at once."""
        self._pulling.wake()

    async def run(self) -> None:
        """Pulls until cancelled, each partner in a task of its own: one that hangs delays nobody else."""
        await self._pulling.run()

    async def _failure(self, partner_id: int) -> str | None:
        return (await self.pull(partner_id)).failure

    async def pull(self, partner_id: int, *, full: bool = False) -> Pulled:
        """Read the partner's list now. Without `full` only what changed since the last full pull, when that was lately.

        Never raises for the partner's sake: `failure` says why a list could not be read to its end, and then nothing is
        invalidated. Cards of parties that are none of the partner's roles are left out (CR-34).
        """
        partner = await asyncio.to_thread(self._partner, partner_id)
        calling = peer(partner)
        started_at = self._clock()
        if calling is None:
            return Pulled(failure="not registered")
        if not calling.offers("tokens", "SENDER"):
            await asyncio.to_thread(self._done, partner_id, started_at)
            return Pulled()
        since = partner.tokens_pulled_at
        whole = full or since is None or started_at - since > FULL_AFTER
        pull = _Pull(self._database, partner, self._clock)
        begun = self._begun.pop(partner_id, None)
        resumed = begun is not None and whole and not full and begun.goes_on(partner, started_at)
        if begun is not None and resumed:
            pull, started_at = begun.pull, begun.started_at
        failure = None
        since = None if whole or since is None else since - OVERLAP
        resume_at = begun.url if begun is not None and resumed else None
        try:
            async with asyncio.timeout(PULL_LIMIT_S):
                async for page in self._client.get_tokens(calling, since, resume_at=resume_at):
                    for start in range(0, len(page), ROWS_A_COMMIT):
                        await asyncio.to_thread(pull.take, page[start : start + ROWS_A_COMMIT])
        except PullFailed as reason:
            failure = str(reason)
            if whole and reason.url is not None and reason.reply.delivery in IN_DOUBT:
                self._begun[partner_id] = _Begun(pull, reason.url, started_at, partner.registered_at)
        except TimeoutError:
            failure = f"the list did not end within {PULL_LIMIT_S:g} s"
        result = await asyncio.to_thread(pull.finish, started_at, whole, failure, resumed)
        (log.info if failure is None else log.warning)(
            "tokens_pulled",
            partner=partner.name,
            whole=whole,
            listed=result.listed,
            changed=result.changed,
            unreadable=result.unreadable,
            invalidated=result.invalidated,
            kept=result.kept,
            failed=failure is not None,
        )
        if result.complete:
            await asyncio.to_thread(self._done, partner_id, started_at)
        self._changed()
        if pull.foreign and partner.is_hub:
            self._doubt(partner.id)
        return result

    def _registered(self) -> Sequence[PartnerRecord]:
        with self._database.read() as connection:
            return self._partners.registered(connection)

    def _partner(self, partner_id: int) -> PartnerRecord:
        with self._database.read() as connection:
            return self._partners.get(connection, partner_id)

    def _done(self, partner_id: int, started_at: datetime) -> None:
        with self._database.write() as connection:
            self._partners.pulled(connection, partner_id, started_at)


class _Pull:
    """One crawl: what it has seen so far decides, at a good end, which cards are no longer valid."""

    def __init__(self, database: Database, partner: PartnerRecord, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._partner = partner
        self._clock = clock
        self._seen: set[int] = set()  # hashes: a list may hold hundreds of thousands
        self._result = Pulled()
        self._nameless = False
        self.foreign = False  # a card of a party for which the partner does not speak

    def take(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Upsert the good ones in one commit; the bad ones are counted and logged (TY-18)."""
        records: dict[tuple[str, ...], TokenRecord] = {}
        unreadable = 0
        if self._partner.version == v211.VERSION:
            entries = [token_from_211(entry, addressed(self._partner)) for entry in entries]
        for entry in entries:
            try:
                record = token_from_ocpi(entry, self._partner.id)
            except Unreadable as error:
                unreadable += 1
                self._remember_unreadable(entry)
                log.warning("token_unreadable", partner=self._partner.name, reason=str(error))
                continue
            key = _key(record.country_code, record.party_id, record.uid, record.type)
            self._seen.add(hash(key))
            if long := overlong(record):
                log.warning("token_too_long", partner=self._partner.name, fields=long)
            if self._partner.speaks_for(record.country_code, record.party_id):
                records[key] = record
            else:
                unreadable += 1
                self.foreign = True
                log.warning("token_of_foreign_party", partner=self._partner.name, party=record.party_id)
        changed = 0
        if records:
            changed = self._database.transact(
                lambda connection: _store(connection, self._partner.id, records, self._clock())
            )
        before = self._result
        self._result = replace(
            before,
            listed=before.listed + len(entries),
            changed=before.changed + changed,
            unreadable=before.unreadable + unreadable,
        )

    def finish(self, started_at: datetime, whole: bool, failure: str | None, resumed: bool) -> Pulled:
        """After a whole list read to its end, what it does not contain is invalid (TK-21); not of a list that was read in two
        parts, since cards may have changed their places in between."""
        self._result = replace(self._result, failure=failure, complete=whole and failure is None)
        if self._result.complete and not resumed:
            self._database.transact(lambda connection: self._invalidate_absent(connection, started_at))
        return self._result

    def _invalidate_absent(self, connection: Connection, started_at: datetime) -> None:
        valid = select(
            Token.id, Token.country_code, Token.party_id, Token.uid, Token.type, Token.created_at, Token.last_updated
        ).where(Token.owner_id == self._partner.id, Token.valid)
        known, absent = 0, []
        for row in connection.execute(valid):
            known += 1
            listed = hash(_key(row.country_code, row.party_id, row.uid, row.type)) in self._seen
            # A card pushed while we were reading may stand on a page that was read before it came.
            if not listed and row.created_at < started_at and row.last_updated < started_at:
                absent.append(row.id)
        if absent and (not self._seen or self._nameless or (known > SMALL and len(absent) * 2 > known)):
            log.warning("token_list_suspicious", partner=self._partner.name, known=known, absent=len(absent))
            self._result = replace(self._result, kept=len(absent))
            return
        _invalidate(connection, absent, self._clock())
        self._result = replace(self._result, invalidated=len(absent))

    def _remember_unreadable(self, entry: Mapping[str, Any]) -> None:
        """A card that is listed is not absent, even when the rest of it cannot be read."""
        words = [entry.get(name) for name in ("country_code", "party_id", "uid", "type")]
        if all(isinstance(word, str) for word in words):
            self._seen.add(hash(_key(*map(str, words))))
        else:
            self._nameless = True


def _key(country_code: str, party_id: str, uid: str, type: str) -> tuple[str, ...]:
    return country_code.upper(), party_id.upper(), normalize(uid), type.upper()


def _store(connection: Connection, owner_id: int, records: Mapping[tuple[str, ...], TokenRecord], now: datetime) -> int:
    """Write what is new or differs; one query finds the rest. What only the operator says of a card stays."""
    keys = {key[2] for key in records}
    query = select(Token.__table__).where(Token.owner_id == owner_id, Token.uid_key.in_(keys))
    known = {_key(row.country_code, row.party_id, row.uid, row.type): row for row in connection.execute(query)}
    differing = []
    for key, record in sorted(records.items()):
        row = known.get(key)
        kept = of_partner(record, row)
        if row is None or any(getattr(row, name) != getattr(kept, name) for name in COMPARED):
            differing.append((key, kept))
    lock_order.cards(connection, [known[key].id for key, _ in differing if key in known])
    return sum(put(connection, record, now) != "stale" for _, record in differing)


COMPARED = tuple(
    name for name in TokenRecord.__dataclass_fields__ if name not in ("owner_id", "country_code", "party_id")
)


def invalidate_all(connection: Connection, owner_id: int, now: datetime) -> None:
    """None of this owner's cards is valid any more."""
    valid = select(Token.id).where(Token.owner_id == owner_id, Token.valid)
    _invalidate(connection, connection.execute(valid).scalars().all(), now)


def _invalidate(connection: Connection, rows: Iterable[int], now: datetime) -> None:
    ids = sorted(rows)
    for start in range(0, len(ids), ROWS_A_COMMIT):
        some = ids[start : start + ROWS_A_COMMIT]
        lock_order.cards(connection, some)
        connection.execute(update(Token).where(Token.id.in_(some)).values(valid=False))
        append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(row)) for row in some], now=now)


@dataclass(frozen=True)
class _Begun:
    """A pull that broke off: it goes on where it stopped, soon and with the same partner as it was (TK-22)."""

    pull: _Pull
    url: str
    started_at: datetime
    registered_at: datetime | None

    def goes_on(self, partner: PartnerRecord, now: datetime) -> bool:
        return self.registered_at == partner.registered_at and now - self.started_at < RESUMED_WITHIN
