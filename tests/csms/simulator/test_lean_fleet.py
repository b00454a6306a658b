"""Lean chargers say what full ones say, keep what they could not deliver, and own up to what was lost."""

import asyncio
import json
import os
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from csms.simulator import load, server_cpu
from csms.simulator.latencies import Latencies
from csms.simulator.lean_charger import Habits
from csms.simulator.lean_line import Address, open_line
from csms.simulator.load import LoadPlan, LoadReport, run_load, spread
from csms.simulator.stages import Stage, Stages
from tests.csms.simulator.test_fleet_and_cli import invoke
from tests.listening import listening

LIMIT_S = 30.0


def plan(csms: Any, **changes: Any) -> LoadPlan:
    habits = Habits(address=Address.of(csms.url), heartbeat_s=0.2, sample_s=0.1, answer_s=LIMIT_S)
    told = {"stations": 4, "duration_s": 0.6, "ramp_s": 0.1, "up_within_s": 15.0, "charging": 0.5, "drain_s": 3.0}
    return LoadPlan(**{"habits": habits} | told | changes)


async def run(plan: LoadPlan) -> LoadReport:
    async with asyncio.timeout(LIMIT_S):
        return await run_load(plan)


async def test_a_fleet_boots_beats_and_charges_by_the_schema(csms: Any) -> None:  # P14
    report = await run(plan(csms))
    assert report.losses == []
    assert sorted(csms.paths) == [f"/ocpp/SIM0000{number}" for number in range(1, 5)]
    assert len(csms.payloads("BootNotification")) == 4
    assert len(csms.payloads("StatusNotification")) == 8  # the charger and its connector
    assert {start["idTag"] for start in csms.payloads("StartTransaction")} == {"SIMCARD00002", "SIMCARD00004"}
    assert len(csms.payloads("StopTransaction")) == 2
    assert len(csms.payloads("Heartbeat")) >= 4
    assert sum(one.acknowledged for one in report.tally.played) == len(csms.payloads("MeterValues")) >= 4
    assert report.told()["calls"]["answered"] == len(csms.calls)
    for played in report.tally.played:
        told = [frame for frame in csms.payloads("MeterValues") if frame["transactionId"] == played.number]
        registers = [int(frame["meterValue"][0]["sampledValue"][0]["value"]) for frame in told]
        step, first = played.step_wh, played.meter_start_wh
        assert registers == list(range(first + step, first + step * len(told) + 1, step))
        assert len(told[0]["meterValue"][0]["sampledValue"]) == 10


