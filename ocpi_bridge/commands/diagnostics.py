"""`roambridge diagnostics`: have a station bring its logs, and read them."""

from datetime import datetime
from typing import Annotated

import typer

from csms import diagnostics, signed_urls
from csms.commands import LogKind
from csms.log_text import LINES, Unreadable, open_text
from ocpi_bridge.commands.asking import requester, waited
from ocpi_bridge.commands.messages import moment
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, printable, say, show
from ocpi_bridge.settings import load

app = typer.Typer(help="Diagnostics and logs that stations bring.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="UPLOAD", help="Its number in `diagnostics list`.")]


@app.command()
def request(
    station_id: Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")],
    security: Annotated[bool, typer.Option("--security", help="Its security log instead.")] = False,
    since: Annotated[str | None, typer.Option(help="Of the time since then: 24h, 30m, or a time in UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="As --since.")] = None,
) -> None:
    """Ask a station for its diagnostics. It brings the file by itself, within a day: `diagnostics list`."""
    settings = load()
    with opened(settings) as database:
        try:
            with database.write() as connection:
                asked = diagnostics.request_diagnostics(
                    connection,
                    station_id,
                    kind=LogKind.SECURITY if security else LogKind.DIAGNOSTICS,
                    since=_moment(since),
                    until=_moment(until),
                    requested_by=requester(),
                    now=now(),
                    public_url=settings.public_url,
                )
        except signed_urls.AddressTooLong as error:
            raise Failed(str(error)) from None
        answered = waited(database, asked.request_id, diagnostics.ANSWER_WITHIN_S)
        with database.read() as connection:
            row = diagnostics.upload(connection, asked.upload_id)
    if answered.state == "queued":
        raise Failed("nobody took the request: is `roambridge serve` running on this database?")
    if row.state == diagnostics.State.FAILED:
        raise Failed(f"upload {row.id}: {station_id} brings nothing ({row.detail})")
    say(f"upload {row.id}: {row.state}" + (f", {row.filename}" if row.filename else ""))


@app.command("list")
def list_(
    station_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A station; all without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Files that came or are waited for, the newest first."""
    with opened() as database, database.read() as connection:
        found = diagnostics.uploads(connection, station_id)
    names = (
        "id",
        "station_id",
        "kind",
        "state",
        "status",
        "detail",
        "filename",
        "size",
        "content_type",
        "requested_by",
    )
    rows = [{name: getattr(row, name) for name in (*names, "created_at", "expires_at", "received_at")} for row in found]
    columns = {"id": "upload", "station_id": "station", "kind": "kind", "state": "state", "status": "said"}
    columns |= {"detail": "why", "filename": "file", "size": "bytes", "created_at": "asked", "received_at": "received"}
    show("Diagnostics", columns, rows, as_json=as_json)


@app.command("show")
def show_(
    upload_id: Number,
    search: Annotated[str | None, typer.Option(help="Only lines with this in them, in any case.")] = None,
    member: Annotated[str | None, typer.Option(help="A file of the archive; the first without it.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Lines to pass over.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=5000)] = LINES,
    numbers: Annotated[bool, typer.Option("--numbers", help="With the number of each line.")] = False,
) -> None:
    """Read a log, plain or out of an archive (gz, zip, tar)."""
    settings = load()
    with opened(settings) as database, database.read() as connection:
        try:
            row = diagnostics.upload(connection, upload_id)
        except diagnostics.UnknownUpload:
            raise Failed(f"there is no upload {upload_id}") from None
    path = diagnostics.file_of(settings.data_dir, row)
    if path is None:
        raise Failed(f"upload {upload_id} has no file: it is {row.state}")
    try:
        text = open_text(path, member=member, offset=offset, limit=limit, search=search)
    except Unreadable as error:
        raise Failed(f"upload {upload_id}: {error}", f"the file itself: {path}") from None
    for line in text.lines:
        say(f"{line.number:>6}  {line.text}" if numbers else line.text)
    if len(text.members) > 1:
        others = ", ".join(name for name in text.members if name != text.member)
        typer.echo(printable(f"({text.member}; also: {others})"), err=True)
    if text.next_offset is not None:
        typer.echo(f"(more: --offset {text.next_offset})", err=True)
    if text.cut:
        typer.echo(f"(the rest is too much to look at: {path})", err=True)


def _moment(told: str | None) -> datetime | None:
    return None if told is None else moment(told)
