"""`roambridge emsp`: a simulated partner in the terminal, which tells what it receives as it comes."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from ocpi_bridge.emsp_simulator.answers import Answer
from ocpi_bridge.emsp_simulator.book import Fault, Party, Received
from ocpi_bridge.emsp_simulator.cpo import CpoRefused
from ocpi_bridge.emsp_simulator.judge import VERSIONS, place
from ocpi_bridge.emsp_simulator.serving import serving
from ocpi_bridge.emsp_simulator.side_door import NotSuch, local, plan, side_door
from ocpi_bridge.emsp_simulator.simulator import EmspSimulator

app = typer.Typer(help="The recording, faulty OCPI partner.", no_args_is_help=True)

# What is worth telling of a body, by module.
TOLD = {
    "locations": ("name", "uid", "status"),
    "sessions": ("status", "kwh", "total_cost"),
    "cdrs": ("id", "total_energy", "total_cost"),
    "tariffs": ("id", "currency"),
    "commands": ("result",),
    "tokens": ("location_id", "evse_uids"),
}
FAULT_HELP = f"PLACE=FAULT[:TIMES], as sessions=error_500:3 or =hang:always; one of {', '.join(Fault)}."


@app.callback()
def emsp() -> None:
    """The recording, faulty OCPI partner."""


@app.command()
def run(
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve on; port 0 takes a free one.")] = "127.0.0.1:8100",
    party: Annotated[str, typer.Option(help="Our country code and party id, as NL-MSP.")] = "NL-MSP",
    name: Annotated[str, typer.Option(help="Our business name.")] = "Example eMSP",
    public_url: Annotated[str | None, typer.Option(help="Our address as the CPO sees it, when it differs.")] = None,
    version: Annotated[str, typer.Option(help="2.2.1 or 2.1.1.")] = "2.2.1",
    strict: Annotated[bool, typer.Option(help="Refuse with 2001 what is otherwise only complained of.")] = False,
    register: Annotated[str | None, typer.Option(help="VERSIONS_URL of a CPO to register at.")] = None,
    token: Annotated[str | None, typer.Option(help="The CPO's token A for --register.")] = None,
    issue: Annotated[list[str] | None, typer.Option(help="UID of a card to issue; pushed after --register.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help=FAULT_HELP)] = None,
    slow: Annotated[float, typer.Option(min=0, help="Seconds that the fault slow takes.")] = 3.0,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT of the side door; by default the next port.")] = None,
) -> None:
    """Serve until interrupted, and tell what comes in. Without --register, prints what a CPO needs to register here.

    While it runs, `fault`, `requests`, `complaints` and `objects` ask it through its side door, which is open to this
    machine alone."""
    if (register is None) is not (token is None):
        raise typer.BadParameter("--register and --token belong together")
    if version not in VERSIONS:
        raise typer.BadParameter(f"{version!r} is none of {', '.join(VERSIONS)}", param_hint="--version")
    host, port = _address(listen)
    door = _address(admin) if admin else ("127.0.0.1", port and port + 1)
    if not local(door[0]):
        raise typer.BadParameter(f"{door[0]} can be reached from elsewhere", param_hint="--admin")
    console = Console(highlight=False)
    emsp = EmspSimulator(_party(party), host, port, name=name, strict=strict, public_url=public_url, version=version)
    emsp.slow_s = slow
    for text in fault or ():
        try:
            plan(emsp, text)
        except NotSuch as problem:
            raise typer.BadParameter(str(problem), param_hint="--fault") from None
    emsp.watch = lambda request, answer: console.print(line(request, answer, emsp))
    try:
        asyncio.run(_serve(emsp, door, console, register, token, issue or []))
    except KeyboardInterrupt:
        console.print("Bye.")
    except (CpoRefused, httpx.HTTPError, OSError) as error:
        console.print(f"[red]{escape(str(error) or type(error).__name__)}[/]")
        raise typer.Exit(1) from None


async def _serve(
    emsp: EmspSimulator,
    door: tuple[str, int],
    console: Console,
    register: str | None,
    token: str | None,
    cards: list[str],
) -> None:
    async with emsp, serving(side_door(emsp), *door) as admin:
        console.print(f"{escape(emsp.name)} ({'-'.join(emsp.party)}) serves [bold]{emsp.versions_url}[/]")
        console.print(f"Its side door is {admin.url}")
        tokens = [emsp.issue_token(uid) for uid in cards]
        if register is None or token is None:
            console.print(f"To register here: token A [bold]{emsp.invite()}[/]")
        else:
            await emsp.register(register, token)
            parties = ", ".join("-".join(party) for party in emsp.cpo_parties)
            console.print(f"[green]Registered[/] at {parties}")
            for card in tokens:
                reply = await emsp.push_token(card)
                console.print(f"Card {escape(card['uid'])} pushed: HTTP {reply.http_status}, OCPI {reply.status_code}")
        await emsp.closed.wait()


# ---- through the side door of one that runs --------------------------------------------------------------------------

Admin = Annotated[str, typer.Option(help="HOST:PORT of the side door.")]
DOOR = "127.0.0.1:8101"


@app.command("fault")
def fault_(
    fault: Annotated[str | None, typer.Argument(metavar="[PLACE=FAULT[:TIMES]]", help=FAULT_HELP)] = None,
    method: Annotated[str | None, typer.Option(help="Only requests of this method.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="None any more.")] = False,
    admin: Admin = DOOR,
) -> None:
    """Set a fault in a running partner, or list those that are set, in the order in which they are tried."""
    if clear:
        _asked(admin, "DELETE", "faults")
    body = None if fault is None else {"fault": fault, "method": method.upper() if method else None}
    for each in _asked(admin, "GET" if body is None else "POST", "faults", body):
        left = "always" if each["left"] is None else f"{each['left']} more"
        typer.echo(f"{each['place'] or 'everything'}: {each['fault']}, {each['method'] or 'any method'}, {left}")


@app.command()
def requests(
    method: Annotated[str | None, typer.Option(help="Only of this method.")] = None,
    path: Annotated[str, typer.Option(help="Only with this in the path.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with headers and body.")] = False,
    admin: Admin = DOOR,
) -> None:
    """What a running partner has received, in order; never a token."""
    query = {"path": path, **({"method": method.upper()} if method else {})}
    for each in _asked(admin, "GET", "requests", query=query):
        what = (
            json.dumps(each) if as_json else f"{each['number']:5} {each['at'][:19]}Z {each['method']:6} {each['path']}"
        )
        typer.echo(printable(what))


@app.command()
def complaints(admin: Admin = DOOR) -> None:
    """What was wrong with what a running partner received."""
    for each in _asked(admin, "GET", "complaints"):
        typer.echo(printable(f"{each['subject']}: {each['text']}"))


@app.command()
def objects(admin: Admin = DOOR) -> None:
    """What a running partner holds of ours, as one JSON object."""
    typer.echo(json.dumps(_asked(admin, "GET", "objects"), indent=2))


def _asked(
    admin: str, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
) -> Any:
    host, port = _address(admin)
    try:
        with httpx.Client(trust_env=False, timeout=10) as http:
            answer = http.request(method, f"http://{host}:{port}/{path}", json=body, params=query)
    except httpx.HTTPError as error:
        typer.echo(f"no partner answers at {admin}: {error or type(error).__name__}", err=True)
        raise typer.Exit(1) from None
    if answer.status_code != 200:
        typer.echo(answer.json().get("problem") if answer.status_code == 422 else answer.text, err=True)
        raise typer.Exit(1)
    return answer.json()


def printable(text: str) -> str:
    """Nothing that a CPO wrote acts on the terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)


