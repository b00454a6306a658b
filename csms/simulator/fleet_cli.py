"""`roambridge simulate fleet`: many chargers play one scenario, or ten thousand live for a while; a bar, then a report."""

import asyncio
import json
import resource
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Protocol

import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from csms.simulator import load, network_file, server_cpu, server_memory
from csms.simulator.fleet import FleetReport, run_fleet
from csms.simulator.lean_charger import MEASURANDS, Habits
from csms.simulator.lean_line import Address
from csms.simulator.load import LoadPlan, LoadReport
from csms.simulator.options import DEFAULT_URL, Connectors, Password, Patience, Samples, ScenarioName, Url, serial_of
from csms.simulator.profile import Profile
from csms.simulator.scenarios import SCENARIOS, Plan
from csms.simulator.server_cpu import CpuSeconds
from csms.simulator.server_memory import ServerMemory
from csms.simulator.tally import Played

LIFE = "With --duration: a life instead of a scenario"

Prefix = Annotated[str, typer.Option(help="Identities are this and a number.")]
Cards = Annotated[str, typer.Option(help="Cards are this and the same number.")]


class Check(Protocol):
    """Compares what chargers were told with what a database holds: a line for each loss. Of a charge of nobody it only looks
    whether the database can be read; ValueError for what is no address of one. Who offers the command brings one along as
    the context's object."""

    def __call__(self, database_url: str, played: Sequence[Played], *, since: datetime) -> list[str]: ...


