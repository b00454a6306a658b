"""What the caller of this request may see: its own objects, and those of the party of ours that it addresses."""

from typing import Any

from sqlalchemy import ColumnElement

from crud.caller import Caller, IncomingRequest, Party, current_caller, current_request


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


def own(table: Any) -> list[ColumnElement[bool]]:
    """The conditions that only the caller's own objects are seen, of the addressed party (PG-19, XT-06)."""
    return [table.owner_id == caller().partner_id, *of_addressed_party(table)]


def body(data: Any) -> dict[str, Any]:
    """The body as it was sent, where absent and null still differ; `data`, as py_ocpi read it, where there is none."""
    incoming = request()
    sent = incoming.body if incoming is not None else None
    return dict(sent if isinstance(sent, dict) else data)
