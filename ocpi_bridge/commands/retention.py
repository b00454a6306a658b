"""`roambridge retention`: what is past its days, what refuses to go and for whose sake; and away with the rest."""

from typing import Annotated

import typer

from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.retention import retention_of
from ocpi_bridge.settings import load

app = typer.Typer()


@app.callback()
def all_that_is_old() -> None:
    """What is kept, and for how long."""


@app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and what would not.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Although this host's clock is in doubt.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what is past its days, as the service does every hour. Samples and messages of what still runs or waits in
    review stay; on PostgreSQL they keep their whole month. Nothing goes while a clock seems to have jumped ahead (the alert
    clock_jumped): set it right, then close that alert."""
    settings = load()
    with opened(settings) as database:
        trims = retention_of(settings, database, now)
        found = trims.plan()
        if not dry_run:
            if not force and trims.guard.doubted():
                raise Failed(
                    "nothing is deleted: the clock is in doubt (roambridge alert list); --force if it is right"
                )
            while trims.trim():
                pass
    rows = [
        {
            "what": old.name,
            "rows": old.rows,
            "goes": not old.refused_by,
            "needed_by": list(old.refused_by),
        }
        for old in found
    ]
    columns = {"what": "table or month", "rows": "rows", "goes": "goes", "needed_by": "needed by transactions"}
    show("Past its days", columns, rows, as_json=as_json, empty="nothing")
    if not as_json:
        gone = sum(old.rows for old in found if not old.refused_by)
        say(
            f"{gone} rows {'would go' if dry_run else 'went'}; they belong to no transaction that runs or waits in review"
        )
