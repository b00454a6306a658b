"""Many chargers at once, and both of them from the command line."""

import asyncio
import json
import re
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from csms.simulator.cli import simulate
from csms.simulator.fleet import percentile, run_fleet
from csms.simulator.options import serial_of
from csms.simulator.scenarios import Plan, plug_charge_leave
from csms.simulator.wire import Fate

MARGIN_OF_ERROR = 1e-9


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        (list(map(float, range(1, 101))), 0.99, 99.0),
    ],
)
def test_percentiles_are_values_that_occurred(values: list[float], share: float, expected: float) -> None:
    assert abs(percentile(values, share) - expected) < MARGIN_OF_ERROR


def test_serial_numbers_fit_and_keep_what_differs() -> None:
    assert serial_of("CP001") == "SN-CP001"
    assert (len(serial_of("X" * 60 + "42")), serial_of("X" * 60 + "42")[-2:]) == (25, "42")


async def test_a_fleet_charges_and_each_driver_has_a_card(csms: Any) -> None:  # A01
    profiles = [csms.profile(station_id=f"SIM{number}") for number in range(30)]
    cards = [f"CARD{number}" for number in range(30)]
    done: list[None] = []
    report = await run_fleet(
        profiles,
        plug_charge_leave,
        concurrency=10,
        plan=Plan(samples=2),
        id_tokens=cards,
        on_done=lambda: done.append(None),
    )
    assert (report.stations, report.completed, report.failures, len(done)) == (30, 30, (), 30)
    assert {frame["idTag"] for frame in csms.payloads("StartTransaction")} == set(cards)
    assert report.calls == {Fate.ANSWERED: len(csms.calls)}
    assert 0 < report.p50_ms <= report.p99_ms
    assert report.energy_mwh == 30 * 366_666


async def test_the_chargers_that_fail_are_named_and_the_others_go_on(csms: Any) -> None:
    lost = csms.profile(station_id="LOST", url="ws://127.0.0.1:1/ocpp")
    report = await run_fleet([lost, csms.profile(station_id="GOOD")], plug_charge_leave, concurrency=2)
    assert (report.stations, report.completed) == (2, 1)
    assert [station_id for station_id, _ in report.failures] == ["LOST"]


async def invoke(*arguments: str) -> Result:
    """In a thread, because the CSMS lives in this one."""
    return await asyncio.to_thread(CliRunner().invoke, simulate, arguments)


async def test_charger_shows_its_frames_and_what_came_of_it(csms: Any) -> None:
    result = await invoke("charger", "--url", csms.url, "--id", "CP9", "--samples", "2", "--scenario", "mixed-units")
    assert result.exit_code == 0, result.output
    assert '"BootNotification"' in result.output
    assert re.search(r"transaction 1,\s+0\.367 kWh", result.output)
    assert csms.paths == ["/ocpp/CP9"]
    assert csms.payloads("BootNotification")[0]["chargePointSerialNumber"] == "SN-CP9"


async def test_faults_are_ordered_by_options(csms: Any) -> None:  # P13
    faults = ("--null-byte", "--no-follow-time", "--clock-offset", "-86400", "--lost-answers", "1", "--unit", "kWh")
    result = await invoke("charger", "--url", csms.url, "--id-token", "CARD", "--quiet", *faults)
    assert result.exit_code == 0, result.output
    assert "BootNotification" in result.output
    assert '"BootNotification"' not in result.output
    starts = csms.payloads("StartTransaction")
    assert [start["idTag"] for start in starts] == 2 * ["\u0000CARD"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("charger", "--scenario", "fly_away"),
        ("charger", "--unit", "MJ"),
        ("charger", "--id", ""),
        ("charger", "--connector", "3"),
        ("fleet", "--stations", "0"),
    ],
)
async def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert (await invoke(*arguments)).exit_code == 2


async def test_a_charger_that_finds_nobody_exits_1_with_one_line() -> None:
    result = await invoke("charger", "--url", "ws://127.0.0.1:1/ocpp")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("failed: CP001")


async def test_a_refused_card_exits_1(csms: Any) -> None:
    csms.card_status = "Expired"
    result = await invoke("charger", "--url", csms.url, "--quiet")
    assert result.exit_code == 1
    assert "refused: the card is Expired" in result.output


async def test_fleet_reports_and_exits_1_when_a_charger_failed(csms: Any) -> None:
    result = await invoke("fleet", "--url", csms.url, "--stations", "5", "--samples", "1", "--concurrency", "3")
    assert result.exit_code == 0, result.output
    assert "5 of 5" in result.output
    assert sorted(set(csms.paths)) == [f"/ocpp/SIM{number:05d}" for number in range(1, 6)]
    csms.boot_status = "Pending"
    refused = await invoke("fleet", "--url", csms.url, "--stations", "2")
    assert refused.exit_code == 1
    assert "SIM00001: Boot was answered Pending" in refused.output


async def test_a_scenario_of_a_fleet_is_told_as_json_too(csms: Any) -> None:
    story = ("fleet", "--url", csms.url, "--stations", "2", "--samples", "1", "--json")
    good = await invoke(*story)
    assert good.exit_code == 0, good.output
    told = json.loads(good.stdout)
    assert (told["stations"], told["completed"], told["failures"]) == (2, 2, {})
    assert told["calls"]["answered"] == len(csms.calls)
    csms.boot_status = "Pending"
    bad = await invoke(*story)
    assert bad.exit_code == 1
    assert sorted(json.loads(bad.stdout)["failures"]) == ["SIM00001", "SIM00002"]
