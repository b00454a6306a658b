"""The partners: who may call us by which token, how we call them, and no token ever in the clear at rest."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, Row, Text, bindparam, delete, insert, or_, select, update

from crud.caller import OPERATOR, Caller, Party, PresentedToken
from crud.hub_clients import forget, known_parties
from crud.models import Partner
from csms.database import Database
from csms.prepared import Look
from csms.sealing import SealBroken, Vault

TOKEN_BYTES = 48  # 64 characters in URL-safe Base64, the most that OCPI allows (CR-30)
REPEATED_FOR = timedelta(hours=1)  # so long a partner that did not hear our answer may ask for it again (CR-13)

log = structlog.get_logger(__name__)


class PartnerState(StrEnum):
    INVITED = "invited"
    REGISTERED = "registered"
    LEFT = "left"


class UnknownPartner(Exception):
    """No partner of this name or id."""


class AlreadyRegistered(Exception):
    """The partner is registered; it must leave first."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the other side told at a registration: the token it issued to us, its versions URL, its roles, and the version
    details we read from it. `endpoints`: [{identifier, role, url}]."""

    token: str = field(repr=False)
    versions_url: str
    version: str
    roles: Sequence[Mapping[str, Any]]
    endpoints: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PartnerRecord:
    """A partner with its tokens readable. `token_in` is ours, by which it calls; `token_out` its own, by which we call
    (CR-25). `our_party` is the party of ours it deals with."""

    id: int
    name: str
    state: PartnerState
    our_party: Party
    version: str | None
    versions_url: str | None
    token_in: str | None = field(repr=False)
    pending_in: str | None = field(repr=False)
    pending_sent: bool
    token_out: str | None = field(repr=False)
    accept_raw_token: bool
    send_raw_token: bool
    roles: tuple[dict[str, Any], ...]
    endpoints: tuple[dict[str, Any], ...]
    tokens_pulled_at: datetime | None
    created_at: datetime
    registered_at: datetime | None
    clients: frozenset[Party] | None = None  # who stands behind a hub, when it has told
    told_of_us: Mapping[str, Any] | None = None
    asked_of_strangers: bool = False

    def endpoint(self, module: str, role: str) -> str | None:
        return next((e["url"] for e in self.endpoints if (e["identifier"], e["role"]) == (module, role)), None)

    @property
    def is_hub(self) -> bool:
        return any(role["role"] == "HUB" for role in self.roles)

    def speaks_for(self, country_code: str, party_id: str) -> bool:
        """Is this party one of its roles, or a client of this hub, and not as an operator alone (CR-34)?"""
        wanted = (country_code.upper(), party_id.upper())
        roles = [role for role in self.roles if role["role"] != OPERATOR]
        if any((role["country_code"].upper(), role["party_id"].upper()) == wanted for role in roles):
            return True
        return self.is_hub and (self.clients is None or wanted in self.clients)


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


class _Known(NamedTuple):
    """What of a partner's row says who calls, and what it may."""

    id: int
    name: str
    state: str
    token_in_digest: str | None
    pending_in_digest: str | None
    pending_sent: bool | None
    previous_in_digest: str | None
    previous_in_state: Literal["A", "C"]
    country_code: str
    party_id: str
    version: str | None
    roles: Sequence[Mapping[str, Any]]
    accept_raw_token: bool
    registered_at: datetime


_DIGESTS = (bindparam("decoded", type_=Text), bindparam("raw", type_=Text))  # None equals nothing
_BY_DIGEST = Look(
    select(*(Partner.__table__.c[name] for name in _Known._fields)).where(
        or_(
            Partner.token_in_digest.in_(_DIGESTS),
            Partner.pending_in_digest.in_(_DIGESTS),
            Partner.previous_in_digest.in_(_DIGESTS),
        )
    )
)


