"""`roambridge rebill --dry-run`: whether the bills of a period would come to the same again."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from csms import clock
from csms.billing import rebill as bills
from csms.billing.rebill import Outcome, Rebilled
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

EVER = datetime(1970, 1, 1, tzinfo=UTC)

app = typer.Typer()


@app.callback()
def all_bills() -> None:
    """Bills, priced again."""


@app.command()
def rebill(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs: the one way there is.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Bills made from then on, as 2026-06-01 or 2026-06-01T12:00Z."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Bills made before then.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price the bills of a period again from their stored samples, and print what differs. Fails when something does."""
    begin, end = _time(since) or EVER, _time(until) or now()
    if not dry_run:
        raise Failed(
            "a bill is never changed in place: partners hold it. See what would differ with --dry-run; take a bill back with "
            "`roambridge review credit RECORD`, or put a right one in its place with `roambridge review correct RECORD`"
        )
    counts = dict.fromkeys(Outcome, 0)
    rows: list[dict[str, Any]] = []
    with opened() as database:
        for one in bills.rebill(database, begin, end):
            counts[one.outcome] += 1
            rows += _rows(one)
    show(
        "Bills that come to something else",
        {"record": "bill", "what": "what", "billed": "billed", "now": "now"},
        rows,
        as_json=as_json,
    )
    if not as_json:
        say(
            f"{sum(counts.values())} bills priced again: {counts[Outcome.SAME]} the same, {counts[Outcome.DIFFERS]} differ, "
            f"{counts[Outcome.EVIDENCE_GONE]} have lost samples or statuses by age"
        )
    if counts[Outcome.DIFFERS]:
        raise Failed(f"{counts[Outcome.DIFFERS]} of {sum(counts.values())} bills come to something else")


def _rows(one: Rebilled) -> list[dict[str, Any]]:
    about = {"record": one.record, "session": one.transaction, "made_at": one.made_at}
    return [{**about, "what": it.what, "billed": it.billed, "now": it.now} for it in one.differences]


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = clock.read(text) or clock.read(f"{text}T00:00Z")
    if at is None:
        raise typer.BadParameter(f"{text} is no time; write it as 2026-06-01 or 2026-06-01T12:00Z")
    return at
