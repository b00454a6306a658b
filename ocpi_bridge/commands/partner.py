"""`roambridge partner`: invite a platform, register at one, look, leave; no token is shown but the one just made."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import func, select

from crud.models import Delivery
from crud.partners import AlreadyRegistered, PartnerRecord, Partners, SealBroken, UnknownPartner, Vault
from csms.database import Database
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from ocpi_bridge.push import resync
from ocpi_bridge.registration import Registration, RegistrationFailed, our_roles
from ocpi_bridge.settings import Settings, load
from ocpi_bridge.token_sync import TokenSync

app = typer.Typer(help="OCPI partners: invite, register, leave.", no_args_is_help=True)

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Your own name for the partner.")]
Raw = Annotated[bool, typer.Option("--raw-tokens", help="It neither encodes nor decodes tokens in Base64.")]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What partner commands work with."""

    settings: Settings
    database: Database
    partners: Partners


@contextmanager
def desk() -> Iterator[Desk]:
    """Translates what may be expected to go wrong."""
    settings = load()
    key = settings.needed_secret_key()
    try:
        with opened(settings) as database:
            yield Desk(settings=settings, database=database, partners=Partners(database, Vault(key)))
    except UnknownPartner as error:
        raise Failed(f"there is no partner {error}") from None
    except AlreadyRegistered as error:
        raise Failed(f"{error} is registered already; unregister it first") from None
    except SealBroken as error:
        raise Failed(error) from None
    except RegistrationFailed as error:
        raise Failed(error) from None


@app.command()
def invite(name: Name, raw_tokens: Raw = False) -> None:
    """Make the token A with which a partner registers at us; prints it and our versions URL as JSON. An earlier invitation
    of the same name is void."""
    with desk() as at:
        with at.database.write() as connection:
            token = at.partners.invite(
                connection,
                name,
                at.settings.our_party,
                now(),
                accept_raw_token=raw_tokens,
                send_raw_token=raw_tokens,
            )
        say(json.dumps({"token": token, "versions_url": f"{at.settings.public_url}/ocpi/versions"}))


@app.command()
def register(
    name: Name,
    url: Annotated[str, typer.Option(help="The partner's versions URL.")],
    token: Annotated[str, typer.Option(help="The token A that it gave you.")],
    raw_tokens: Raw = False,
) -> None:
    """Register us at a partner. It calls us back meanwhile, so `roambridge serve` must run and be reachable."""
    with desk() as at:
        partner = _call(
            at, lambda client: _registration(at, client).register_at(name, url, token, raw_tokens=raw_tokens)
        )
    say(f"registered at {name}: OCPI {partner.version}, {', '.join(_parties(partner)) or 'no roles'}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All partners, and how much each has still to hear from us."""
    with desk() as at, at.database.read() as connection:
        found = at.partners.all(connection)
        behind = select(Delivery.partner_id, func.count()).where(Delivery.wanted > Delivery.told)
        waiting = {
            row[0]: row[1]
            for row in connection.execute(behind.where(Delivery.stopped.is_(None)).group_by(Delivery.partner_id))
        }
    rows = [_row(partner) | {"waiting": waiting.get(partner.id, 0)} for partner in found]
    columns = {
        "name": "name",
        "state": "state",
        "version": "OCPI",
        "parties": "parties",
        "our_party": "ours",
        "registered_at": "registered",
        "tokens_pulled_at": "cards read",
        "waiting": "to be told",
    }
    show("Partners", columns, rows, as_json=as_json)


@app.command("show")
def show_(name: Name, as_json: AsJson = False) -> None:
    """A partner's roles and endpoints, and what could not be delivered to it."""
    with desk() as at, at.database.read() as connection:
        partner = at.partners.named(connection, name)
        troubled = connection.execute(
            select(Delivery.__table__)
            .where(Delivery.partner_id == partner.id, Delivery.last_error.is_not(None), Delivery.wanted > Delivery.told)
            .order_by(Delivery.id.desc())
            .limit(20)
        ).all()
    row = _row(partner)
    if as_json:
        endpoints = [dict(endpoint) for endpoint in partner.endpoints]
        show("", {}, [row | {"roles": list(partner.roles), "endpoints": endpoints}], as_json=True)
        return
    words = {"field": "", "value": ""}
    show(
        name, words, [{"field": field.replace("_", " "), "value": value} for field, value in row.items()], as_json=False
    )
    show(
        "Endpoints",
        {"identifier": "module", "role": "role", "url": "URL"},
        [{name: endpoint.get(name) for name in ("identifier", "role", "url")} for endpoint in partner.endpoints],
        as_json=False,
    )
    troubles = [
        {
            "what": f"{delivery.module} {delivery.object_id}",
            "attempts": delivery.attempts,
            "next": delivery.next_attempt_at if delivery.stopped is None else "given up",
            "why": delivery.stopped or delivery.last_error,
        }
        for delivery in troubled
    ]
    columns = {"what": "object", "attempts": "attempts", "next": "next attempt", "why": "why"}
    show("Undelivered", columns, troubles, as_json=False)


@app.command()
def unregister(name: Name) -> None:
    """End the relation: its tokens and its cards are void, whatever it answers."""
    with desk() as at:
        told = _call(at, lambda client: _registration(at, client).unregister(name))
    say(f"{name} has left" + ("" if told else "; it could not be told"))


@app.command()
def sync(name: Name) -> None:
    """Read all of a partner's cards again, and have everything told to it anew (by the running service)."""
    with desk() as at:
        with at.database.read() as connection:
            partner = at.partners.named(connection, name)
        pulled = _call(
            at,
            lambda client: TokenSync(at.database, at.partners, client, clock=now).pull(partner.id, full=True),
        )
        if pulled.failure is not None:
            raise Failed(f"{name}: its cards could not be read: {pulled.failure}")
        with at.database.write() as connection:
            resync(connection, partner.id, now())
    say(
        f"{name}: {pulled.listed} cards listed, {pulled.changed} changed, {pulled.invalidated} no longer valid, "
        f"{pulled.unreadable} unreadable; sites and tariffs will be told again"
    )


def _registration(at: Desk, client: EmspClient) -> Registration:
    own = at.settings
    with at.database.read() as connection:
        roles = our_roles(connection, own.our_party, own.operator_name)
    return Registration(
        at.database,
        at.partners,
        client,
        public_url=own.public_url,
        our_roles=roles,
        clock=now,
    )


def _call(at: Desk, ask: Callable[[EmspClient], Awaitable[T]]) -> T:
    async def run() -> T:
        guarded = Guarded(OutboundPolicy(at.settings.outbound_allow))
        try:
            return await ask(EmspClient(guarded, clock=now))
        finally:
            await guarded.aclose()

    return asyncio.run(run())


def _parties(partner: PartnerRecord) -> list[str]:
    return [f"{role['country_code']}-{role['party_id']} {role['role']}" for role in partner.roles]


def _row(partner: PartnerRecord) -> dict[str, Any]:
    return {
        "name": partner.name,
        "state": partner.state.value,
        "version": partner.version,
        "parties": _parties(partner),
        "our_party": "-".join(partner.our_party),
        "versions_url": partner.versions_url,
        "raw_tokens": partner.send_raw_token,
        "created_at": partner.created_at,
        "registered_at": partner.registered_at,
        "tokens_pulled_at": partner.tokens_pulled_at,
    }
