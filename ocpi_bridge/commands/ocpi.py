"""`roambridge ocpi`: whether a platform keeps OCPI's rules, asked by reading it."""

import asyncio
import re
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from ocpi_bridge.checker import KNOWN_VERSIONS, Limits, NothingToCheck, Report, check
from ocpi_bridge.checker.asking import Party
from ocpi_bridge.commands.terminal import AsJson, fail, printable, say, show
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from ocpi_bridge.settings import Settings, load

app = typer.Typer(help="OCPI: does a platform keep its rules?", no_args_is_help=True)


@app.callback()
def ocpi() -> None:
    """OCPI: does a platform keep its rules?"""


@app.command("check")
def check_(
    url: Annotated[str, typer.Argument(metavar="URL", help="The platform's versions URL.")],
    token: Annotated[str, typer.Option(help="The token that it gave us; - reads it from standard input.")],
    party: Annotated[str | None, typer.Option(help="As whom we ask, as NL-MSP. [default: our own party]")] = None,
    version: Annotated[str | None, typer.Option(help="2.2.1 or 2.1.1. [default: the newest it offers]")] = None,
    pages: Annotated[int, typer.Option(min=1, help="Of each list read this many pages at most.")] = Limits.max_pages,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one answer may take.")] = Limits.timeout_s,
    private: Annotated[bool, typer.Option("--private", help="URL's host may be private, and called by http.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a partner's platform, or our own, and report each deviation with its id in docs/ocpi-conformance.md.

    Nothing is written: every request is a GET. Ends with 0 when nothing that MUST be is otherwise, 1 when something is,
    2 when there was nothing to check: the URL may not be called or does not answer, or the token opens no module."""
    if version is not None and version not in KNOWN_VERSIONS:
        raise typer.BadParameter(f"{version!r} is none of {', '.join(KNOWN_VERSIONS)}", param_hint="--version")
    secret = sys.stdin.readline().strip() if token == "-" else token
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise typer.BadParameter("a token is printable ASCII without spaces", param_hint="--token")
    settings = load()
    asking = settings.our_party if party is None else _party(party)
    limits = Limits(max_pages=pages, timeout_s=timeout)
    try:
        report = asyncio.run(_checked(_policy(settings, url, private), url, secret, asking, version, limits))
    except NothingToCheck as error:
        fail([str(error).replace(secret, "(token)")])
        raise typer.Exit(2) from None
    _tell(report, as_json=as_json)
    raise typer.Exit(1 if not report.clean else 2 if report.shut else 0)


def _policy(settings: Settings, url: str, private: bool) -> OutboundPolicy:
    """`private` opens the host that the operator named, and no other to which the platform's own answers lead."""
    policy = OutboundPolicy(settings.outbound_allow)
    if not private:
        return policy
    try:
        host = urlsplit(url).hostname or ""
        return OutboundPolicy([*settings.outbound_allow, host])
    except ValueError:  # a host that cannot be read is refused when it is called
        return policy


async def _checked(
    policy: OutboundPolicy, url: str, token: str, party: Party, version: str | None, limits: Limits
) -> Report:
    guarded = Guarded(policy, timeout_s=limits.timeout_s)
    try:
        return await check(guarded, url, token, party=party, version=version, limits=limits)
    finally:
        await guarded.aclose()


def _tell(report: Report, *, as_json: bool) -> None:
    """The summary of JSON goes to where people look, and programs do not."""
    if as_json:
        show("", {}, [finding.row() for finding in report.findings()], as_json=True)
    else:
        for finding in report.findings():
            say(str(finding))
    typer.echo(printable(report.summary()), err=as_json)


def _party(text: str) -> Party:
    match = re.fullmatch(r"([A-Za-z]{2})[-*]([A-Za-z0-9]{3})", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not as NL-MSP", param_hint="--party")
    return match[1].upper(), match[2].upper()
