"""`roambridge alert`: what must be looked at, and saying that somebody has."""

from typing import Annotated

import typer
from sqlalchemy import select

from csms import alerts
from csms.models import Alert
from ocpi_bridge.commands.asking import requester
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show, written

app = typer.Typer(help="Alerts: what must be looked at.", no_args_is_help=True)

AT_MOST = 200


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    station_id: Annotated[str | None, typer.Option("--station", metavar="ID", help="Only of this station.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is open, the newest first; most close by themselves when they are over."""
    query = select(Alert.__table__).order_by(Alert.id.desc()).limit(AT_MOST)
    if not everything:
        query = query.where(Alert.closed_at.is_(None))
    if station_id is not None:
        query = query.where(Alert.station_id == station_id)
    with opened() as database, database.read() as connection:
        found = connection.execute(query).all()
    names = ("id", "kind", "subject", "station_id", "detail", "opened_at", "closed_at", "closed_by")
    rows = [{name: getattr(row, name) for name in names} for row in found]
    for row in rows:
        row["why"] = ", ".join(f"{name} {value}" for name, value in row["detail"].items())
    columns = {"id": "alert", "opened_at": "opened", "kind": "kind", "subject": "subject", "station_id": "station"}
    columns |= {"why": "why"} | ({"closed_at": "closed", "closed_by": "by"} if everything else {})
    show("Alerts", columns, rows, as_json=as_json)


@app.command()
def close(alert_id: Annotated[int, typer.Argument(metavar="ALERT")]) -> None:
    """Close one that somebody has looked at; it opens again when its cause returns."""
    try:
        written(lambda connection: alerts.close_by_hand(connection, alert_id, by=requester(), now=now()))
    except alerts.UnknownAlert:
        raise Failed(f"there is no alert {alert_id}") from None
    say(f"alert {alert_id} is closed")
