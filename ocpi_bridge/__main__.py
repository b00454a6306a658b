"""`python -m ocpi_bridge` is `roambridge`."""

from ocpi_bridge.cli import app

app(prog_name="roambridge")
