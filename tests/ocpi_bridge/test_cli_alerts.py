"""`roambridge alert`: what is open, and closing it by hand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from csms.alerts import Alarm, close, raise_alarms
from csms.database import Database
from tests.csms.core_story import NOON
from tests.ocpi_bridge.cli_answers import objects

Cli = Callable[..., Any]


def rows(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    return objects(cli("alert", "list", "--json", *arguments))


def test_alerts_are_listed_and_closed_by_whoever_has_looked(cli: Cli, database: Database) -> None:
    with database.write() as connection:
        for station_id in ("CP1", "CP2", "CP3"):
            alarm = Alarm(kind="clock_skew", subject=station_id, station_id=station_id, detail={"rule": "server_past"})
            raise_alarms(connection, [alarm], NOON)
        close(connection, "clock_skew", "CP3", NOON + timedelta(minutes=1))
    assert [row["station_id"] for row in rows(cli)] == ["CP2", "CP1"]
    assert [row["station_id"] for row in rows(cli, "--all")] == ["CP3", "CP2", "CP1"]
    [only] = rows(cli, "--station", "CP1")
    assert "rule server_past" in cli("alert", "list").stdout
    done = cli("alert", "close", str(only["id"]))
    assert (done.exit_code, done.stdout) == (0, f"alert {only['id']} is closed\n")
    closed = {row["station_id"]: row["closed_by"] for row in rows(cli, "--all")}
    assert (closed["CP1"].startswith("cli:"), closed["CP2"], closed["CP3"]) == (True, None, None)
    nobody = cli("alert", "close", "99")
    assert (nobody.exit_code, nobody.stderr) == (1, "roambridge: there is no alert 99\n")
