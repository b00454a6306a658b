"""All commands speak alike: one line for a failure, a table for a list, and nothing a charger or partner wrote can act."""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ocpi_bridge.settings import Settings, SettingsError, load

if TYPE_CHECKING:  # loaded when a command needs it
    from sqlalchemy import Connection

    from csms.database import Database

T = TypeVar("T")
NO_TABLES = ("no such table", "UndefinedTable")
NO_TERMINAL_WIDTH = 240
CUT = "…"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


class Failed(Exception):
    """The command could not do what it was asked; each argument is a line for people."""


def explained(error: Exception) -> Sequence[str] | None:
    """The lines that tell an operator what went wrong; None for what is a mistake of ours."""
    if isinstance(error, Failed):
        return [str(line) for line in error.args]
    if isinstance(error, SettingsError):
        return error.problems
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError

        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        if isinstance(error, OperationalError | ProgrammingError):
            if any(word in f"{type(getattr(error, 'orig', None)).__name__} {said}" for word in NO_TABLES):
                return ["the database has no tables yet; make them with: roambridge migrate"]
            return [f"the database cannot be used: {said}"]
        if isinstance(error, IntegrityError):
            return [f"somebody else changed the same at this moment, try again ({said})"]
        if isinstance(error, OverflowError | DataError):
            return [f"no value of the database is like this: {said}"]
    if "csms.stations" in sys.modules:
        from csms.stations import UnknownStation

        if isinstance(error, UnknownStation):
            return [f"there is no station {error}"]
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return [f"{error.strerror or error}: {error.filename}" if error.filename else str(error)]
    return None


def fail(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(f"roambridge: {printable(line)}", err=True)


# ---- what commands need ---------------------------------------------------------------------------------------------


def now() -> datetime:
    return datetime.now(UTC)


def written(change: "Callable[[Connection], T]") -> T:
    """What `change` made of the database of the settings, committed."""
    with opened() as database, database.write() as connection:
        return change(connection)


@contextmanager
def opened(settings: Settings | None = None) -> "Iterator[Database]":
    """The database of the settings, closed at the end."""
    from csms.database import Database

    settings = settings or load()
    database = Database(settings.database_url, message_log=settings.message_log)
    try:
        yield database
    finally:
        database.dispose()


def console() -> Console:
    """Where nobody watches, wide lines: a program cuts them better than we do."""
    found = Console(highlight=False, emoji=False)
    return found if found.is_terminal else Console(highlight=False, emoji=False, width=NO_TERMINAL_WIDTH)


def say(line: str) -> None:
    typer.echo(printable(line))


# ---- tables ---------------------------------------------------------------------------------------------------------


def show(
    title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str = "none"
) -> None:
    """`columns`: field to heading. JSON has all fields of a row, a table those that `columns` names."""
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, default=_plain, ensure_ascii=False))
        return
    if not rows:
        say(f"{title}: {empty}")
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row[name]) for name in columns))
    console().print(table)


def cell(value: Any) -> Text:
    if value is None or value == "" or value == []:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style="" if value else "dim")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z")
    if isinstance(value, list | tuple):
        return Text(", ".join(printable(str(entry)) for entry in value))
    return Text(printable(str(value)))


def printable(text: str) -> str:
    """Without what would act on a terminal: escapes, controls, and marks that turn the direction of writing."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "·" for c in text)


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + CUT


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"no JSON for {type(value).__name__}")