# ---- the story -------------------------------------------------------------------------------------------------------


def line(request: Received, answer: Answer | Fault, emsp: EmspSimulator) -> str:
    """One line of the story: when, what was asked, what matters in it, how it was answered and what was wrong."""
    module, path = place(request.path)
    what = f"[bold]{request.method:6}[/] {escape('/'.join((module, *path)))}"
    body = request.body if isinstance(request.body, Mapping) else {}
    facts = " ".join(f"{name}={_short(body[name])}" for name in TOLD.get(module, ()) if name in body)
    if isinstance(answer, Fault):
        outcome = f"[magenta]{answer.value}[/]"
    else:
        colour = "green" if 1000 <= answer.code < 2000 else "red"
        outcome = f"[{colour}]{answer.http} {answer.code}[/]"
    subject = f"{request.method} {request.path}"
    wrong = [each.text for each in emsp.complaints if each.subject == subject and each.at >= request.at]
    complaints = "".join(f"\n         [yellow]! {escape(text)}[/]" for text in wrong)
    return f"{request.at:%H:%M:%S} {what} {escape(facts)} -> {outcome}{complaints}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("incl_vat", value.get("excl_vat", "...")))
    return str(value)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _party(text: str) -> Party:
    match = re.fullmatch(r"([A-Za-z]{2})[-*]([A-Za-z0-9]{3})", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not as NL-MSP")
    return match[1].upper(), match[2].upper()


if __name__ == "__main__":
    app()
