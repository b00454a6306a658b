"""`roambridge user`: people, who may do by name what no program may."""

from typing import Annotated

import typer

from csms import people
from csms.users import Role
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="People: who they are, and what they may do.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the system they log in to calls them.")]


@app.command()
def add(name: Name, role: Annotated[Role, typer.Option(help="What they may do.")] = Role.VIEWER) -> None:
    """Let somebody in, or give them another role."""
    try:
        with opened() as database, database.write() as connection:
            new = people.add(connection, name, role, now())
    except ValueError as error:
        raise Failed(error) from None
    say(f"{name} may come in, as {role.value}" if new else f"{name} is {role.value} now")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Everybody, those who may do nothing any more too."""
    with opened() as database, database.read() as connection:
        found = people.everybody(connection)
    rows = [
        {
            "name": person.name,
            "role": person.role.value,
            "created_at": person.created_at,
            "disabled_at": person.disabled_at,
        }
        for person in found
    ]
    columns = {"name": "name", "role": "role", "created_at": "created", "disabled_at": "disabled"}
    show("Users", columns, rows, as_json=as_json)


@app.command()
def disable(name: Name) -> None:
    """From now on they may do nothing; what they did stays under their name."""
    try:
        with opened() as database, database.write() as connection:
            changed = people.disable(connection, name, now())
    except people.UnknownPerson:
        raise Failed(f"there is no user {name}") from None
    say(f"{name} may do nothing any more" if changed else f"{name} was disabled before")