def fleet(
    ctx: typer.Context,
    stations: Annotated[int, typer.Option(min=1, help="How many chargers.")] = 10,
    url: Url = DEFAULT_URL,
    id_prefix: Prefix = "SIM",
    token_prefix: Cards = "SIMCARD",
    password: Password = None,
    connectors: Annotated[int | None, typer.Option(min=1, help="2 in a scenario, 1 in a life.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON, and no bar.")] = False,
    scenario: ScenarioName = "plug_charge_leave",
    samples: Samples = Plan.samples,
    concurrency: Annotated[int, typer.Option(min=1, help="Chargers at the same time.")] = 100,
    real_time: Annotated[bool, typer.Option("--real-time/--fast")] = False,
    patience: Patience = Plan.patience_s,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds, once all are up.", rich_help_panel=LIFE)
    ] = None,
    ramp: Annotated[float, typer.Option(min=0, help="Seconds within which they come.", rich_help_panel=LIFE)] = 10.0,
    heartbeat: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between heartbeats; as told at Boot.", rich_help_panel=LIFE)
    ] = None,
    charging: Annotated[
        float, typer.Option(min=0, max=1, help="The share that charges.", rich_help_panel=LIFE)
    ] = LoadPlan.charging,
    sample_interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between samples.", rich_help_panel=LIFE)
    ] = Habits.sample_s,
    values: Annotated[
        int, typer.Option(min=1, max=len(MEASURANDS), help="Values of a sample.", rich_help_panel=LIFE)
    ] = Habits.values,
    charge: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of a charge; the whole life.", rich_help_panel=LIFE)
    ] = None,
    start_within: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds within which charges start; a sample interval.", rich_help_panel=LIFE),
    ] = None,
    offline: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The share of those charging that has no line in the second quarter, and delivers later.",
            rich_help_panel=LIFE,
        ),
    ] = 0.0,
    storm_at: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds until all lines are cut and come back.", rich_help_panel=LIFE),
    ] = None,
    storm_share: Annotated[
        float, typer.Option(min=0, max=1, help="The share that is cut.", rich_help_panel=LIFE)
    ] = 1.0,
    storm_spread: Annotated[
        float, typer.Option(min=0, help="Seconds within which they come back.", rich_help_panel=LIFE)
    ] = 0.0,
    sources: Annotated[
        int | None, typer.Option(min=0, help="Addresses 127.0.x.y to call from; as needed.", rich_help_panel=LIFE)
    ] = None,
    server_pid: Annotated[
        int | None, typer.Option(help="The CSMS's process, for its memory and CPU.", rich_help_panel=LIFE)
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="The CSMS's /metrics, for its memory.", rich_help_panel=LIFE)
    ] = None,
    check_database: Annotated[
        str | None,
        typer.Option(help="The CSMS's database: is all that it acknowledged there, once?", rich_help_panel=LIFE),
    ] = None,
) -> None:
    """Many chargers play one scenario each, or live for --duration seconds; exit code 1 when one could not, or on a loss."""
    raise_file_limit()
    console = Console(stderr=as_json)
    if duration is None:
        plan = Plan(samples=samples, real_time=real_time, patience_s=patience)
        numbers = [f"{number:05d}" for number in range(1, stations + 1)]
        profiles = [
            Profile(
                station_id=id_prefix + number,
                url=url,
                password=password,
                connectors=connectors or 2,
                serial_number=serial_of(id_prefix + number),
            )
            for number in numbers
        ]
        cards = [token_prefix + number for number in numbers]
        report_of_story = _play(console, scenario, profiles, plan, concurrency, cards, bar=not as_json)
        if as_json:
            print(json.dumps(report_of_story.told(), indent=2))
        else:
            console.print(_of_story(report_of_story))
        for station_id, reason in report_of_story.failures[:10]:
            console.print(f"[red]{escape(station_id)}[/] {escape(reason)}", soft_wrap=True)
        if report_of_story.failures:
            raise typer.Exit(1)
        return
    if check_database is not None and ctx.obj is None:
        raise typer.BadParameter("nobody here can read a database", param_hint="--check-database")
    try:
        address = Address.of(url)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--url") from wrong
    since = datetime.now(UTC)
    if check_database is not None:
        _can_be_read(ctx.obj, check_database)
    memory = server_memory.of_process(server_pid) if server_pid is not None else None
    if metrics is not None:
        memory = server_memory.of_metrics(metrics)
        if not memory():
            raise typer.BadParameter(f"{metrics} tells no memory", param_hint="--metrics")
    needed = load.addresses(stations, address.host)
    life = LoadPlan(
        stations=stations,
        habits=Habits(
            address=address,
            password=password,
            heartbeat_s=heartbeat,
            connectors=connectors or 1,
            sample_s=sample_interval,
            values=values,
            charge_s=charge,
            starts_within_s=start_within,
        ),
        id_prefix=id_prefix,
        token_prefix=token_prefix,
        duration_s=duration,
        ramp_s=ramp,
        charging=charging,
        offline=offline,
        storm_at_s=storm_at,
        storm_share=storm_share,
        storm_spread_s=storm_spread,
        sources=needed if sources is None else load.addresses(sources * load.CHARGERS_AN_ADDRESS, address.host),
    )
    cpu = server_cpu.of_process(server_pid) if server_pid is not None else None
    report = _live(console, life, memory, cpu, bar=not as_json)
    if check_database is not None:
        report.losses += ctx.obj(check_database, report.tally.played, since=since)
        report.checked = True
    if as_json:
        print(json.dumps(report.told(), indent=2))
    else:
        console.print(_of_life(report))
        console.print(_latencies(report))
    for loss in report.losses[:20]:
        console.print(f"[red]lost:[/] {escape(loss)}", soft_wrap=True)
    if report.losses:
        raise typer.Exit(1)


def network(
    stations: Annotated[int, typer.Option(min=1, help="How many chargers.")] = 10,
    id_prefix: Prefix = "SIM",
    token_prefix: Cards = "SIMCARD",
    password: Password = None,
    connectors: Connectors = 1,
) -> None:
    """The file with which `roambridge import` takes in a fleet and its cards; on standard output."""
    numbers = [f"{number:05d}" for number in range(1, stations + 1)]
    document = network_file.document(
        [id_prefix + number for number in numbers],
        [token_prefix + number for number in numbers],
        password=password,
        evses=connectors,
    )
    print(json.dumps(document))


def _can_be_read(check: Check, database_url: str) -> None:
    """Before anything is played: what cannot be checked need not be."""
    try:
        check(database_url, [], since=datetime.now(UTC))
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--check-database") from wrong


