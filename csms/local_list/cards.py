"""Which cards a station may let in alone, those used last first: read once, for all stations that are told at the time."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.orm import aliased

from csms.authorization import ASK_OWNER
from csms.commands import ListedToken
from csms.events import AuthorizationReply, AuthorizationStatus
from csms.models import OWN, Token, TokenAlias, Transaction
from csms.requests import WIRE_TAG_LENGTH

OFFLINE_ALLOWED = ("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE")
NEVER_PRESENTED = ("APP_USER", "AD_HOC_USER")  # no reader ever sees them
LONGEST_LIST = 10_000  # whatever a station says that it keeps


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """`read_at`: what was committed before it is in it."""

    read_at: datetime
    entries: tuple[ListedToken, ...]


def read_roll(connection: Connection, now: datetime) -> Roll:
    """At most LONGEST_LIST entries: good at `now`, under each spelling that fits the wire and means this card when it is
    presented (an own card before a partner's, and no partner's when several have it)."""
    used = (
        select(Transaction.token_id, func.max(Transaction.started_at).label("last_at"))
        .group_by(Transaction.token_id)
        .subquery()
    )
    fits = func.length(Token.uid).between(1, WIRE_TAG_LENGTH)
    spelled_otherwise = Token.id.in_(select(TokenAlias.token_id))
    query = (
        select(Token.id, Token.uid, Token.group_id, Token.expires_at, _meant(Token.uid_key).label("by_number"))
        .outerjoin(used, used.c.token_id == Token.id)
        .where(*_good(now), or_(fits, spelled_otherwise))
        .order_by(used.c.last_at.desc().nulls_last(), Token.id.desc())
        .limit(LONGEST_LIST)
    )
    aliases = _aliases(connection, now)
    entries: list[ListedToken] = []
    for id_, uid, group_id, expires_at, by_number in connection.execute(query):
        group = group_id if group_id and len(group_id) <= WIRE_TAG_LENGTH else None
        good = AuthorizationReply(status=AuthorizationStatus.ACCEPTED, expires_at=expires_at, group_id=group)
        spellings = [*([uid] if by_number else []), *aliases.get(id_, ())]
        entries += [ListedToken(id_token=one, authorization=good) for one in spellings if _fits(one)]
    return Roll(read_at=now, entries=tuple(entries[:LONGEST_LIST]))


def _good(now: datetime) -> tuple[Any, ...]:
    return (
        Token.valid,
        Token.whitelist.in_(OFFLINE_ALLOWED),
        Token.type.not_in(NEVER_PRESENTED),
        or_(Token.expires_at.is_(None), Token.expires_at > now),
    )


def _aliases(connection: Connection, now: datetime) -> dict[int, list[str]]:
    """Other spellings by card, as the operator wrote them."""
    query = (
        select(TokenAlias.token_id, TokenAlias.alias)
        .join(Token, Token.id == TokenAlias.token_id)
        .where(*_good(now), _meant(TokenAlias.alias_key))
        .order_by(TokenAlias.alias_key)
    )
    found: dict[int, list[str]] = {}
    for token_id, alias in connection.execute(query):
        found.setdefault(token_id, []).append(alias)
    return found


def _meant(key: Any) -> Any:
    """No other card, under whichever spelling of its own, is or may be meant by `key` (as `authorization.choose` has it)."""
    other, alias = aliased(Token), aliased(TokenAlias)
    own_first = and_(Token.owner_id == OWN, other.owner_id == OWN, other.id < Token.id)
    rivals = or_(other.owner_id == OWN, other.valid, other.whitelist.in_(ASK_OWNER))
    rival = and_(other.id != Token.id, or_(own_first, and_(Token.owner_id != OWN, rivals)))
    by_number = select(other.id).where(other.uid_key == key, rival)
    by_alias = select(other.id).join(alias, alias.token_id == other.id).where(alias.alias_key == key, rival)
    return and_(~by_number.exists(), ~by_alias.exists())


def _fits(spelling: str) -> bool:
    short = 0 < len(spelling) <= WIRE_TAG_LENGTH
    return short and spelling.isascii() and spelling.isprintable() and spelling.strip() == spelling
