"""`roambridge simulate charger`: one charger that plays a scenario before your eyes; and where all of `simulate` begins."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from csms.simulator.fleet_cli import fleet, network
from csms.simulator.options import DEFAULT_URL, Connectors, Password, Patience, Samples, ScenarioName, Url, serial_of
from csms.simulator.profile import AS_MEASURED, Profile
from csms.simulator.scenarios import SCENARIOS, Plan, ScenarioResult
from csms.simulator.wire import Fate, Unserved

ARROWS = {"sent": "[cyan]→[/]", "received": "[green]←[/]"}

simulate = typer.Typer(help="Simulated chargers.", no_args_is_help=True)
simulate.command()(fleet)
simulate.command()(network)


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
