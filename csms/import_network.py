"""What an operator's network file says becomes so; what it does not change stays as it is, as old as it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, text, update

from csms import tokens
from csms.billing.choice import phase
from csms.import_sites import Sites
from csms.journal import Fact, FactType, append
from csms.models import OWN, Tariff
from csms.network_file import BadNetwork, problems
from csms.network_rules import Document, Party, party_of
from csms.network_schema import DECIMALS, TARIFF_DETAILS
from csms.tariff_changes import touch_sites
from csms.tokens import TokenRecord

TOKEN_DEFAULTS = {
    "type": "RFID",
    "visual_number": None,
    "group_id": None,
    "whitelist": "ALWAYS",
    "exempt": False,
    "language": None,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """`kind`: tariff, location, station, evse, connector, token; `what`: new, changed, removed, back, adopted, password."""

    kind: str
    id: str
    what: str
    detail: str = ""


Changes = tuple[Change, ...]


def import_network(
    connection: Connection, document: Document, *, default_party: Party, operator_name: str, now: datetime
) -> Changes:
    """Apply `document` in the running transaction, and tell what changed, in the order of the file.

    Raises BadNetwork, with every mistake named, before anything is written. Where the document speaks of locations it is
    the truth about them: an EVSE or connector that it lacks becomes removed. Tariffs and tokens that it lacks stay.
    `operator_name` is the issuer of cards that name none.
    """
    if connection.dialect.name == "postgresql":  # one import at a time; nobody else writes tariffs, and readers go on
        connection.execute(text("LOCK TABLE tariffs IN SHARE ROW EXCLUSIVE MODE"))
    known = {_key(row): row for row in connection.execute(select(Tariff.__table__).where(Tariff.current.is_(True)))}
    existing = {key: row for key, row in known.items() if not row.removed}
    mistakes = problems(document, default_party=default_party, tariffs=existing)
    if mistakes:
        raise BadNetwork(mistakes)
    sites = Sites(connection, document, default_party=default_party, now=now)  # raises BadNetwork too
    names = {party_of({"party": party}, default_party): party.get("name") for party in document.get("parties", ())}
    changes: list[Change] = []
    for tariff in document.get("tariffs", ()):
        changes += _tariff(connection, tariff, party_of(tariff, default_party), known, now)
    changes += [Change(kind=kind, id=id, what=what, detail=detail) for kind, id, what, detail in sites.apply()]
    append(connection, touch_sites(connection, _shown_otherwise(connection, known), now), now=now)
    cards = [
        _card(token, party, names.get(party) or operator_name, now)
        for token in document.get("tokens", ())
        for party in [party_of(token, default_party)]
    ]
    changes += _tokens(connection, cards, now)
    return tuple(changes)


# ---- tariffs --------------------------------------------------------------------------------------------------------


def _tariff(
    connection: Connection, given: Mapping[str, Any], party: Party, known: Mapping[Any, Row[Any]], now: datetime
) -> Changes:
    """A changed tariff is a new version; sessions that run stay on theirs."""
    content = {
        "currency": given["currency"],
        "type": given.get("type"),
        "elements": exact(given["elements"]),
        "details": {name: exact(given[name]) for name in TARIFF_DETAILS if name in given},
    }
    old = known.get((*party, given["id"].casefold()))
    if old is not None:
        changed = [name for name, value in content.items() if getattr(old, name) != value]
        if not changed and not old.removed:
            return ()
        connection.execute(update(Tariff).where(Tariff.id == old.id).values(current=False))
    version = old.version + 1 if old is not None else 1
    row = {
        "country_code": party[0],
        "party_id": party[1],
        "tariff_id": old.tariff_id if old is not None else given["id"],  # an id never changes, not even its case
        "tariff_key": given["id"].casefold(),
        "version": version,
        "current": True,
        "created_at": old.created_at if old is not None else now,
        "last_updated": now,
        **content,
    }
    row["told"] = phase(SimpleNamespace(**row), now)
    row_id = connection.execute(insert(Tariff).values(**row).returning(Tariff.id)).scalar_one()
    append(connection, [Fact(type=FactType.TARIFF_CHANGED, subject=str(row_id))], now=now)
    what = "changed" if old is not None else "new"
    return (Change(kind="tariff", id=row["tariff_id"], what=what, detail=f"version {version}"),)


def _shown_otherwise(connection: Connection, known: Mapping[Any, Row[Any]]) -> set[Any]:
    """The tariffs that are for others now, at other times, or back: sites that name them look different to somebody."""
    query = select(Tariff.__table__).where(Tariff.current.is_(True))
    new = {_key(row): row for row in connection.execute(query)}
    return {key for key, row in new.items() if (old := known.get(key)) is not None and _looks(old) != _looks(row)}


def _looks(tariff: Row[Any]) -> tuple[Any, ...]:
    """What decides who sees a tariff's id on a connector, beside the others there."""
    names = ("partners", "start_date_time", "end_date_time")
    return tariff.removed, tariff.told, tariff.type, *(tariff.details.get(name) for name in names)


def _key(row: Row[Any]) -> tuple[str, str, str]:
    return row.country_code, row.party_id, row.tariff_key


def exact(value: Any) -> Any:
    """The same with every decimal as its shortest exact text, so that "0.50" and "0.5" are one price."""
    if isinstance(value, list):
        return [exact(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _decimal(entry) if name in DECIMALS else exact(entry) for name, entry in value.items()}
    return value


def _decimal(value: str | int) -> str:
    return format(Decimal(value).normalize(), "f")


# ---- the operator's own cards ---------------------------------------------------------------------------------------


def _tokens(connection: Connection, cards: Sequence[TokenRecord], now: datetime) -> list[Change]:
    known = {tokens.key_of(row): row for row in tokens.all_of(connection, OWN)} if cards else {}
    compared = set(TokenRecord.__dataclass_fields__) - {"last_updated", "details"}
    changes, new = [], []
    for card in cards:
        masked, old = tokens.masked(card.uid), known.get(tokens.key_of(card))
        if old is None:
            new.append(card)
            changes.append(Change(kind="token", id=masked, what="new"))
        elif changed := sorted(name for name in compared if getattr(old, name) != getattr(card, name)):
            tokens.put(connection, card, now)
            changes.append(Change(kind="token", id=masked, what="changed", detail=", ".join(changed)))
    tokens.put_new(connection, new, now)
    return changes


def _card(given: Mapping[str, Any], party: Party, issuer: str, now: datetime) -> TokenRecord:
    expires = given.get("expires")
    words = {name: given.get(name, default) for name, default in TOKEN_DEFAULTS.items()}
    return TokenRecord(
        owner_id=OWN,
        country_code=party[0],
        party_id=party[1],
        uid=given["uid"],
        contract_id=given["contract_id"],
        issuer=given.get("issuer", issuer),
        valid=given["valid"],
        expires_at=datetime.fromisoformat(expires) if expires else None,
        last_updated=now,
        **words,
    )