async def test_a_line_that_nobody_waits_for_any_more_is_hung_up() -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        hung_up.set()

    async with listening(silent) as port, asyncio.timeout(LIMIT_S):
        address = Address.of(f"ws://127.0.0.1:{port}/ocpp")
        options = {"source": None, "received": lambda _: None, "lost": lambda: None, "within_s": LIMIT_S}
        opening = asyncio.create_task(open_line(address, "CP1", None, **options))  # type: ignore[arg-type]
        await asked.wait()
        opening.cancel()
        await hung_up.wait()
        assert (await asyncio.gather(opening, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_what_was_written_without_a_line_is_delivered_later(csms: Any) -> None:
    report = await run(plan(csms, offline=1.0, duration_s=1.2))
    assert report.losses == []
    assert report.tally.delivered_late > 0
    assert len(csms.paths) == 6  # those that charge came twice
    numbers = [frame["meterStop"] for frame in csms.payloads("StopTransaction")]
    assert sorted(numbers) == sorted(one.meter_start_wh + one.samples * one.step_wh for one in report.tally.played)


async def test_a_storm_cuts_every_line_and_all_come_back(csms: Any) -> None:  # X07
    report = await run(plan(csms, storm_at_s=0.3, storm_share=0.5, duration_s=1.0))
    assert report.losses == []
    assert report.tally.reconnects.count == 2
    assert len(csms.payloads("BootNotification")) == 6


async def test_what_is_told_of_a_stage_was_asked_in_it(csms: Any) -> None:
    report = await run(plan(csms, charging=1.0, storm_at_s=1.0, storm_share=0.5, duration_s=2.5))
    told = report.told()
    assert list(told["stages"]) == ["coming", "charging begins", "steady", "storm", "after the storm", "leaving"]
    asked = {
        stage: {action: row["calls"] for action, row in of_it["answers"].items()}
        for stage, of_it in told["stages"].items()
    }
    assert [stage for stage, calls in asked.items() if "BootNotification" in calls] == ["coming", "storm"]
    assert asked["charging begins"]["StartTransaction"] == 4
    assert [stage for stage, calls in asked.items() if "StopTransaction" in calls] == ["leaving"]
    assert asked["steady"]["MeterValues"] > 0
    for action, row in told["latencies"].items():
        assert row["calls"] == sum(calls.get(action, 0) for calls in asked.values())
    assert [of_it["handshakes"]["calls"] for of_it in told["stages"].values() if of_it["handshakes"]] == [4, 2]
    for of_it in told["stages"].values():
        assert list(of_it["cpu_s"]) == ["load"]


async def test_a_fleet_that_does_not_charge_is_steady_when_all_have_come(csms: Any) -> None:
    report = await run(plan(csms, charging=0.0))
    assert list(report.told()["stages"]) == ["coming", "steady", "leaving"]


async def test_a_fleet_whose_time_is_over_waits_for_those_whom_a_storm_has_cut(csms: Any) -> None:  # P14
    report = await run(plan(csms, storm_at_s=0.1, storm_spread_s=2.0, duration_s=0.3))
    assert report.losses == []
    assert report.tally.reconnects.count == 4
    assert len(csms.payloads("BootNotification")) == 8


async def test_a_message_whose_answer_never_came_is_sent_again_and_told_as_lost(csms: Any) -> None:
    csms.silent["MeterValues"] = 1
    habits = replace(plan(csms).habits, answer_s=0.5)
    report = await run(plan(csms, stations=2, habits=habits, duration_s=1.5))
    assert report.losses == ["1 MeterValues never answered"]
    assert report.tally.dropped == 0
    sent = [json.dumps(frame) for frame in csms.payloads("MeterValues")]
    assert len(sent) == len(set(sent)) + 1


async def test_a_message_that_is_refused_for_good_is_a_loss(csms: Any) -> None:  # X01
    csms.refuse["StopTransaction"] = 3
    report = await run(plan(csms, stations=2))
    assert report.tally.dropped == 1
    assert report.losses == ["3 StopTransaction refused", "1 messages of transactions not acknowledged at the end"]


async def test_who_never_came_up_is_told_with_the_reason(csms: Any) -> None:
    nowhere = replace(plan(csms).habits, address=Address.of("ws://127.0.0.1:1/ocpp"))
    report = await run(plan(csms, habits=nowhere, up_within_s=0.3, duration_s=0.1, drain_s=0.1))
    assert report.losses[0].startswith("4 chargers never came up: ")
    csms.boot_status = "Pending"
    report = await run(plan(csms, up_within_s=0.3, duration_s=0.1, drain_s=0.1))
    assert report.losses[0].startswith("4 chargers never came up: no answer, ")


async def test_a_fleet_of_which_nobody_comes_up_gives_up_soon_and_plays_nothing(csms: Any) -> None:
    seen: list[load.Progress] = []
    nowhere = replace(plan(csms).habits, address=Address.of("ws://127.0.0.1:1/ocpp"))
    life = plan(csms, habits=nowhere, up_within_s=300.0, first_within_s=0.5, duration_s=300.0, storm_at_s=1.0)
    async with asyncio.timeout(LIMIT_S):
        report = await run_load(life, on_progress=seen.append)
    assert [line.partition("(")[0] for line in report.losses] == ["4 chargers never came up: Connect call failed "]
    assert report.tally.played == []
    assert seen[-2].turned_away.startswith("Connect call failed (")


async def test_refused_cards_are_a_loss(csms: Any) -> None:
    csms.card_status = "Invalid"
    assert "2 cards refused" in (await run(plan(csms))).losses


async def test_a_ping_and_a_command_are_answered_and_a_goodbye_too(csms: Any) -> None:
    running = asyncio.create_task(run(plan(csms, stations=1, charging=0.0, duration_s=1.0)))
    await csms.received("Heartbeat")
    await (await csms.socket.ping())
    assert await csms.ask("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}) == {"status": "Accepted"}
    refused = await csms.command("GetDiagnostics", {"location": "ftp://nowhere"})
    assert refused[2] == "NotImplemented"
    await csms.hang_up()
    report = await running
    assert report.losses == []
    assert (len(csms.paths), report.tally.asked.total()) == (2, 2)


async def test_the_command_tells_json_and_exits_1_on_a_loss(csms: Any) -> None:
    short = ("fleet", "--url", csms.url, "--stations", "2", "--duration", "0.5", "--ramp", "0", "--json")
    often = ("--heartbeat", "0.2", "--charging", "1", "--sample-interval", "0.1", "--values", "1")
    good = await invoke(*short, *often)
    assert good.exit_code == 0, good.output
    told = json.loads(good.stdout)
    assert (told["up"], told["transactions"], told["losses"]) == (2, 2, [])
    assert told["latencies"]["MeterValues"]["calls"] == told["samples"] > 0
    shown = await invoke(*short[:-1], *often)
    assert [
        word for word in ("coming, ", "leaving, ", "the whole life", "own loop late") if word not in shown.output
    ] == []
    csms.card_status = "Blocked"
    bad = await invoke(*short, *often)
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["losses"] == ["2 cards refused"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "http://127.0.0.1:1/ocpp"),
        ("--check-database", "sqlite://"),
        ("--charging", "2"),
        ("--values", "11"),
        ("--metrics", "http://127.0.0.1:1/metrics"),
    ],
)
async def test_wrong_usage_of_a_fleet_exits_2(arguments: tuple[str, ...]) -> None:
    assert (await invoke("fleet", "--duration", "1", *arguments)).exit_code == 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.98, 1.0])
