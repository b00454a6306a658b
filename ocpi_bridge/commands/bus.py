"""`roambridge bus`: chargers' messages that no worker could handle, sent again or dropped by a person."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from csms.bus import dead_letters
from csms.bus.client import AWAY, Client
from csms.bus.dead_letters import Letter
from ocpi_bridge.commands.terminal import AsJson, Failed, say, show
from ocpi_bridge.settings import PREFIX, load

app = typer.Typer(help="The bus between gateways and workers: what they could not handle.", no_args_is_help=True)

T = TypeVar("T")
COLUMNS = {
    "letter_id": "id",
    "died_at": "died",
    "station_id": "station",
    "kind": "what",
    "times": "times",
    "error": "why",
}
ALSO = {"said_at": "said", "event_id": "event"}
LetterId = Annotated[str, typer.Argument(metavar="ID", help="Its id in `bus dead`.")]


@app.command()
def dead(as_json: AsJson = False) -> None:
    """Messages that no worker could handle, the oldest first, and why."""
    found = _asked(dead_letters.letters)
    rows = [{name: getattr(letter, name) for name in COLUMNS | ALSO} for letter in found]
    show("dead messages", COLUMNS, rows, as_json=as_json)


@app.command()
def requeue(
    letter_id: Annotated[str, typer.Argument(metavar="[ID]", help="Its id in `bus dead`.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every one of them, the oldest first.")] = False,
) -> None:
    """Send it to the workers once more: what made it fail has been mended."""
    if bool(letter_id) is every:
        raise Failed("name one message, or --all")

    async def again(client: Client) -> int:
        wanted = await dead_letters.letters(client) if every else [await _one(client, letter_id)]
        return sum([await dead_letters.requeue(client, letter) for letter in wanted])

    say(f"{_asked(again)} sent again")


@app.command()
def drop(letter_id: LetterId) -> None:
    """Forget it for good."""

    async def gone(client: Client) -> bool:
        return await dead_letters.drop(client, await _one(client, letter_id))

    _asked(gone)
    say(f"{letter_id} dropped")


async def _one(client: Client, letter_id: str) -> Letter:
    for letter in await dead_letters.letters(client):
        if letter.letter_id == letter_id:
            return letter
    raise Failed(f"there is no dead message {letter_id}; they are listed by: roambridge bus dead")


def _asked(work: Callable[[Client], Awaitable[T]]) -> T:
    url = load().redis_url
    if url is None:
        raise Failed(f"{PREFIX}REDIS_URL is not set: only the roles gateway, worker and api have a bus")

    async def asked() -> T:
        client = Client(url)
        try:
            return await work(client)
        finally:
            await client.close()

    try:
        return asyncio.run(asked())
    except AWAY as error:
        raise Failed(f"{PREFIX}REDIS_URL: {error}") from error
