"""`roambridge simulate`: one charger that plays a scenario before your eyes, or a fleet with a progress bar and a report."""

import asyncio
import resource
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from csms.simulator.fleet import FleetReport, run_fleet
from csms.simulator.profile import AS_MEASURED, Profile
from csms.simulator.scenarios import SCENARIOS, Plan, ScenarioResult
from csms.simulator.wire import Fate, Unserved

DEFAULT_URL = "ws://127.0.0.1:9000/ocpp"
ARROWS = {"sent": "[cyan]→[/]", "received": "[green]←[/]"}


def known_scenario(name: str) -> str:
    """Hyphens are welcome."""
    if (written := name.replace("-", "_")) not in SCENARIOS:
        raise typer.BadParameter(f"{name} is none of {', '.join(SCENARIOS)}")
    return written


simulate = typer.Typer(help="Simulated chargers.", no_args_is_help=True)

Url = Annotated[str, typer.Option(help="The CSMS's OCPP address, without the identity.")]
Password = Annotated[str | None, typer.Option(help="HTTP Basic password of the station.")]
ScenarioName = Annotated[
    str, typer.Option(callback=known_scenario, help=f"One of {', '.join(SCENARIOS)}.", metavar="NAME")
]
Samples = Annotated[int, typer.Option(min=0, help="Meter samples in a charge, one sample interval apart.")]
Connectors = Annotated[int, typer.Option(min=1)]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to wait for the CSMS.")]


@simulate.command()
def charger(
    station_id: Annotated[str, typer.Option("--id", help="The station's identity.")] = "CP001",
    url: Url = DEFAULT_URL,
    password: Password = None,
    scenario: ScenarioName = "plug_charge_leave",
    id_token: Annotated[str, typer.Option(help="The driver's card.")] = Plan.id_token,
    connectors: Connectors = 2,
    connector: Annotated[int, typer.Option(min=1, help="The connector that is used.")] = 1,
    samples: Samples = Plan.samples,
    real_time: Annotated[
        bool, typer.Option("--real-time/--fast", help="Live every second, or skip the waiting.")
    ] = False,
    sample_interval: Annotated[int, typer.Option(min=1, help="Seconds between samples.")] = 60,
    power: Annotated[int, typer.Option(min=0, help="Watts that the car draws.")] = 11_000,
    unit: Annotated[str, typer.Option(help="Unit of the MeterValues: Wh or kWh.")] = "Wh",
    unit_label: Annotated[str, typer.Option(help="Unit that they claim, if it is not the true one.")] = AS_MEASURED,
    clock_offset: Annotated[float, typer.Option(help="Seconds by which the clock is wrong.")] = 0.0,
    follow_time: Annotated[bool, typer.Option(help="Set the clock by the CSMS's currentTime.")] = True,
    null_byte: Annotated[bool, typer.Option("--null-byte", help="Put a NUL before the card's number.")] = False,
    twin_status: Annotated[bool, typer.Option("--twin-status", help="Report a single connector as 0 and 1.")] = False,
    shows_cost: Annotated[bool, typer.Option("--shows-cost", help="Have a display for prices and costs.")] = False,
    lost_answers: Annotated[int, typer.Option(min=0, help="Lose so many answers to each transaction message.")] = 0,
    slow_answers: Annotated[float, typer.Option(min=0, help="Seconds to think over the CSMS's calls.")] = 0.0,
    vendor: Annotated[str, typer.Option()] = Profile.vendor,
    model: Annotated[str, typer.Option()] = Profile.model,
    serial: Annotated[
        str | None, typer.Option(help="Serial number in the Boot; made from the identity if absent.")
    ] = None,
    boot_attempts: Annotated[int, typer.Option(min=1, help="Boots until accepted, the CSMS's interval apart.")] = 1,
    patience: Patience = Plan.patience_s,
    stop_patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a RemoteStop at the end.")] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="The outcome only, no frames.")] = False,
) -> None:
    """One charger plays one scenario."""
    console = Console()
    if connector > connectors:
        raise typer.BadParameter(f"the charger has {connectors} connectors", param_hint="--connector")
    try:
        profile = Profile(
            station_id=station_id,
            url=url,
            password=password,
            connectors=connectors,
            vendor=vendor,
            model=model,
            serial_number=serial or serial_of(station_id),
            clock_offset=timedelta(seconds=clock_offset),
            follows_current_time=follow_time,
            max_power_w=power,
            sample_interval_s=sample_interval,
            meter_unit=unit,
            unit_label=unit_label,
            id_token_prefix="\u0000" if null_byte else "",
            twin_status=twin_status,
            shows_cost=shows_cost,
            lost_answers=lost_answers,
            answer_delay_s=slow_answers,
            reconnect_after_s=2.0 if real_time else None,
        )
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong

    def show(direction: str, text: str) -> None:
        console.print(f"{ARROWS[direction]} {escape(text)}", soft_wrap=True, highlight=False)

    plan = Plan(
        id_token=id_token,
        connector=connector,
        samples=samples,
        real_time=real_time,
        boot_attempts=boot_attempts,
        patience_s=patience,
        stop_patience_s=stop_patience,
        on_frame=None if quiet else show,
    )
    try:
        result = asyncio.run(_play(scenario, profile, plan))
    except (Unserved, TimeoutError) as failure:
        console.print(f"[red]failed:[/] {escape(str(failure) or 'the CSMS took too long')}", soft_wrap=True)
        raise typer.Exit(1) from failure
    console.print(_outcome(result))
    if result.authorization not in (None, "Accepted"):
        console.print(f"[red]refused:[/] the card is {escape(result.authorization)}")
        raise typer.Exit(1)


