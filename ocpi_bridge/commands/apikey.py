"""`roambridge apikey`: keys for programs that use the operator API."""

from typing import Annotated

import typer

from csms import users
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="Keys for programs that use the operator API.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[users.Role, typer.Option(help="What it may do.")] = users.Role.VIEWER,
) -> None:
    """Make a key and print it: this is the only time it can be read."""
    with opened() as database, database.write() as connection:
        key = users.create_key(connection, name, role, now())
    say(key)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All keys, the revoked ones too."""
    with opened() as database, database.read() as connection:
        keys = users.keys(connection)
    rows = [
        {
            "prefix": key.prefix,
            "name": key.name,
            "role": key.role.value,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }
        for key in keys
    ]
    columns = {"prefix": "prefix", "name": "name", "role": "role", "created_at": "created", "revoked_at": "revoked"}
    show("API keys", columns, rows, as_json=as_json)


@app.command()
def revoke(prefix: Annotated[str, typer.Argument(help="The prefix that `apikey list` shows.")]) -> None:
    """Make a key useless, at once."""
    try:
        with opened() as database, database.write() as connection:
            changed = users.revoke_key(connection, prefix, now())
    except users.UnknownKey:
        raise Failed(f"no key has the prefix {prefix}") from None
    say("revoked" if changed else "was revoked before")
