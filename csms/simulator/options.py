"""The options that a simulated charger and a fleet of them have in common."""

from typing import Annotated

import typer

from csms.simulator.scenarios import SCENARIOS

DEFAULT_URL = "ws://127.0.0.1:9000/ocpp"


def known_scenario(name: str) -> str:
    """Hyphens are welcome."""
    if (written := name.replace("-", "_")) not in SCENARIOS:
        raise typer.BadParameter(f"{name} is none of {', '.join(SCENARIOS)}")
    return written


def serial_of(station_id: str) -> str:
    """25 characters are what OCPP 1.6 allows; the end of an identity is what differs."""
    return f"SN-{station_id[-22:]}"


Url = Annotated[str, typer.Option(help="The CSMS's OCPP address, without the identity.")]
Password = Annotated[str | None, typer.Option(help="HTTP Basic password of the station.")]
ScenarioName = Annotated[
    str, typer.Option(callback=known_scenario, help=f"One of {', '.join(SCENARIOS)}.", metavar="NAME")
]
Samples = Annotated[int, typer.Option(min=0, help="Meter samples in a charge, one sample interval apart.")]
Connectors = Annotated[int, typer.Option(min=1)]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to wait for the CSMS.")]
