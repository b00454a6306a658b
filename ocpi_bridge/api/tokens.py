"""Cards: the operator's own are added and blocked here, a partner's are looked at; of both, how readers spell them."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import Row, select

from csms import tokens
from csms.models import OWN, Token
from csms.users import Role
from ocpi_bridge.api.asked import (
    PLAIN,
    Asked,
    Input,
    Moment,
    Name,
    Number,
    Page,
    Paging,
    Reply,
    Route,
    cursor_number,
    paged,
)
from ocpi_bridge.api.problems import Problem, not_found

Uid = Annotated[str, Meta(min_length=1, max_length=36, pattern=PLAIN)]
Short = Annotated[str, Meta(min_length=1, max_length=36, pattern=PLAIN)]


class TokensQuery(Paging, frozen=True, kw_only=True):
    """`uid` as on the card, in any case."""

    own: bool | None = None
    valid: bool | None = None
    uid: Name | None = None


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    owner_id: int
    country_code: str
    party_id: str
    uid: str | None
    type: str
    contract_id: str | None
    visual_number: str | None
    issuer: str
    group_id: str | None
    valid: bool
    whitelist: str
    expires_at: datetime | None
    fleet: bool
    last_updated: datetime


class NewToken(Input, frozen=True, kw_only=True):
    """`contract_id`: the uid when absent. `fleet`: it may charge at several stations at once."""

    uid: Uid
    contract_id: Short | None = None
    visual_number: Annotated[str, Meta(max_length=64, pattern=PLAIN)] | None = None
    issuer: Annotated[str, Meta(min_length=1, max_length=64, pattern=PLAIN)] | None = None
    group_id: Short | None = None
    expires_at: Moment | None = None
    fleet: bool = False


class Aliases(msgspec.Struct, frozen=True, kw_only=True):
    """The card's other spellings, as they were written."""

    items: list[str | None]


class Spelling(Input, frozen=True, kw_only=True):
    """How a station writes the card's number."""

    alias: Annotated[str, Meta(min_length=1, max_length=255, pattern=PLAIN)]


def list_tokens(asked: Asked[TokensQuery, None]) -> Page[TokenRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = Token
    query = select(row.__table__).order_by(row.id).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id > after)
    if wanted.own is not None:
        query = query.where(row.owner_id == OWN if wanted.own else row.owner_id != OWN)
    if wanted.valid is not None:
        query = query.where(row.valid.is_(wanted.valid))
    if wanted.uid is not None:
        query = query.where(row.uid_key == tokens.normalize(wanted.uid))
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, lambda row: _row(row, asked))


def token(asked: Asked[None, None]) -> TokenRow:
    return _row(_found(asked), asked)


def add(asked: Asked[None, NewToken]) -> Reply:
    new = asked.body
    if not tokens.normalize(new.uid):
        raise Problem(status=409, code="unprintable", detail="nothing of the uid can be printed")
    country_code, party_id = asked.given.our_party
    record = tokens.TokenRecord(
        owner_id=OWN,
        country_code=country_code,
        party_id=party_id,
        uid=new.uid,
        contract_id=new.contract_id or new.uid,
        visual_number=new.visual_number,
        issuer=new.issuer or asked.given.operator_name,
        group_id=new.group_id,
        valid=True,
        expires_at=new.expires_at,
        exempt=new.fleet,
        last_updated=asked.now,
    )
    what = tokens.put(asked.connection, record, asked.now)
    row = tokens.known_as(asked.connection, record)
    assert row is not None
    headers = {"Location": f"/api/v1/tokens/{row.id}"}
    return Reply(value=_row(row, asked), status=201 if what == "created" else 200, headers=headers)


def block(asked: Asked[None, None]) -> TokenRow:
    row = _found(asked)
    if row.owner_id != OWN:
        raise Problem(status=409, code="not_our_token", detail="a partner's card is blocked by the partner")
    tokens.block(asked.connection, row.uid, asked.now)
    return token(asked)


def aliases(asked: Asked[None, Any]) -> Aliases:
    card = _found(asked)
    return Aliases(items=[asked.card(alias) for alias in tokens.aliases(asked.connection, card.id)])


def add_alias(asked: Asked[None, Spelling]) -> Reply:
    try:
        new = tokens.add_alias(asked.connection, _found(asked).id, asked.body.alias, asked.now)
    except tokens.AliasTaken:
        raise Problem(status=409, code="alias_taken", detail="the spelling is another card's already") from None
    except ValueError as error:
        raise Problem(status=409, code="unprintable", detail=str(error)) from None
    return Reply(value=aliases(asked), status=201 if new else 200)


def remove_alias(asked: Asked[None, Spelling]) -> Aliases:
    if not tokens.remove_alias(asked.connection, _found(asked).id, asked.body.alias, asked.now):
        raise Problem(status=409, code="no_alias", detail="the card has no such alias")
    return aliases(asked)


def _found(asked: Asked[None, Any]) -> Row[Any]:
    row = asked.connection.execute(select(Token.__table__).where(Token.id == asked.path["id"])).one_or_none()
    if row is None:
        raise not_found("token", asked.path["id"])
    return row


def _row(row: Any, asked: Asked[Any, Any]) -> TokenRow:
    aside = ("uid", "contract_id", "visual_number", "fleet")
    names = [name for name in TokenRow.__struct_fields__ if name not in aside]
    return TokenRow(
        uid=asked.card(row.uid),
        contract_id=asked.card(row.contract_id)
        if tokens.normalize(row.contract_id) == row.uid_key
        else row.contract_id,
        visual_number=asked.card(row.visual_number),
        fleet=row.exempt,
        **{name: getattr(row, name) for name in names},
    )


ROUTES = (
    Route(
        method="GET",
        path="/tokens",
        role=Role.VIEWER,
        summary="Cards, in the order in which they came.",
        handler=list_tokens,
        query=TokensQuery,
        output=Page[TokenRow],
    ),
    Route(
        method="POST",
        path="/tokens",
        role=Role.OPERATOR,
        summary="Make a card of the operator's own valid; one that exists is described anew.",
        handler=add,
        body=NewToken,
        output=TokenRow,
        status=201,
        repeats=True,
    ),
    Route(
        method="GET",
        path="/tokens/{id}",
        role=Role.VIEWER,
        summary="A card.",
        handler=token,
        output=TokenRow,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/tokens/{id}/block",
        role=Role.OPERATOR,
        summary="Refuse a card of the operator's own from now on; what it is charging goes on.",
        handler=block,
        output=TokenRow,
        path_types={"id": Number},
        problems=(409,),
    ),
    Route(
        method="GET",
        path="/tokens/{id}/aliases",
        role=Role.VIEWER,
        summary="How else readers spell a card.",
        handler=aliases,
        output=Aliases,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/tokens/{id}/aliases",
        role=Role.OPERATOR,
        summary="Take another spelling for the same card.",
        handler=add_alias,
        body=Spelling,
        output=Aliases,
        status=201,
        repeats=True,
        path_types={"id": Number},
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/tokens/{id}/aliases/remove",
        role=Role.OPERATOR,
        summary="Take a spelling for this card no more.",
        handler=remove_alias,
        body=Spelling,
        output=Aliases,
        path_types={"id": Number},
        problems=(409,),
    ),
)
