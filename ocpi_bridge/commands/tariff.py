"""`roambridge tariff`: the tariffs and their versions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, select

from crud.models import Partner
from crud.payers import payer
from csms import tariff_changes, tariff_list
from csms.billing.choice import Payer
from csms.billing.explanation import in_words
from csms.journal import append
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.settings import load

app = typer.Typer(help="Tariffs and their versions.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="As partners know it.")]
Party = Annotated[str | None, typer.Option(metavar="BE*BEC", help="Whose it is; your own when not given.")]

UNITS = {"ENERGY": "/kWh", "TIME": "/h", "PARKING_TIME": "/h parking", "FLAT": " flat"}


@app.callback()
def tariff() -> None:
    """Tariffs and their versions; they change by `roambridge import`."""


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Older versions and removed ones too.")] = False,
    partner: Annotated[str | None, typer.Option(metavar="NAME", help="Only what is for this partner.")] = None,
    as_json: AsJson = False,
) -> None:
    """The tariffs, for whom they are and when."""
    with opened() as database, database.read() as connection:
        found = tariff_list.versions(
            connection, every=every, payer=None if partner is None else _payer(connection, partner)
        )
    columns = {
        "id": "id",
        "version": "version",
        "party": "party",
        "type": "type",
        "currency": "currency",
        "prices": "prices excl. VAT",
        "for": "for",
        "from": "from",
        "until": "until",
        "state": "state",
        "last_updated": "last change",
    }
    rows = [_row(row) for row in found]
    show("Tariffs", columns, rows, as_json=as_json)


@app.command("show")
def show_(
    tariff_id: Id,
    party: Party = None,
    version: Annotated[int | None, typer.Option(metavar="N", help="An older version of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """One tariff: each of its prices with what it asks for, and the EVSEs whose connectors name it."""
    whose = _whose(party)
    with opened() as database, database.read() as connection:
        rows = tariff_list.versions(connection, every=True, tariff_id=tariff_id, party=whose)
        found = [row for row in rows if (row.current if version is None else row.version == version)]
        if not found:
            what = "" if version is None else f" in version {version}"
            raise Failed(f"there is no tariff {tariff_id} of {whose[0]}*{whose[1]}{what}")
        evses = tariff_changes.named_at(connection, tariff_changes.key_of(found[0]))
    row = {**_row(found[0]), "elements": found[0].elements, "details": found[0].details, "evses": evses}
    if as_json:
        show("", {}, [row], as_json=True)
        return
    say(f"tariff {row['id']} of {row['party']}, version {row['version']}: {row['state'].replace('_', ' ')}")
    say(f"for {row['for']}, {row['type'] or 'every kind of session'}, {row['currency']}")
    if row["from"] or row["until"]:
        say(f"from {row['from'] or 'ever'} until {row['until'] or 'further notice'}")
    lines = [
        {"element": number, "when": in_words(element.get("restrictions")), **_priced(component)}
        for number, element in enumerate(found[0].elements, 1)
        for component in element["price_components"]
    ]
    show(
        "Prices without VAT, the first that applies",
        {"element": "element", "price": "price", "vat": "VAT", "step": "step", "when": "when"},
        lines,
        as_json=False,
    )
    for name in ("min_price", "max_price"):
        if limit := found[0].details.get(name):
            say(f"{name.replace('_price', '')}. {limit['excl_vat']} {row['currency']} a session")
    say(f"named by {', '.join(evses) or 'no connector'}")


@app.command()
def remove(tariff_id: Id, party: Party = None) -> None:
    """Begin no session with it any more, and have partners forget it. Connectors must name it no more."""
    whose, at = _whose(party), now()
    try:
        with opened() as database, database.write() as connection:
            append(connection, tariff_changes.remove(connection, whose, tariff_id, at), now=at)
    except tariff_changes.UnknownTariff:
        raise Failed(f"there is no tariff {tariff_id} of {whose[0]}*{whose[1]}") from None
    except tariff_changes.TariffInUse as error:
        raise Failed(f"{error}; import a file that does not") from None
    say(f"tariff {tariff_id} is removed")


def _whose(party: str | None) -> tuple[str, str]:
    if party is None:
        return load().our_party
    country_code, _, party_id = party.partition("*")
    if not (country_code and party_id):
        raise typer.BadParameter(f"{party} is no party; write it as BE*BEC")
    return country_code, party_id


def _payer(connection: Connection, name: str) -> Payer:
    found = connection.execute(select(Partner.name, Partner.roles).where(Partner.name == name)).one_or_none()
    if found is None:
        raise Failed(f"there is no partner {name}")
    return payer(found.name, found.roles)


def _row(row: Any) -> dict[str, Any]:
    return {
        "id": row.tariff_id,
        "version": row.version,
        "party": f"{row.country_code}*{row.party_id}",
        "type": row.type,
        "currency": row.currency,
        "prices": list(prices(row.elements)),
        "partners": row.details.get("partners"),
        "for": whom(row.details.get("partners")),
        "from": row.details.get("start_date_time"),
        "until": row.details.get("end_date_time"),
        "state": tariff_list.state(row),
        "last_updated": row.last_updated,
    }


def _priced(component: Mapping[str, Any]) -> dict[str, Any]:
    vat, step = component.get("vat"), component.get("step_size", 1)
    unit = {"ENERGY": " Wh", "FLAT": ""}.get(component["type"], " s")
    return {
        "price": f"{component['price']}{UNITS.get(component['type'], '')}",
        "vat": None if vat is None else f"{vat} %",
        "step": None if component["type"] == "FLAT" else f"{step}{unit}",
    }


def whom(partners: Sequence[str] | None) -> str:
    return "everybody" if partners is None else ", ".join(partners) or "own cards"


def prices(elements: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """As "0.25/kWh"; a price that holds under a condition is marked with a star."""
    for element in elements:
        mark = "*" if element.get("restrictions") else ""
        for component in element["price_components"]:
            yield f"{component['price']}{UNITS.get(component['type'], '')}{mark}"
