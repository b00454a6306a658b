"""`roambridge partner`: invite a platform, register at one, look, leave; no token is shown but the one just made."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from crud.own_prices import let_price
from crud.partner_reports import Report, reports, state, troubled
from crud.partners import AlreadyRegistered, PartnerRecord, Partners, UnknownPartner
from csms.database import Database
from csms.sealing import SealBroken, Vault
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.introductions import offer_of
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from ocpi_bridge.push import resync
from ocpi_bridge.registration import Registration, RegistrationFailed, our_roles
from ocpi_bridge.settings import Settings, load
from ocpi_bridge.terms import VERSIONS
from ocpi_bridge.token_sync import TokenSync

app = typer.Typer(help="OCPI partners: invite, register, leave.", no_args_is_help=True)

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Your own name for the partner.")]
Raw = Annotated[
    bool, typer.Option("--raw-tokens", help="It neither encodes nor decodes tokens in Base64, as if it spoke 2.1.1.")
]
NEWEST = typer.Option("--version", help="Of OCPI, 2.2.1 or 2.1.1; without it the newest that both speak.")
ANOTHER = typer.Option("--version", help="The OCPI version to change to, 2.2.1 or 2.1.1.")


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
            yield Desk(settings=settings, database=database, partners=Partners(database, Vault(key), clock=now))
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
    version: Annotated[str | None, NEWEST] = None,
) -> None:
    """Register us at a partner. It calls us back meanwhile, so `roambridge serve` must run and be reachable."""
    _known(version)
    with desk() as at:
        partner = _call(
            at,
            lambda client: _registration(at, client).register_at(
                name, url, token, raw_tokens=raw_tokens, version=version
            ),
        )
    say(f"registered at {name}: OCPI {partner.version}, {', '.join(_parties(partner)) or 'no roles'}")


@app.command()
def renew(name: Name, version: Annotated[str | None, ANOTHER] = None) -> None:
    """New tokens in both directions, and its endpoints read anew; with --version it changes to that version of OCPI. It calls
    us back meanwhile, so `roambridge serve` must run and be reachable."""
    _known(version)
    with desk() as at:
        partner = _call(at, lambda client: _registration(at, client).rotate(name, version))
    say(f"{name} has new tokens: OCPI {partner.version}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All partners, and how much each has still to hear from us."""
    with desk() as at, at.database.read() as connection:
        found = at.partners.all(connection)
        health = {report.partner.id: report for report in reports(connection, now())}
    rows = [_row(partner) | _health(health[partner.id]) for partner in found]
    columns = {
        "name": "name",
        "state": "state",
        "version": "OCPI",
        "parties": "parties",
        "our_party": "ours",
        "registered_at": "registered",
        "tokens_pulled_at": "cards read",
        "waiting": "to be told",
        "given_up": "given up",
        "behind": "behind",
        "circuit": "circuit",
    }
    show("Partners", columns, rows, as_json=as_json)


@app.command("show")
def show_(name: Name, as_json: AsJson = False) -> None:
    """A partner's roles and endpoints, and what could not be delivered to it."""
    with desk() as at, at.database.read() as connection:
        partner = at.partners.named(connection, name)
        (report,) = reports(connection, now(), name=name)
        undelivered = troubled(connection, partner.id)
    row = _row(partner) | _health(report)
    modules = [_module(module) for module in report.modules]
    if as_json:
        endpoints = [dict(endpoint) for endpoint in partner.endpoints]
        more = {"roles": list(partner.roles), "endpoints": endpoints, "modules": modules}
        show("", {}, [row | more], as_json=True)
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
    columns = {"module": "module", "circuit": "circuit", "calls": "calls", "error_rate": "errors"}
    columns |= {"last_success_at": "last answer", "last_failure_at": "last failure", "last_error": "it was"}
    show("How it answers", columns, modules, as_json=False)
    troubles = [
        {
            "what": f"{delivery.module} {delivery.object_id}",
            "attempts": delivery.attempts,
            "next": delivery.next_attempt_at if delivery.stopped is None else "given up",
            "why": delivery.stopped or delivery.last_error,
        }
        for delivery in undelivered
    ]
    columns = {"what": "object", "attempts": "attempts", "next": "next attempt", "why": "why"}
    show("Undelivered", columns, troubles, as_json=False)


@app.command()
def strangers(
    name: Name, ask: Annotated[bool, typer.Option("--ask/--never", help="It agreed to be asked, or not.")] = True
) -> None:
    """Ask this partner about cards that nobody has listed: what it allows may charge. By default nobody is asked."""
    with desk() as at, at.database.write() as connection:
        partner = at.partners.named(connection, name)
        at.partners.ask_of_strangers(connection, partner.id, ask)
    say(f"{name} is {'asked' if ask else 'not asked'} about cards that nobody has listed")


@app.command()
def pricing(
    name: Name, theirs: Annotated[bool, typer.Option("--theirs/--ours", help="Whose prices count.")] = True
) -> None:
    """Send this partner, as some hubs want it, sessions and CDRs without our prices: of what begins from now on."""
    with desk() as at, at.database.write() as connection:
        partner = at.partners.named(connection, name)
        let_price(connection, partner.id, theirs, now())
    say(f"{name} {'prices itself what begins from now on' if theirs else 'is sent our prices again'}")


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


def _known(version: str | None) -> None:
    if version not in (None, *VERSIONS):
        raise Failed(f"OCPI {version} is not spoken here, but {' and '.join(VERSIONS)}")


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
        offer=offer_of(own.public_url, roles),
    )


def _call(at: Desk, ask: Callable[[EmspClient], Awaitable[T]]) -> T:
    async def run() -> T:
        guarded = Guarded(OutboundPolicy(at.settings.outbound_allow))
        try:
            return await ask(EmspClient(guarded, clock=now))
        finally:
            await guarded.aclose()

    return asyncio.run(run())


def _health(report: Report) -> dict[str, Any]:
    return {
        "waiting": report.waiting,
        "given_up": report.given_up,
        "behind": f"{report.lag_s:.0f} s" if report.waiting else None,
        "last_success_at": report.last_success_at,
        "last_failure_at": report.last_failure_at,
        "error_rate": f"{report.error_rate:.0%}",
        "circuit": report.circuit,
    }


def _module(module: Any) -> dict[str, Any]:
    names = ("module", "calls", "last_success_at", "last_failure_at", "last_error")
    told = {name: getattr(module, name) for name in names}
    return told | {"circuit": state(module, now()), "error_rate": f"{module.error_rate:.0%}"}


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
        "asked_of_strangers": partner.asked_of_strangers,
    }
