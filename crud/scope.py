"""What the caller of this request may see: its own objects, and those of the party of ours that it addresses."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, select

from crud.caller import Caller, IncomingRequest, Party, current_caller, current_request
from csms.billing.choice import Payer
from csms.models import ChargeRecord, Reservation, Token, Transaction


def caller() -> Caller:
    """The partner that asks. Only requests of partners come here: without one this is a LookupError."""
    return current_caller.get()


def request() -> IncomingRequest | None:
    return current_request.get(None)


def addressed() -> Party | None:
    """The party of ours in the routing headers; None means all of them (RT-11)."""
    incoming = request()
    return incoming.to_party if incoming is not None else None


def of_addressed_party(table: Any) -> list[ColumnElement[bool]]:
    """The condition on `table` that only the addressed party's objects are seen."""
    party = addressed()
    return [] if party is None else [table.country_code == party[0], table.party_id == party[1]]


def behind_hub() -> Party | None:
    """The client for which a hub asks, in capitals; None for a caller that is no hub, and where the hub asks itself."""
    incoming = request()
    if incoming is None or incoming.from_party is None or not caller().is_hub:
        return None
    if caller().is_itself_a_hub_as(*incoming.from_party):
        return None
    return incoming.from_party[0].upper(), incoming.from_party[1].upper()


def acts_for(country_code: str, party_id: str) -> bool:
    """May this request concern this party's cards? Of a hub one client never acts for another."""
    behind = behind_hub()
    return caller().speaks_for(country_code, party_id) and behind in (None, (country_code.upper(), party_id.upper()))


def paying() -> Payer:
    """The caller, as tariffs know it."""
    parties = [(country_code, party_id) for country_code, party_id, _ in caller().roles]
    parties += [behind] if (behind := behind_hub()) else []
    return Payer(name=caller().name, parties=frozenset("*".join(party) for party in parties))


def own(table: Any) -> list[ColumnElement[bool]]:
    """The conditions that only the caller's own objects are seen, of the addressed party (PG-19, XT-06). Who asks through a
    hub sees what was charged with its own cards."""
    seen = [table.owner_id == caller().partner_id, *of_addressed_party(table)]
    party = behind_hub()
    if party is not None:
        cards = select(Token.id).where(
            Token.owner_id == caller().partner_id, Token.country_code == party[0], Token.party_id == party[1]
        )
        seen.append(_CARD[table](cards))
    return seen


_CARD: dict[Any, Callable[[Any], ColumnElement[bool]]] = {
    Transaction: Transaction.token_id.in_,
    Reservation: Reservation.token_id.in_,
    ChargeRecord: lambda cards: ChargeRecord.transaction_id.in_(
        select(Transaction.id).where(Transaction.token_id.in_(cards))
    ),
}


def body(data: Any) -> dict[str, Any]:
    """The body as it was sent, where absent and null still differ; `data`, as py_ocpi read it, where there is none."""
    incoming = request()
    sent = incoming.body if incoming is not None else None
    return dict(sent if isinstance(sent, dict) else data)