def test_a_share_is_spread_evenly(share: float) -> None:
    chosen = [spread(number, share) for number in range(1000)]
    assert sum(chosen) == round(1000 * share)
    assert abs(sum(chosen[:500]) - 500 * share) <= 1


def test_percentiles_of_the_histogram_are_near_the_truth() -> None:
    latencies = Latencies()
    assert latencies.percentile_ms(0.99) == 0.0
    for ms in range(1, 1001):
        latencies.add(ms / 1000)
    for share, truth_ms in ((0.5, 500), (0.99, 990), (1.0, 1000)):
        assert truth_ms <= latencies.percentile_ms(share) <= truth_ms * 1.03


def test_the_whole_life_is_the_sum_of_its_stages() -> None:
    spent_s = iter((1.0, 4.0, 4.0, 6.0, 6.0, 9.5))
    stages = Stages(server_cpu=lambda: next(spent_s))
    for stage, ms in ((Stage.COMING, 5), (Stage.STEADY, 1), (Stage.STORM, 900), (Stage.STEADY, 800)):
        stages.enter(stage)  # no stage comes twice
        stages.now.answers["Heartbeat"].add(ms / 1000)
    stages.now.over()
    told = {stage: of_it.told() for stage, of_it in stages.all.items()}
    assert {stage: of_it["answers"]["Heartbeat"]["calls"] for stage, of_it in told.items()} == {
        Stage.COMING: 1,
        Stage.STEADY: 1,
        Stage.STORM: 2,
    }
    assert [of_it["cpu_s"]["csms"] for of_it in told.values()] == [3.0, 2.0, 3.5]
    assert told[Stage.STEADY]["answers"]["Heartbeat"]["longest_ms"] == 1.0
    assert (stages.latencies()["Heartbeat"].count, stages.latencies()["Heartbeat"].longest_s) == (4, 0.9)
    assert stages.latencies()["Heartbeat"].percentile_ms(0.5) == pytest.approx(5, rel=0.03)


def test_the_processor_time_of_a_process_grows_and_stays_when_it_has_gone() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as process:
        read = server_cpu.of_process(process.pid)
        assert read() >= 0.0
    assert read() == read() >= 0.0
    own = server_cpu.of_process(os.getpid())
    assert own() == pytest.approx(sum(os.times()[:2]), abs=0.1)


def test_ten_thousand_call_from_addresses_with_ports_enough() -> None:
    assert load.addresses(10_000, "127.0.0.1") == ["127.0.1.1", "127.0.1.2"]
    assert load.addresses(1, "127.0.0.1") == ["127.0.1.1"]
    assert load.addresses(10_000, "csms.example") is None