@simulate.command()
def fleet(
    stations: Annotated[int, typer.Option(min=1, help="How many chargers.")] = 10,
    url: Url = DEFAULT_URL,
    scenario: ScenarioName = "plug_charge_leave",
    id_prefix: Annotated[str, typer.Option(help="Identities are this and a number.")] = "SIM",
    token_prefix: Annotated[str, typer.Option(help="Cards are this and the same number.")] = "SIMCARD",
    password: Password = None,
    connectors: Connectors = 2,
    samples: Samples = Plan.samples,
    concurrency: Annotated[int, typer.Option(min=1, help="Chargers at the same time.")] = 100,
    real_time: Annotated[bool, typer.Option("--real-time/--fast")] = False,
    patience: Patience = Plan.patience_s,
) -> None:
    """Many chargers play one scenario; exit code 1 when one of them could not."""
    raise_file_limit()
    console = Console()
    names = [f"{number:05d}" for number in range(1, stations + 1)]
    profiles = [
        Profile(
            station_id=id_prefix + name,
            url=url,
            password=password,
            connectors=connectors,
            serial_number=serial_of(id_prefix + name),
        )
        for name in names
    ]
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{scenario} on {stations} chargers", total=stations)
        report = asyncio.run(
            run_fleet(
                profiles,
                SCENARIOS[scenario],
                concurrency=concurrency,
                plan=Plan(samples=samples, real_time=real_time, patience_s=patience),
                id_tokens=[token_prefix + name for name in names],
                on_done=lambda: progress.advance(bar),
            )
        )
    console.print(_summary(report))
    for station_id, reason in report.failures[:10]:
        console.print(f"[red]{escape(station_id)}[/] {escape(reason)}", soft_wrap=True)
    if report.failures:
        raise typer.Exit(1)


def serial_of(station_id: str) -> str:
    """25 characters are what OCPP 1.6 allows; the end of an identity is what differs."""
    return f"SN-{station_id[-22:]}"


def raise_file_limit() -> None:
    """One socket a charger: take as many as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _play(scenario: str, profile: Profile, plan: Plan) -> ScenarioResult:
    return await SCENARIOS[scenario](profile, plan)


def _outcome(result: ScenarioResult) -> Table:
    table = Table(
        "action", "calls", "answered", "slowest ms", title=f"{escape(result.station_id)}", title_justify="left"
    )
    for action in dict.fromkeys(exchange.action for exchange in result.answers):
        calls = result.answered(action)
        answered = sum(call.fate is Fate.ANSWERED for call in calls)
        table.add_row(action, str(len(calls)), str(answered), f"{max(call.latency_s for call in calls) * 1000:.1f}")
    table.caption = (
        f"card {result.authorization or 'not used'}, transaction {result.transaction_id or 'none'}, "
        f"{result.energy_wh / 1000:.3f} kWh delivered"
    )
    return table


def _summary(report: FleetReport) -> Table:
    table = Table(show_header=False, title="fleet", title_justify="left")
    table.add_row("chargers finished", f"{report.completed} of {report.stations}")
    table.add_row("calls", ", ".join(f"{count} {fate}" for fate, count in report.calls.items()) or "none")
    table.add_row("calls per second", f"{report.calls_per_s:.0f}")
    table.add_row("answer p50 / p99", f"{report.p50_ms:.1f} / {report.p99_ms:.1f} ms")
    table.add_row("duration", f"{report.duration_s:.1f} s")
    table.add_row("energy delivered", f"{report.energy_mwh / 1_000_000:.3f} kWh")
    return table
