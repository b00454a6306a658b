"""A charger that means harm, on a real socket: what it says harms nothing but itself."""

import random
import string
from typing import Any

import pytest

from csms import configuration
from csms.database import Database
from csms.models import ActualSetting, Alert, RemoteRequest, Transaction
from tests.csms.core_story import NOON
from tests.csms.gateway.gateway_rig import until
from tests.csms.gateway_and_core import charger, live

NUMBERS = ["2147483648", "1000000000000000000", "9223372036854775808", "18446744073709551615", "1e20", "1e300", "-1"]


@pytest.mark.parametrize("number", [*NUMBERS, "1" * 500])
async def test_no_number_of_a_reservation_refuses_a_start(database: Database, number: str) -> None:  # E10
    async with live(database) as story:
        story.site("CP1")
        story.card()
        async with charger(story) as evil:
            at = f"{NOON:%Y-%m-%dT%H:%M:%SZ}"
            payload = (
                f'{{"connectorId":1,"idTag":"04A1B2C3D4","meterStart":0,"timestamp":"{at}","reservationId":{number}}}'
            )
            answer = await evil.calls("StartTransaction", payload)
            assert answer[:2] == [3, "1"]
            assert answer[2]["idTagInfo"]["status"] == "Accepted"
        assert len(story.rows(Transaction)) == 1


@pytest.mark.parametrize("number", NUMBERS)
async def test_no_number_of_a_transaction_refuses_what_is_said_of_it(database: Database, number: str) -> None:
    at = f"{NOON:%Y-%m-%dT%H:%M:%SZ}"
    async with live(database) as story:
        story.site("CP1")
        async with charger(story) as evil:
            for action, payload in {
                "StopTransaction": f'{{"transactionId":{number},"meterStop":5,"timestamp":"{at}"}}',
                "MeterValues": f'{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":"{at}",'
                '"sampledValue":[{"value":"1"}]}]}',
                "LogStatusNotification": f'{{"status":"Uploading","requestId":{number}}}',
                "SignedFirmwareStatusNotification": f'{{"status":"Downloading","requestId":{number}}}',
                "SecurityEventNotification": f'{{"type":"{number}","timestamp":"0001-01-01T00:00:00Z"}}',
                "DataTransfer": '{"vendorId":"org.openchargealliance.costmsg","messageId":"ConnectorUnplugged","data":"'
                + "[" * 100_000
                + '"}',
            }.items():
                answer = await evil.calls(action, payload)
                assert answer[0] == 3, (action, answer)


LONG = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=6000))


async def test_no_length_of_a_text_refuses_what_is_said(database: Database) -> None:
    """Every column that an index holds is bounded before it is written."""
    at = f"{NOON:%Y-%m-%dT%H:%M:%SZ}"
    sampled = [{"value": LONG, "unit": LONG, "measurand": LONG, "context": LONG, "phase": LONG, "location": LONG}]
    meter = [{"timestamp": LONG, "sampledValue": sampled}]
    stop = {
        "transactionId": 1,
        "meterStop": 5,
        "timestamp": at,
        "idTag": LONG,
        "reason": LONG,
        "transactionData": meter,
    }
    said: dict[str, dict[str, Any]] = {
        "Authorize": {"idTag": LONG},
        "StartTransaction": {"connectorId": 1, "idTag": LONG, "meterStart": 0, "timestamp": at},
        "MeterValues": {"connectorId": 1, "transactionId": 1, "meterValue": meter},
        "StopTransaction": stop,
        "StatusNotification": {
            "connectorId": 1,
            "errorCode": LONG,
            "status": "Faulted",
            "info": LONG,
            "vendorId": LONG,
            "vendorErrorCode": LONG,
            "timestamp": LONG,
        },
        "DataTransfer": {"vendorId": LONG, "messageId": LONG, "data": LONG},
        "SecurityEventNotification": {"type": LONG, "timestamp": at, "techInfo": LONG},
        "FirmwareStatusNotification": {"status": LONG},
        "DiagnosticsStatusNotification": {"status": LONG},
        "LogStatusNotification": {"status": LONG, "requestId": 1},
        "SignedFirmwareStatusNotification": {"status": LONG, "requestId": 1},
        "SignCertificate": {"csr": LONG},
        "BootNotification": dict.fromkeys(
            (
                *("chargePointVendor", "chargePointModel", "chargePointSerialNumber", "chargeBoxSerialNumber"),
                *("firmwareVersion", "iccid", "imsi", "meterType", "meterSerialNumber"),
            ),
            LONG,
        ),
    }
    async with live(database) as story:
        story.site("CP1")
        async with charger(story) as evil:
            for action, payload in said.items():
                answer = await evil.calls(action, payload)
                assert answer[0] == 3, (action, answer)
        assert len(story.transactions()) == 1


async def test_a_setting_with_an_endless_name_hides_no_other(database: Database) -> None:  # C09
    async with live(database) as story:
        story.site("CP1")
        async with charger(story) as evil:
            with database.write() as connection:
                [asked] = configuration.read(connection, "CP1", requested_by="cli:test", now=NOON)
            keys = [LONG, "HeartbeatInterval", "", "\u0000", LONG[::-1]]
            rows = [{"key": key, "readonly": False, "value": LONG} for key in keys]
            await evil.answers({"configurationKey": rows, "unknownKey": [LONG]})
            await until(lambda: story.rows(RemoteRequest, RemoteRequest.id == asked)[0].state != "sent")
            assert (await evil.calls("Heartbeat", {}))[0] == 3
        assert "HeartbeatInterval" in {row.key for row in story.rows(ActualSetting)}
        assert [alert.kind for alert in story.rows(Alert)] == []
