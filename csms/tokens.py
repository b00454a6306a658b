"""Cards and their owners: one row for each (owner, uid, type), found by what a charger makes of the uid."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, union_all, update

from csms.database import insert_into
from csms.journal import Fact, FactType, append
from csms.local_list import lists
from csms.models import OWN, Token, TokenAlias

UNPRINTABLE = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn"}
)  # C0, C1, BOM and zero-width characters, and what is no character


class AliasTaken(Exception):
    """The spelling is another card's already."""


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """A card as its owner describes it. `owner_id` 0 is the operator; `last_updated` is the owner's own time."""

    owner_id: int = OWN
    country_code: str
    party_id: str
    uid: str
    type: str = "RFID"
    contract_id: str
    visual_number: str | None = None
    issuer: str
    group_id: str | None = None
    valid: bool
    whitelist: str = "ALWAYS"
    expires_at: datetime | None = None
    exempt: bool = False
    language: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    last_updated: datetime


def normalize(raw: str) -> str:
    """The key by which cards are compared: opaque, case-insensitive, without what cannot be printed (D01, D03).

    Spaces inside are kept; nothing is read as hex, nothing is cut. Empty when nothing printable is left.
    """
    if raw.isascii() and raw.isprintable():
        return raw.strip().casefold()
    return "".join(c for c in raw if unicodedata.category(c) not in UNPRINTABLE).strip().casefold()


def masked(id_token: str) -> str:
    """What a log may show of a card."""
    return f"{id_token[:2]}…{id_token[-2:]}" if len(id_token) > 6 else "…"


def by_key(connection: Connection, keys: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """All cards with these keys, as their own or as an alias, of every owner, in order of their ids."""
    found: dict[str, list[Row[Any]]] = {}
    if keys:
        for row in connection.execute(_SPELLED, {"keys": keys}):
            found.setdefault(row.spelled, []).append(row)
    return found


_KEYS: Any = bindparam("keys", expanding=True)
_SPELLED = union_all(  # put together once: a batch asks it for a single card
    select(Token.__table__, Token.uid_key.label("spelled")).where(Token.uid_key.in_(_KEYS)),
    select(Token.__table__, TokenAlias.alias_key.label("spelled"))
    .join(TokenAlias, TokenAlias.token_id == Token.id)
    .where(TokenAlias.alias_key.in_(_KEYS)),
).order_by("id")


def find(
    connection: Connection, *, owner_id: int, country_code: str, party_id: str, uid: str, type: str = "RFID"
) -> Row[Any] | None:
    """The card with this key of its owner (TK-01), case-insensitively; None when there is none."""
    query = select(Token.__table__).where(_is(owner_id, country_code, party_id, uid, type))
    return connection.execute(query).one_or_none()


def known_as(connection: Connection, record: TokenRecord) -> Row[Any] | None:
    """The card that `record` describes, as it is stored; None when it is new."""
    return find(
        connection,
        owner_id=record.owner_id,
        country_code=record.country_code,
        party_id=record.party_id,
        uid=record.uid,
        type=record.type,
    )


def all_of(connection: Connection, owner_id: int) -> Sequence[Row[Any]]:
    return connection.execute(select(Token.__table__).where(Token.owner_id == owner_id)).all()


def key_of(card: TokenRecord | Row[Any]) -> tuple[str, str, str, str]:
    """What tells the cards of one owner apart (TK-01)."""
    return card.country_code.upper(), card.party_id.upper(), normalize(card.uid), card.type


def of_partner(record: TokenRecord, known: Row[Any] | None) -> TokenRecord:
    """What a partner says of its card, with what only the operator says: until when, and whether it may charge twice."""
    return record if known is None else replace(record, exempt=known.exempt, expires_at=known.expires_at)


def put(connection: Connection, record: TokenRecord, now: datetime) -> Literal["created", "updated", "stale"]:
    """Create or replace. Equal data changes nothing and tells nobody; an older `last_updated` than the stored one is
    "stale": acknowledged, not applied (TK-07)."""
    values = _values(record)
    known = known_as(connection, record)
    if known is None:
        fresh = insert_into(connection, Token).values(**values, created_at=now).on_conflict_do_nothing()
        inserted = connection.execute(fresh.returning(Token.id)).scalar()
        if inserted is not None:
            append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(inserted))], now=now)
            return "created"
        known = known_as(connection, record)  # its owner told it twice at once, and the other was faster
        assert known is not None
    if record.last_updated < known.last_updated:
        return "stale"
    if any(getattr(known, column) != value for column, value in values.items()):
        connection.execute(update(Token).where(Token.id == known.id).values(**values))
        append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(known.id))], now=now)
    return "updated"


