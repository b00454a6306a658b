"""`roambridge explain RECORD`: each line of a bill, and what it was made of."""

import json
from typing import Annotated

import typer

from csms.billing.explanation import as_json as told_as_json
from csms.billing.explanation import explain as explanation
from csms.billing.explanation_text import as_lines
from csms.credits import UnknownRecord
from ocpi_bridge.commands.terminal import Failed, opened, say

app = typer.Typer()


@app.callback()
def bills() -> None:
    """Bills that explain themselves."""


@app.command()
def explain(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="The id of the bill, which is that of its CDR.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Trace each line of a bill to its element of the tariff, its periods, samples, rules and rounding."""
    try:
        with opened() as database, database.read() as connection:
            told = explanation(connection, record)
    except UnknownRecord as error:
        raise Failed(f"there is no bill {error}") from None
    if as_json:
        typer.echo(json.dumps(told_as_json(told), ensure_ascii=False))
        return
    for line in as_lines(told):
        say(line)
