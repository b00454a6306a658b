"""`roambridge clock`: whose clocks are wrong, and what firmware would help."""

import dataclasses
from typing import Any

import typer

from csms import skew
from ocpi_bridge.commands.terminal import AsJson, opened, show

app = typer.Typer(help="Clocks: which stations take our time.", no_args_is_help=True)


@app.callback()
def clock() -> None:
    """Clocks: which stations take our time."""


@app.command()
def report(as_json: AsJson = False) -> None:
    """By vendor, model and firmware: how many stations take our time at a Boot, how many do not, and the worst clock. A
    campaign is the firmware campaign that is prepared for that model."""
    with opened() as database, database.read() as connection:
        found = skew.report(connection)
    rows: list[dict[str, Any]] = [
        {
            **dataclasses.asdict(row),
            "share": None if row.share is None else round(row.share, 3),
            "taken": "-" if row.share is None else f"{row.share:.0%}",
            "worst": "-" if row.worst_skew_s is None else f"{row.worst_skew_s:+.0f} s ({row.worst_station})",
        }
        for row in found
    ]
    columns = {
        "vendor": "vendor",
        "model": "model",
        "firmware_version": "firmware",
        "stations": "stations",
        "keep": "keep our time",
        "ignore": "ignore it",
        "unknown": "unknown",
        "taken": "share",
        "over_limit": "over 10 min",
        "worst": "worst",
        "campaign": "campaign",
    }
    show("Clocks", columns, rows, as_json=as_json)