def put_new(connection: Connection, records: Sequence[TokenRecord], now: datetime) -> None:
    """As `put` of each, for thousands that nobody knew a moment ago. No two of them have the same key."""
    if not records:
        return
    rows = {key_of(record): _values(record) for record in records}
    statement = insert_into(connection, Token).on_conflict_do_nothing()
    names = (Token.id, Token.country_code, Token.party_id, Token.uid_key, Token.type)
    stamped = [row | {"created_at": now} for row in rows.values()]
    added = {tuple(row[1:]): row.id for row in connection.execute(statement.returning(*names), stamped)}
    facts = [Fact(type=FactType.TOKEN_CHANGED, subject=str(row_id)) for row_id in sorted(added.values())]
    append(connection, facts, now=now)
    for key, record in zip(rows, records, strict=True):
        if key not in added:  # told twice at once, and the other was faster
            put(connection, record, now)


def block(connection: Connection, uid: str, now: datetime) -> int:
    """Make the operator's own cards with this uid invalid, also where a station is alone; returns how many there were."""
    query = (
        update(Token)
        .where(Token.owner_id == OWN, Token.uid_key == normalize(uid))
        .values(valid=False, last_updated=now)
        .returning(Token.id)
    )
    blocked = connection.execute(query).scalars().all()
    append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(row)) for row in blocked], now=now)
    if blocked:
        lists.push_all(connection, now)
    return len(blocked)


def add_alias(connection: Connection, token_id: int, alias: str, now: datetime) -> bool:
    """From now on a charger that tells `alias` tells this card (D02). False when it did already. Raises AliasTaken when the
    spelling is the number or an alias of another card, and ValueError when nothing printable is left of it."""
    key = normalize(alias)
    if not key:
        raise ValueError("an alias has printable characters")
    spelled_so = [card.id for card in by_key(connection, [key]).get(key, ())]
    if spelled_so == [token_id]:
        return False
    if spelled_so:
        raise AliasTaken(masked(alias))
    connection.execute(insert(TokenAlias).values(alias_key=key, token_id=token_id, alias=alias, created_at=now))
    append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(token_id))], now=now)
    return True


def remove_alias(connection: Connection, token_id: int, alias: str, now: datetime) -> bool:
    """False when the card had no such alias."""
    query = delete(TokenAlias).where(TokenAlias.alias_key == normalize(alias), TokenAlias.token_id == token_id)
    if not connection.execute(query).rowcount:
        return False
    append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=str(token_id))], now=now)
    return True


def aliases(connection: Connection, token_id: int) -> Sequence[str]:
    """The card's other spellings, as they were written."""
    query = select(TokenAlias.alias).where(TokenAlias.token_id == token_id).order_by(TokenAlias.alias_key)
    return connection.execute(query).scalars().all()


def _values(record: TokenRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in TokenRecord.__dataclass_fields__}
    values["country_code"], values["party_id"] = record.country_code.upper(), record.party_id.upper()
    return values | {"uid_key": normalize(record.uid)}


def _is(owner_id: int, country_code: str, party_id: str, uid: str, type: str) -> Any:
    return and_(
        Token.owner_id == owner_id,
        Token.country_code == country_code.upper(),
        Token.party_id == party_id.upper(),
        Token.uid_key == normalize(uid),
        Token.type == type,
    )