class Partners:
    """Verbs on the partners' rows. Those with a connection are synchronous and leave the commit to the caller."""

    def __init__(self, database: Database, vault: Vault, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    # ---- who calls --------------------------------------------------------------------------------------------------

    async def caller(self, presented: Sequence[PresentedToken], working: bool = False) -> Caller | None:
        """Whose token this is, None for nobody's. The token while we register at a partner counts as "A" (CR-22).

        Whoever uses a token has it: the one before is void then (CR-05, CR-13). One that we have sent, and of which no answer
        was heard, is in use as soon as it is `working`, which is for more than versions and credentials."""
        return await asyncio.to_thread(self._caller, presented, working)

    def _caller(self, presented: Sequence[PresentedToken], working: bool) -> Caller | None:
        with self._database.read() as connection:
            row, used = self._row(connection, presented)
            caller = None if row is None else self._known(connection, row, used)
        if row is None or caller is None or caller.superseded:
            return caller
        arrived = used == row.token_in_digest and row.previous_in_digest is not None
        taken = used == row.pending_in_digest and caller.token_state == "C" and working
        if arrived or taken:
            with self._database.write() as connection:
                self._arrived(connection, row.id, used)
        return caller

    def find(self, connection: Connection, presented: Sequence[PresentedToken]) -> Caller | None:
        """As `caller`, and nothing is written."""
        row, used = self._row(connection, presented)
        return None if row is None else self._known(connection, row, used)

    def _row(self, connection: Connection, presented: Sequence[PresentedToken]) -> tuple[_Known | None, str]:
        """The partner, and the digest of the token by which it was found. Tokens are compared by keyed digest, so nothing is
        learned from the time it takes (TR-06)."""
        readings = {self._vault.digest(reading.token): reading.is_raw for reading in reversed(presented)}
        decoded, raw, *_ = *readings, None, None
        found = _BY_DIGEST.rows(connection, decoded=decoded, raw=raw)
        if not found:
            return None, ""
        row = _Known._make(found[0])
        known = (row.token_in_digest, row.pending_in_digest, row.previous_in_digest)
        used = next(digest for digest in known if digest in readings)
        return (None, "") if readings[used] and not row.accept_raw_token else (row, used)

    def _known(self, connection: Connection, row: _Known, used: str) -> Caller | None:
        superseded = used not in (row.token_in_digest, row.pending_in_digest)
        if superseded and self._clock() - row.registered_at > REPEATED_FOR:
            return None
        whole = row.state == PartnerState.REGISTERED and (used == row.token_in_digest or row.pending_sent)
        state: Literal["A", "C"] = "C" if whole else "A"
        return Caller(
            partner_id=row.id,
            name=row.name,
            token_state=row.previous_in_state if superseded else state,
            superseded=superseded,
            token_digest=used,
            our_party=(row.country_code, row.party_id),
            roles=tuple((role["country_code"], role["party_id"], role["role"]) for role in row.roles),
            accept_raw_token=row.accept_raw_token,
            clients=_clients(connection, row),
            version=row.version,
        )

    def _arrived(self, connection: Connection, partner_id: int, used: str) -> None:
        mine = Partner.id == partner_id
        connection.execute(update(Partner).where(mine, Partner.token_in_digest == used).values(**NO_PREVIOUS))
        connection.execute(
            update(Partner)
            .where(mine, Partner.pending_in_digest == used)
            .values(
                token_in=Partner.pending_in,
                token_in_digest=Partner.pending_in_digest,
                told_of_us=None,  # what it answered is lost: it is asked again until it can be called
                **self._pending(None),
                **NO_PREVIOUS,
            )
        )

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, connection: Connection, partner_id: int) -> PartnerRecord:
        return self._one(connection, Partner.id == partner_id, str(partner_id))

    def named(self, connection: Connection, name: str) -> PartnerRecord:
        return self._one(connection, Partner.name == name, name)

    def all(self, connection: Connection) -> Sequence[PartnerRecord]:
        return [
            self._record(connection, row)
            for row in connection.execute(select(Partner.__table__).order_by(Partner.id)).all()
        ]

    def registered(self, connection: Connection) -> Sequence[PartnerRecord]:
        """The partners with which anything is exchanged. One whose tokens another key has sealed cannot be called: it is
        left out, and the log says so."""
        query = select(Partner.__table__).where(Partner.state == PartnerState.REGISTERED).order_by(Partner.id)
        found = []
        for row in connection.execute(query).all():
            try:
                found.append(self._record(connection, row))
            except SealBroken as error:
                log.error("partner_left_out", partner=row.name, reason=str(error))
        return found

    def _one(self, connection: Connection, which: ColumnElement[bool], said: str) -> PartnerRecord:
        row = connection.execute(select(Partner.__table__).where(which)).one_or_none()
        if row is None:
            raise UnknownPartner(said)
        return self._record(connection, row)

    # ---- coming -----------------------------------------------------------------------------------------------------

    def invite(
        self,
        connection: Connection,
        name: str,
        our_party: Party,
        now: datetime,
        *,
        accept_raw_token: bool = False,
        send_raw_token: bool = False,
    ) -> str:
        """A new token A for `name`; an older invitation is void. Raises AlreadyRegistered."""
        token = new_token()
        partner_id = self._stranger(connection, name, our_party, now)
        connection.execute(
            update(Partner)
            .where(Partner.id == partner_id)
            .values(
                state=PartnerState.INVITED,
                country_code=our_party[0],
                party_id=our_party[1],
                accept_raw_token=accept_raw_token,
                send_raw_token=send_raw_token,
                **self._token_in(token),
                **self._pending(None),
                **NO_PREVIOUS,
            )
        )
        return token

    def offer(self, connection: Connection, name: str, our_party: Party, now: datetime, *, raw: bool = False) -> int:
        """Make room for a registration that we begin ourselves; returns the partner's id. Raises AlreadyRegistered."""
        partner_id = self._stranger(connection, name, our_party, now)
        connection.execute(
            update(Partner).where(Partner.id == partner_id).values(accept_raw_token=raw, send_raw_token=raw)
        )
        return partner_id

    def _stranger(self, connection: Connection, name: str, our_party: Party, now: datetime) -> int:
        known = connection.execute(select(Partner.id, Partner.state).where(Partner.name == name)).one_or_none()
        if known is None:
            values = {"name": name, "state": PartnerState.INVITED, "created_at": now}
            values |= {"country_code": our_party[0], "party_id": our_party[1]}
            return connection.execute(insert(Partner).values(**values).returning(Partner.id)).scalar_one()
        if known.state == PartnerState.REGISTERED:
            raise AlreadyRegistered(name)
        return int(known.id)

    def open_pending(self, connection: Connection, partner_id: int) -> str:
        """A token that works for versions, details and credentials from this commit on (CR-22): the same again, when the
        partner may have taken the last one already."""
        partner = self.get(connection, partner_id)
        if partner.pending_sent and partner.pending_in is not None:
            return partner.pending_in
        token = new_token()
        connection.execute(update(Partner).where(Partner.id == partner_id).values(**self._pending(token)))
        return token

    def pending_sent(self, connection: Connection, partner_id: int, token: str, sent: bool) -> None:
        """Whether a registered partner may have taken that token without our hearing of it."""
        mine = (Partner.id == partner_id) & (Partner.pending_in_digest == self._vault.digest(token))
        registered = Partner.state == PartnerState.REGISTERED
        connection.execute(update(Partner).where(mine, registered).values(pending_sent=sent))

    def close_pending(self, connection: Connection, partner_id: int, token: str) -> None:
        """That token is void, unless the partner may have taken it; a partner that nothing else is known of is forgotten
        (CR-26)."""
        digest = self._vault.digest(token)
        mine = (Partner.id == partner_id) & (Partner.pending_in_digest == digest) & Partner.pending_sent.is_not(True)
        connection.execute(update(Partner).where(mine).values(**self._pending(None)))
        connection.execute(
            delete(Partner).where(
                Partner.id == partner_id,
                Partner.state == PartnerState.INVITED,
                Partner.token_in.is_(None),
                Partner.pending_in.is_(None),
                Partner.registered_at.is_(None),
            )
        )

    def complete(
        self,
        connection: Connection,
        partner_id: int,
        *,
        expecting: str,
        token_in: str,
        terms: Terms,
        now: datetime,
        asked_by: Caller | None = None,
    ) -> bool:
        """The partner is registered on these terms, and `token_in` is the only token by which it calls us from now on; but
        until it has used that, whoever asked for it may ask again in the same way.

        `expecting` is the token, ours or pending, on which this registration or rotation rests. False, and nothing
        is changed, when it is no longer that: somebody else was quicker, so concurrent requests register once (CR-12).
        """
        digest = self._vault.digest(expecting)
        changed = connection.execute(
            update(Partner)
            .where(
                Partner.id == partner_id,
                or_(Partner.token_in_digest == digest, Partner.pending_in_digest == digest),
            )
            .values(
                state=PartnerState.REGISTERED,
                version=terms.version,
                versions_url=terms.versions_url,
                token_out=self._vault.seal(terms.token),
                roles=[dict(role) for role in terms.roles],
                endpoints=[dict(endpoint) for endpoint in terms.endpoints],
                registered_at=now,
                **self._token_in(token_in),
                **self._pending(None),
                **(_previous(asked_by.token_digest, asked_by.token_state) if asked_by else NO_PREVIOUS),
            )
        )
        return changed.rowcount == 1

    # ---- changing and going -----------------------------------------------------------------------------------------

    def pulled(self, connection: Connection, partner_id: int, started_at: datetime | None) -> None:
        """The partner's whole token list was read by a pull that began then; None asks for a pull."""
        connection.execute(update(Partner).where(Partner.id == partner_id).values(tokens_pulled_at=started_at))

    def ask_of_strangers(self, connection: Connection, partner_id: int, agreed: bool) -> None:
        """Whether it is asked about cards that nobody has listed (TK-35)."""
        connection.execute(update(Partner).where(Partner.id == partner_id).values(asked_of_strangers=agreed))

    def told(self, connection: Connection, partner_id: int, of_us: Any) -> None:
        """By our credentials it knows this of us: {parties, endpoints} (VE-07)."""
        connection.execute(update(Partner).where(Partner.id == partner_id).values(told_of_us=of_us))

    def leave(self, connection: Connection, partner_id: int) -> None:
        """Every token of both directions is void (CR-10); the row stays, since bills refer to it."""
        forget(connection, partner_id)
        connection.execute(
            update(Partner)
            .where(Partner.id == partner_id)
            .values(
                state=PartnerState.LEFT,
                token_out=None,
                endpoints=[],
                tokens_pulled_at=None,
                told_of_us=None,
                **self._token_in(None),
                **self._pending(None),
                **NO_PREVIOUS,
            )
        )

    # ---- a row and its secrets --------------------------------------------------------------------------------------

    def _token_in(self, token: str | None) -> dict[str, str | None]:
        return {"token_in": self._sealed(token), "token_in_digest": token and self._vault.digest(token)}

    def _pending(self, token: str | None) -> dict[str, Any]:
        digest = token and self._vault.digest(token)
        return {"pending_in": self._sealed(token), "pending_in_digest": digest, "pending_sent": None}

    def _sealed(self, token: str | None) -> str | None:
        return token and self._vault.seal(token)

    def _opened(self, sealed: str | None) -> str | None:
        return sealed and self._vault.open(sealed)

    def _record(self, connection: Connection, row: Row[Any]) -> PartnerRecord:
        return PartnerRecord(
            id=row.id,
            name=row.name,
            state=PartnerState(row.state),
            our_party=(row.country_code, row.party_id),
            version=row.version,
            versions_url=row.versions_url,
            token_in=self._opened(row.token_in),
            pending_in=self._opened(row.pending_in),
            pending_sent=bool(row.pending_sent),
            token_out=self._opened(row.token_out),
            accept_raw_token=row.accept_raw_token,
            send_raw_token=row.send_raw_token,
            roles=tuple(row.roles),
            endpoints=tuple(row.endpoints),
            tokens_pulled_at=row.tokens_pulled_at,
            created_at=row.created_at,
            registered_at=row.registered_at,
            clients=_clients(connection, row),
            told_of_us=row.told_of_us,
            asked_of_strangers=bool(row.asked_of_strangers),
        )


def _previous(digest: str | None, state: str | None) -> dict[str, str | None]:
    return {"previous_in_digest": digest, "previous_in_state": state}


NO_PREVIOUS = _previous(None, None)


def _clients(connection: Connection, row: Row[Any] | _Known) -> frozenset[Party] | None:
    is_hub = any(role["role"] == "HUB" for role in row.roles)
    return known_parties(connection, row.id) if is_hub else None
