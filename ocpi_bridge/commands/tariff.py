"""`roambridge tariff`: the tariffs and their versions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import select

from csms.models import Tariff
from ocpi_bridge.commands.terminal import AsJson, opened, show

app = typer.Typer(help="Tariffs and their versions.", no_args_is_help=True)

UNITS = {"ENERGY": "/kWh", "TIME": "/h", "PARKING_TIME": "/h parking", "FLAT": " flat"}


@app.callback()
def tariff() -> None:
    """Tariffs and their versions; they change by `roambridge import`."""


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Older versions too.")] = False, as_json: AsJson = False
) -> None:
    """The tariffs in force."""
    query = select(Tariff.__table__).order_by(Tariff.country_code, Tariff.party_id, Tariff.tariff_key, Tariff.version)
    if not every:
        query = query.where(Tariff.current.is_(True))
    with opened() as database, database.read() as connection:
        found = connection.execute(query).all()
    rows = [
        {
            "id": row.tariff_id,
            "version": row.version,
            "party": f"{row.country_code}-{row.party_id}",
            "type": row.type,
            "currency": row.currency,
            "prices": list(prices(row.elements)),
            "current": row.current and not row.removed,
            "last_updated": row.last_updated,
        }
        for row in found
    ]
    columns = {
        "id": "id",
        "version": "version",
        "party": "party",
        "type": "type",
        "currency": "currency",
        "prices": "prices excl. VAT",
        "current": "in force",
        "last_updated": "last change",
    }
    show("Tariffs", columns, rows, as_json=as_json)


def prices(elements: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """As "0.25/kWh"; a price that holds under a condition is marked with a star."""
    for element in elements:
        mark = "*" if element.get("restrictions") else ""
        for component in element["price_components"]:
            yield f"{component['price']}{UNITS.get(component['type'], '')}{mark}"
