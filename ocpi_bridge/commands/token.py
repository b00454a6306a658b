"""`roambridge token`: the operator's own cards, and a look at those of partners; a card's number is never shown whole."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import func, select

from crud.models import Partner
from csms import tokens
from csms.models import OWN, Token
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.settings import load

app = typer.Typer(help="Cards: the operator's own, and those of partners.", no_args_is_help=True)

LONGEST = 36  # what OCPI carries of an uid or a contract


@app.command()
def add(
    uid: Annotated[str, typer.Argument(help="The card's number, as its reader tells it.")],
    contract: Annotated[str | None, typer.Option(help="Contract id; the card's number when absent.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Group id: cards of one group may stop each other's sessions.")
    ] = None,
    expires: Annotated[datetime | None, typer.Option(help="When it expires (UTC).")] = None,
    issuer: Annotated[str | None, typer.Option(help="Who issued it; the operator when absent.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="May charge at several stations at once.")] = False,
) -> None:
    """Make a card of the operator's own valid; one that exists already is described anew."""
    key = tokens.normalize(uid)
    if not key or len(uid) > LONGEST:
        raise Failed(f"a card's number has 1 to {LONGEST} printable characters")
    settings = load()
    country_code, party_id = settings.our_party
    at = now()
    record = tokens.TokenRecord(
        owner_id=OWN,
        country_code=country_code,
        party_id=party_id,
        uid=uid,
        contract_id=contract or uid,
        issuer=issuer or settings.operator_name,
        group_id=group,
        valid=True,
        expires_at=None if expires is None else expires.replace(tzinfo=expires.tzinfo or UTC),
        exempt=fleet,
        last_updated=at,
    )
    with opened(settings) as database, database.write() as connection:
        what = tokens.put(connection, record, at)
    say(f"card {tokens.masked(uid)} {what}")


@app.command()
def block(uid: Annotated[str, typer.Argument(help="The card's number.")]) -> None:
    """Refuse a card of the operator's own from now on; what it is charging goes on."""
    with opened() as database, database.write() as connection:
        count = tokens.block(connection, uid, now())
    if not count:
        raise Failed(f"no card of the operator's own has the number {tokens.masked(uid)}")
    say(f"card {tokens.masked(uid)} blocked")


@app.command()
def alias(
    uid: Annotated[str, typer.Argument(metavar="CARD", help="The card's number.")],
    spelling: Annotated[str, typer.Argument(metavar="ALIAS", help="How a station writes it.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away instead.")] = False,
) -> None:
    """Take another spelling for the same card: a reader that turns the bytes round, or adds to them."""
    key = tokens.normalize(uid)
    with opened() as database, database.write() as connection:
        cards = tokens.by_key(connection, [key]).get(key, [])
        if len(cards) != 1:
            raise Failed(f"{'several cards have' if cards else 'no card has'} the number {tokens.masked(uid)}")
        try:
            verb = tokens.remove_alias if remove else tokens.add_alias
            changed = verb(connection, cards[0].id, spelling, now())
        except tokens.AliasTaken:
            raise Failed(f"{tokens.masked(spelling)} is another card's already") from None
        except ValueError as error:
            raise Failed(str(error)) from None
    state = "is no alias of" if remove else "is an alias of"
    say(f"{tokens.masked(spelling)} {state} card {tokens.masked(uid)}{'' if changed else ', as before'}")


@app.command("list")
def list_(
    own: Annotated[bool, typer.Option("--own", help="The operator's own only.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Cards, the last changed first."""
    which = Token.owner_id == OWN if own else Token.id > 0
    with opened() as database, database.read() as connection:
        total = connection.execute(select(func.count()).select_from(Token).where(which)).scalar_one()
        query = select(Token.__table__).where(which).order_by(Token.last_updated.desc(), Token.id.desc()).limit(limit)
        found = connection.execute(query).all()
        owners = {row.id: row.name for row in connection.execute(select(Partner.id, Partner.name))}
    rows = [
        {
            "uid": tokens.masked(row.uid),
            "owner": "own" if row.owner_id == OWN else owners.get(row.owner_id, f"partner {row.owner_id}"),
            "party": f"{row.country_code}-{row.party_id}",
            "type": row.type,
            "contract_id": row.contract_id if row.contract_id != row.uid else tokens.masked(row.uid),
            "group_id": row.group_id,
            "valid": row.valid,
            "whitelist": row.whitelist,
            "expires_at": row.expires_at,
            "fleet": row.exempt,
            "last_updated": row.last_updated,
        }
        for row in found
    ]
    columns = {
        "uid": "card",
        "owner": "owner",
        "party": "party",
        "type": "type",
        "contract_id": "contract",
        "group_id": "group",
        "valid": "valid",
        "whitelist": "whitelist",
        "expires_at": "expires",
        "fleet": "fleet",
        "last_updated": "last change",
    }
    title = "Cards" if total <= limit else f"Cards (the last {limit} of {total})"
    show(title, columns, rows, as_json=as_json)
