"""The charging sessions of the certification of a central system, as a charger says them on a socket."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from csms.database import Database
from csms.lifecycle import State
from tests.csms.core_story import NOON
from tests.csms.gateway_and_core import charger, live

CARD, INVALID, EXPIRED, BLOCKED = "04A1B2C3D4", "NOBODY", "EXPIRED", "BLOCKED"

Said = tuple[str, dict[str, Any], str | None]  # action, payload, the status that must be answered; None for none


def card(id_tag: str, answered: str = "Accepted") -> Said:
    return "Authorize", {"idTag": id_tag}, answered


def status(word: str, error: str = "NoError") -> Said:
    return "StatusNotification", {"connectorId": 1, "status": word, "errorCode": error}, None


def start(id_tag: str = CARD, answered: str = "Accepted", *, at: datetime = NOON) -> Said:
    return "StartTransaction", {"connectorId": 1, "idTag": id_tag, "meterStart": 0, "timestamp": wire(at)}, answered


def stop(reason: str, *, at: datetime = NOON, **more: Any) -> Said:
    answered = "Accepted" if "idTag" in more else None
    return "StopTransaction", {"meterStop": 1000, "timestamp": wire(at), "reason": reason, **more}, answered


def wire(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


BOOT: Said = ("BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Raw"}, "Accepted")
AWAY = NOON - timedelta(minutes=5)

SESSIONS: dict[str, Sequence[Said]] = {
    "TC_001_CSMS": [BOOT, status("Available")],
    "TC_003_CSMS": [
        status("Preparing"),
        card(CARD),
        start(),
        status("Charging"),
        card(CARD),
        stop("Local", idTag=CARD),
        status("Finishing"),
        status("Available"),
    ],
    "TC_004_1_CSMS": [card(CARD), status("Preparing"), start(), status("Charging"), stop("Local", idTag=CARD)],
    "TC_004_2_CSMS": [card(CARD), status("Preparing"), status("Available")],
    "TC_005_1_CSMS": [card(CARD), start(), status("SuspendedEV"), stop("EVDisconnected"), status("Available")],
    "TC_007_CSMS": [status("Preparing"), start(), status("Charging"), stop("Local", idTag=CARD)],
    "TC_023_1_CSMS": [status("Preparing"), card(INVALID, "Invalid")],
    "TC_023_2_CSMS": [status("Preparing"), card(EXPIRED, "Expired")],
    "TC_023_3_CSMS": [status("Preparing"), card(BLOCKED, "Blocked")],
    "TC_024_CSMS": [card(CARD), status("Preparing"), status("Faulted", "ConnectorLockFailure")],
    "TC_032_1_CSMS": [card(CARD), start(), status("Charging"), BOOT, stop("PowerLoss"), status("Available")],
    "TC_037_1_CSMS": [status("Charging"), start(at=AWAY), stop("Local", idTag=CARD)],
    "TC_037_3_CSMS": [status("Charging"), start(INVALID, "Invalid", at=AWAY), stop("DeAuthorized")],
    "TC_039_CSMS": [start(at=AWAY), stop("Local", idTag=CARD, at=AWAY + timedelta(minutes=1)), status("Available")],
}
NO_TRANSACTION = ("TC_001_CSMS", "TC_004_2_CSMS", "TC_023_1_CSMS", "TC_023_2_CSMS", "TC_023_3_CSMS", "TC_024_CSMS")


@pytest.mark.parametrize("case", SESSIONS)
async def test_a_session_is_answered_as_the_certification_wants(database: Database, case: str) -> None:  # H09
    async with live(database) as story:
        story.site("CP1")
        story.card()
        story.card(EXPIRED, expires_at=NOON - timedelta(days=1))
        story.card(BLOCKED, valid=False)
        number = None
        async with charger(story) as one:
            for action, payload, wanted in SESSIONS[case]:
                told = {"transactionId": number} if action == "StopTransaction" else {}
                kind, _, answer = await one.calls(action, payload | told)
                assert kind == 3, (action, answer)
                assert answer.get("idTagInfo", answer).get("status") == wanted
                number = answer.get("transactionId", number)
        states = [row.state for row in story.transactions()]
        assert states == ([] if case in NO_TRANSACTION else [State.ENDED])
