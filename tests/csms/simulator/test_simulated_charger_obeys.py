"""What the simulated charger answers to a CSMS's calls, and what it does then; answers' schemas are checked too."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from csms.simulator.charge_point import ChargePoint

NOT_IMPLEMENTED = [4, "NotImplemented"]


@pytest.fixture
async def charger(csms: Any) -> AsyncIterator[ChargePoint]:
    async with ChargePoint(csms.profile(connectors=2)) as charge_point:
        await charge_point.start()
        yield charge_point


@pytest.mark.parametrize("action", ["MakeCoffee", "CostUpdated"])
async def test_an_unknown_action_is_not_implemented(csms: Any, charger: ChargePoint, action: str) -> None:
    kind, _, code, *_ = await csms.command(action, {})
    assert [kind, code] == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    ("action", "payload"),
    [("RemoteStopTransaction", {}), ("Reset", {"type": "Gentle"}), ("UnlockConnector", {"connectorId": "1"})],
)
async def test_a_payload_that_breaks_its_schema_is_a_call_error(
    csms: Any, charger: ChargePoint, action: str, payload: Any
) -> None:
    kind, _, code, *_ = await csms.command(action, payload)
    assert (kind, code) == (4, "FormationViolation")


async def test_frames_nobody_asked_for_are_kept_and_harm_nothing(csms: Any, charger: ChargePoint) -> None:
    for frame in ("{}", "nonsense", '[3,"never-asked",{}]', "[]", '[2,"1"]'):
        await csms.socket.send(frame)
    assert await csms.ask("GetConfiguration", {"key": ["NumberOfConnectors"]})
    assert len(charger.strays) == 5


async def test_remote_start_is_accepted_where_it_is_free(csms: Any, charger: ChargePoint) -> None:  # R01
    await charger.start_transaction(1, "CARD")
    assert await csms.ask("RemoteStartTransaction", {"idTag": "X", "connectorId": 1}) == {"status": "Rejected"}
    assert await csms.ask("RemoteStartTransaction", {"idTag": "X", "connectorId": 9}) == {"status": "Rejected"}
    assert await csms.ask("RemoteStartTransaction", {"idTag": "X"}) == {"status": "Accepted"}
    asked = await asyncio.wait_for(charger.remote_starts.get(), 5)
    assert (asked.connector, asked.id_token) == (2, "X")


async def test_remote_stop_ends_the_transaction_that_it_names(csms: Any, charger: ChargePoint) -> None:
    transaction = await charger.start_transaction(1, "CARD")
    assert await csms.ask("RemoteStopTransaction", {"transactionId": 4711}) == {"status": "Rejected"}
    named = {"transactionId": transaction.transaction_id}
    assert await csms.ask("RemoteStopTransaction", named) == {"status": "Accepted"}
    stop = await csms.received("StopTransaction")
    assert (stop["reason"], stop["transactionId"]) == ("Remote", transaction.transaction_id)


@pytest.mark.parametrize(("kind", "reason"), [("Soft", "SoftReset"), ("Hard", "HardReset")])
async def test_reset_ends_what_runs_and_boots_again(csms: Any, charger: ChargePoint, kind: str, reason: str) -> None:
    await charger.start_transaction(1, "CARD")
    assert await csms.ask("Reset", {"type": kind}) == {"status": "Accepted"}
    await csms.received("BootNotification", 2)
    assert [frame["reason"] for frame in csms.payloads("StopTransaction")] == [reason]
    assert len(csms.paths) == 2


async def test_unlock_ends_the_transaction_on_that_connector(csms: Any, charger: ChargePoint) -> None:
    assert await csms.ask("UnlockConnector", {"connectorId": 3}) == {"status": "NotSupported"}
    assert await csms.ask("UnlockConnector", {"connectorId": 2}) == {"status": "Unlocked"}
    await charger.start_transaction(1, "CARD")
    assert await csms.ask("UnlockConnector", {"connectorId": 1}) == {"status": "Unlocked"}
    assert (await csms.received("StopTransaction"))["reason"] == "UnlockCommand"


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("HeartbeatInterval", "60", "Accepted"),
        ("HeartbeatInterval", "often", "Rejected"),
        ("HeartbeatInterval", "", "Rejected"),
        ("NumberOfConnectors", "9", "Rejected"),
        ("WebSocketPingInterval", "20", "RebootRequired"),
        ("StopTxnSampledData", "Temperature", "Rejected"),
        ("ColourOfTheLid", "red", "NotSupported"),
    ],
)
async def test_change_configuration(csms: Any, charger: ChargePoint, key: str, value: str, status: str) -> None:  # C09
    assert await csms.ask("ChangeConfiguration", {"key": key, "value": value}) == {"status": status}


async def test_get_configuration_names_what_it_does_not_know_and_hides_its_key(csms: Any, charger: ChargePoint) -> None:
    answer = await csms.ask("GetConfiguration", {"key": ["HeartbeatInterval", "Colour", "AuthorizationKey"]})
    assert answer == {
        "configurationKey": [
            {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
            {"key": "AuthorizationKey", "readonly": False},
        ],
        "unknownKey": ["Colour"],
    }
    assert len((await csms.ask("GetConfiguration", {}))["configurationKey"]) == 28


async def test_a_new_authorization_key_is_used_by_the_next_connection(csms: Any, charger: ChargePoint) -> None:  # X15
    change = {"key": "AuthorizationKey", "value": "00ff" * 10}
    assert await csms.ask("ChangeConfiguration", change) == {"status": "Accepted"}
    await charger.disconnect()
    await charger.connect()
    await charger.heartbeat()
    assert csms.authorizations[0] is None
    assert csms.authorizations[1].startswith("Basic ")


async def test_the_sampled_data_of_the_stop_is_configured(csms: Any, charger: ChargePoint) -> None:  # T5
    change = {"key": "StopTxnSampledData", "value": "Energy.Active.Import.Register"}
    assert await csms.ask("ChangeConfiguration", change) == {"status": "Accepted"}
    await charger.start_transaction(1, "CARD")
    await charger.clock.advance(60)
    await charger.stop_transaction(1)
    data = csms.payloads("StopTransaction")[0]["transactionData"]
    assert [(one["sampledValue"][0]["context"], one["sampledValue"][0]["value"]) for one in data] == [
        ("Transaction.Begin", "12345.678"),
        ("Transaction.End", "12529.011"),
    ]


async def test_availability_waits_for_the_running_transaction(csms: Any, charger: ChargePoint) -> None:
    await charger.start_transaction(1, "CARD")
    inoperative = {"connectorId": 0, "type": "Inoperative"}
    assert await csms.ask("ChangeAvailability", {"connectorId": 7, "type": "Operative"}) == {"status": "Rejected"}
    assert await csms.ask("ChangeAvailability", inoperative) == {"status": "Scheduled"}
    await csms.received("StatusNotification", 6)  # three at boot, Charging, then 0 and 2
    assert (csms.statuses(0)[-1], csms.statuses(1)[-1], csms.statuses(2)[-1]) == (
        "Unavailable",
        "Charging",
        "Unavailable",
    )
    await charger.stop_transaction(1)
    assert csms.statuses(1)[-1] == "Unavailable"
    assert await csms.ask("RemoteStartTransaction", {"idTag": "X"}) == {"status": "Rejected"}
    assert await csms.ask("ChangeAvailability", {"connectorId": 1, "type": "Operative"}) == {"status": "Accepted"}


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("BootNotification", "BootNotification"),
        ("Heartbeat", "Heartbeat"),
        ("StatusNotification", "StatusNotification"),
        ("MeterValues", "MeterValues"),
        ("FirmwareStatusNotification", "FirmwareStatusNotification"),
        ("DiagnosticsStatusNotification", "DiagnosticsStatusNotification"),
    ],
)
async def test_trigger_sends_the_message_after_the_answer(
    csms: Any, charger: ChargePoint, message: str, action: str
) -> None:
    before = len(csms.payloads(action))
    triggered = {"requestedMessage": message, "connectorId": 1}
    assert await csms.ask("TriggerMessage", triggered) == {"status": "Accepted"}
    await csms.received(action, before + 1)
    assert await csms.ask("TriggerMessage", triggered | {"connectorId": 9}) == {"status": "Rejected"}


async def test_a_call_is_answered_while_the_charger_s_own_waits(csms: Any) -> None:  # X08
    csms.silent["Authorize"] = 1
    async with ChargePoint(csms.profile(answer_timeout_s=5.0, answer_delay_s=0.01)) as charge_point:
        await charge_point.start()
        tapping = asyncio.create_task(charge_point.authorize("CARD"))
        await csms.received("Authorize")
        assert await csms.ask("UnlockConnector", {"connectorId": 1}) == {"status": "Unlocked"}
        assert not tapping.done()
        message_id = csms.calls[-1][0]
        await csms.socket.send(json.dumps([3, message_id, {"idTagInfo": {"status": "Accepted"}}]))
        assert await asyncio.wait_for(tapping, 5) == {"idTagInfo": {"status": "Accepted"}}
    assert [command.action for command in charge_point.commands] == ["UnlockConnector"]