def raise_file_limit() -> None:
    """One socket a charger: take as many as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _play(
    console: Console,
    scenario: str,
    profiles: Sequence[Profile],
    plan: Plan,
    concurrency: int,
    cards: Sequence[str],
    *,
    bar: bool,
) -> FleetReport:
    with Progress(console=console, transient=True, disable=not bar) as progress:
        task = progress.add_task(f"{scenario} on {len(profiles)} chargers", total=len(profiles))
        return asyncio.run(
            run_fleet(
                profiles,
                SCENARIOS[scenario],
                concurrency=concurrency,
                plan=plan,
                id_tokens=cards,
                on_done=lambda: progress.advance(task),
            )
        )


def _live(
    console: Console, plan: LoadPlan, memory: ServerMemory | None, cpu: CpuSeconds | None, *, bar: bool
) -> LoadReport:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not bar) as progress:
        task = progress.add_task("coming", total=1.0, told="")

        def show(now: load.Progress) -> None:
            told = f"{now.up}/{plan.stations} up, {now.answered} calls answered"
            told += f", turned away: {escape(now.turned_away)}" if now.turned_away else ""
            progress.update(task, description=now.stage, completed=now.of_stage, told=told)

        return uvloop.run(load.run_load(plan, server_memory=memory, server_cpu=cpu, on_progress=show))


def _of_story(report: FleetReport) -> Table:
    table = Table(show_header=False, title="fleet", title_justify="left")
    table.add_row("chargers finished", f"{report.completed} of {report.stations}")
    table.add_row("calls", ", ".join(f"{count} {fate}" for fate, count in report.calls.items()) or "none")
    table.add_row("calls per second", f"{report.calls_per_s:.0f}")
    table.add_row("answer p50 / p99", f"{report.p50_ms:.1f} / {report.p99_ms:.1f} ms")
    table.add_row("duration", f"{report.duration_s:.1f} s")
    table.add_row("energy delivered", f"{report.energy_mwh / 1_000_000:.3f} kWh")
    return table


def _of_life(report: LoadReport) -> Table:
    told = report.told()
    table = Table(show_header=False, title="fleet", title_justify="left")
    table.add_row("chargers up", f"{told['up']} of {told['stations']} in {told['up_s']:.1f} s")
    calls = told["calls"]
    for fate in ("sent", "answered", "refused", "cut", "silent"):
        table.add_row(f"calls {fate}", f"{calls[fate]}")
    table.add_row("calls answered per second", f"{calls['per_s']:.0f}")
    table.add_row("transactions, samples", f"{told['transactions']}, {told['samples']}")
    table.add_row("delivered late", f"{told['delivered_late']}")
    if told["turned_away"]:
        table.add_row("turned away", ", ".join(f"{why}: {count}" for why, count in told["turned_away"].items()))
    table.add_row("memory of the chargers", f"{told['generator_mb']} MB, {told['kb_per_charger']} KB each")
    if told["server_mb"]:
        table.add_row("memory of the CSMS", ", ".join(f"{when} {mb} MB" for when, mb in told["server_mb"].items()))
    lost = f"[red]{len(report.losses)}[/]" if report.losses else "[green]0[/]"
    table.add_row("losses", f"{lost}, {'database checked' if report.checked else 'database not checked'}")
    return table


def _latencies(report: LoadReport) -> Table:
    table = Table("answers", "calls", "p50 ms", "p99 ms", "longest ms", title="latencies", title_justify="left")
    told = report.told()
    for stage, of_it in told["stages"].items():
        cpu = ", ".join(f"{name} {seconds:g} s" for name, seconds in of_it["cpu_s"].items())
        table.add_section()
        table.add_row(f"[bold]{stage}[/], {of_it['lasted_s']:g} s; CPU: {cpu}")
        rows = {"handshake": of_it["handshakes"]} | of_it["answers"] | {"(own loop late)": of_it["own_lag"]}
        _add(table, rows)
    table.add_section()
    table.add_row("[bold]the whole life[/]")
    _add(
        table, told["latencies"] | {"back after the storm": told["reconnects"], "others in the storm": told["in_storm"]}
    )
    return table


def _add(table: Table, rows: Mapping[str, Mapping[str, float] | None]) -> None:
    for name, row in rows.items():
        if row is not None:
            table.add_row(name, *(f"{row[key]:g}" for key in ("calls", "p50_ms", "p99_ms", "longest_ms")))
