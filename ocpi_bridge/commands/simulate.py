"""`roambridge simulate`: the simulated chargers, and for a fleet the look into our database that they cannot take."""

import typer

from csms.simulator.cli import charger
from csms.simulator.fleet_cli import fleet, network
from ocpi_bridge.fleet_check import losses

app = typer.Typer(help="Simulated chargers.", no_args_is_help=True)
app.command()(charger)
app.command()(fleet)
app.command()(network)


@app.callback()
def simulate(context: typer.Context) -> None:
    """Simulated chargers: one, or a fleet."""
    context.obj = losses
