"""Each scenario tells its story to a CSMS and reports what truly happened beside what was said."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from csms.simulator.scenarios import (
    SCENARIOS,
    Plan,
    clock_of_2018,
    mixed_units,
    no_show,
    offline_burst,
    plug_charge_leave,
    register_reset,
    remote_start,
)
from csms.simulator.wire import Fate, Unserved

ENERGY = "Energy.Active.Import.Register"


def energies(csms: Any) -> list[tuple[str, str]]:
    """(value, unit) of the energy in each MeterValues frame."""
    frames = [frame["meterValue"][0]["sampledValue"] for frame in csms.payloads("MeterValues")]
    return [(one["value"], one["unit"]) for frame in frames for one in frame if one["measurand"] == ENERGY]


def test_every_scenario_is_in_the_table_and_explains_itself() -> None:  # P13
    assert set(SCENARIOS) == {
        "plug_charge_leave",
        "offline_burst",
        "clock_of_2018",
        "mixed_units",
        "register_reset",
        "no_show",
        "remote_start",
    }
    assert all(scenario.__doc__ for scenario in SCENARIOS.values())


async def test_plug_charge_leave_is_one_whole_session(csms: Any) -> None:
    result = await plug_charge_leave(csms.profile(), Plan(id_token="CARD", samples=6))
    assert [action for _, action, _ in csms.calls if action != "StatusNotification"] == [
        "BootNotification",
        "Authorize",
        "StartTransaction",
        *6 * ["MeterValues"],
        "StopTransaction",
    ]
    assert csms.statuses(1) == ["Available", "Preparing", "Charging", "Finishing", "Available"]
    start, stop = csms.payloads("StartTransaction")[0], csms.payloads("StopTransaction")[0]
    assert (result.transaction_id, result.authorization) == (stop["transactionId"], "Accepted")
    assert result.energy_wh == Decimal(1100)  # 11 kW for six minutes
    assert stop["meterStop"] - start["meterStart"] == 1100
    assert all(answer.fate is Fate.ANSWERED for answer in result.answers)


async def test_a_refused_card_never_starts(csms: Any) -> None:  # C04
    csms.card_status = "Blocked"
    result = await plug_charge_leave(csms.profile())
    assert (result.authorization, result.transaction_id, result.energy_mwh) == ("Blocked", None, 0)
    assert csms.payloads("StartTransaction") == []


async def test_an_offline_charge_arrives_late_in_order_and_twice(csms: Any) -> None:  # E02, E03, X02, X03
    result = await offline_burst(csms.profile(sample_interval_s=3600), Plan(id_token="CARD", samples=5))
    calls = csms.transaction_calls()
    once = ["StartTransaction", *5 * ["MeterValues"], "StopTransaction"]
    assert [action for _, action, _ in calls] == [action for action in once for _ in (1, 2)]
    assert len({message_id for message_id, _, _ in calls}) == len(calls)
    assert [payload for _, _, payload in calls[::2]] == [payload for _, _, payload in calls[1::2]]
    assert csms.calls[0][1] == "BootNotification"
    started = datetime.fromisoformat(csms.payloads("StartTransaction")[0]["timestamp"])
    stopped = datetime.fromisoformat(csms.payloads("StopTransaction")[0]["timestamp"])
    assert stopped - started == timedelta(hours=5)
    assert abs(datetime.now(UTC) - stopped) < timedelta(seconds=30)
    assert {payload["transactionId"] for _, _, payload in calls[2:]} == {result.transaction_id}
    assert result.energy_mwh == 55_000_000


async def test_a_clock_of_2018_stamps_everything_alike(csms: Any) -> None:  # F04
    result = await clock_of_2018(csms.profile())
    stamps = {frame["timestamp"] for _, _, frame in csms.calls if "timestamp" in frame}
    assert stamps == {"2018-01-01T00:00:00.000Z"}
    assert result.energy_mwh > 0


async def test_units_change_from_message_to_message(csms: Any) -> None:  # E10
    result = await mixed_units(csms.profile(register_start_mwh=100_000_000), Plan(samples=2))
    assert csms.payloads("StartTransaction")[0]["meterStart"] == 100_000
    assert energies(csms) == [("100.183333", "kWh"), ("100.366666", "kWh")]
    assert csms.payloads("StopTransaction")[0]["meterStop"] == 100_366
    assert result.energy_mwh == 366_666


async def test_a_register_falls_to_zero_in_mid_session(csms: Any) -> None:  # E08, E09
    result = await register_reset(csms.profile(register_start_mwh=100_000_000), Plan(samples=4))
    assert len(csms.payloads("BootNotification")) == 2
    assert len(csms.payloads("StartTransaction")) == len(csms.payloads("StopTransaction")) == 1
    assert [float(value) for value, _ in energies(csms)] == [100_183.333, 100_366.666, 183.334, 366.667]
    assert csms.payloads("StopTransaction")[0]["meterStop"] == 366
    assert result.energy_mwh == 733_333  # the truth, which the register forgot


async def test_a_driver_who_never_comes(csms: Any) -> None:  # R03
    playing = asyncio.create_task(no_show(csms.profile(), Plan(patience_s=5)))
    await csms.received("StatusNotification", 3)
    assert await csms.ask("RemoteStartTransaction", {"idTag": "REMOTE", "connectorId": 2}) == {"status": "Accepted"}
    result = await asyncio.wait_for(playing, 5)
    assert csms.payloads("StartTransaction") == []
    assert csms.statuses(2) == ["Available", "Preparing", "Available"]
    assert [command.action for command in result.commands] == ["RemoteStartTransaction"]
    assert result.transaction_id is None


async def test_nobody_sends_a_remote_start(csms: Any) -> None:
    with pytest.raises(Unserved, match="no RemoteStart"):
        await remote_start(csms.profile(), Plan(patience_s=0.05))


async def test_a_remote_start_charges_until_the_remote_stop(csms: Any) -> None:  # R01
    plan = Plan(samples=2, patience_s=5, stop_patience_s=5)
    playing = asyncio.create_task(remote_start(csms.profile(), plan))
    await csms.received("StatusNotification", 3)
    assert await csms.ask("RemoteStartTransaction", {"idTag": "REMOTE"}) == {"status": "Accepted"}
    await csms.received("MeterValues", 2)
    assert await csms.ask("RemoteStopTransaction", {"transactionId": 1}) == {"status": "Accepted"}
    result = await asyncio.wait_for(playing, 5)
    assert csms.payloads("Authorize") == csms.payloads("Authorize")[:1] == [{"idTag": "REMOTE"}]
    assert csms.payloads("StartTransaction")[0]["idTag"] == "REMOTE"
    assert [frame["reason"] for frame in csms.payloads("StopTransaction")] == ["Remote"]
    assert result.transaction_id == 1


async def test_real_time_is_lived_through(csms: Any) -> None:
    began = datetime.now(UTC)
    result = await plug_charge_leave(csms.profile(sample_interval_s=1), Plan(samples=1, real_time=True))
    assert datetime.now(UTC) - began >= timedelta(seconds=1)
    assert 3_000 <= result.energy_mwh < 60_000  # 11 kW: 3.06 Wh in a second


async def test_a_pending_station_raises_the_csms_s_word(csms: Any) -> None:
    csms.boot_status = "Rejected"
    with pytest.raises(Unserved, match="Rejected"):
        await plug_charge_leave(csms.profile())
