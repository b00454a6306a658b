"""`roambridge quirks`: vendors' deviations that are known, and `roambridge station quirks`: those of one station."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from sqlalchemy import select

from csms.models import Station
from ocpi_bridge.commands.terminal import AsJson, Failed, opened, show
from ocpi_bridge.settings import Settings, load

app = typer.Typer()

COLUMNS = {"id": "quirk", "vendor": "vendor", "model": "model", "firmware": "firmware", "fix": "fix", "why": "why"}


@app.command()
def quirks(
    vendor: Annotated[str | None, typer.Option(help="Only those whose vendor contains this.")] = None,
    as_json: AsJson = False,
) -> None:
    """Vendors' deviations that are known, each with its fix: those shipped, and the operator's own in DATA_DIR/quirks."""
    wanted = (vendor or "").casefold()
    found = [quirk for quirk in known(load()) if wanted in quirk.vendor.casefold()]
    show("Quirks", COLUMNS, _rows(found), as_json=as_json)


def of_station(station_id: str, *, as_json: bool) -> None:
    """By what it said of itself at its last accepted Boot."""
    settings = load()
    query = select(Station.vendor, Station.model, Station.firmware_version).where(Station.station_id == station_id)
    with opened(settings) as database, database.read() as connection:
        said = connection.execute(query).one_or_none()
    if said is None:
        raise Failed(f"there is no station {station_id}")
    whose = " ".join(word for word in said if word) or "has never booted"
    show(f"Quirks of {station_id} ({whose})", COLUMNS, _rows(known(settings).of(*said)), as_json=as_json)


def known(settings: Settings) -> Any:
    """The catalogue (csms.gateway.quirks.catalogue.Quirks)."""
    from ocpi_bridge.roles.quirks import known_quirks  # it alone knows the gateway, and takes its time to load

    return known_quirks(settings)


def _rows(found: Iterable[Any]) -> list[dict[str, Any]]:
    names = (*COLUMNS, "source", "handled_by", "repro", "settings")
    return [{name: getattr(quirk, name) for name in names} for quirk in found]
