"""OCPP 1.6 and its security extension have 39 messages: each is handled, is on the page, and is tested over a socket (C13)."""

import re
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from ocpp.charge_point import remove_nones, serialize_as_dict, snake_to_camel_case

from csms.commands import AnyCommand, Outcome, answer_to
from csms.database import Database
from csms.events import AnyEvent
from csms.gateway.frames import Call
from csms.gateway.ocpp16.inbound import INBOUND
from csms.gateway.ocpp16.outbound import OUTBOUND
from csms.gateway.ocpp16.schemas import Schema
from csms.gateway.ocpp16.translator import Ocpp16
from csms.simulator.answers import ANSWERS as SIMULATED
from tests.csms.core_story import told
from tests.csms.gateway.test_gateway_every_message import ASKED, SAID

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ocpp16-messages.md"

FROM_CHARGER = {
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
}
TO_CHARGER = {
    "CancelReservation",
    "ChangeAvailability",
    "ChangeConfiguration",
    "ClearCache",
    "ClearChargingProfile",
    "DataTransfer",
    "GetCompositeSchedule",
    "GetConfiguration",
    "GetDiagnostics",
    "GetLocalListVersion",
    "RemoteStartTransaction",
    "RemoteStopTransaction",
    "ReserveNow",
    "Reset",
    "SendLocalList",
    "SetChargingProfile",
    "TriggerMessage",
    "UnlockConnector",
    "UpdateFirmware",
}
# Improved security for OCPP 1.6-J
SECURITY_FROM_CHARGER = {
    "LogStatusNotification",
    "SecurityEventNotification",
    "SignCertificate",
    "SignedFirmwareStatusNotification",
}
SECURITY_TO_CHARGER = {
    "CertificateSigned",
    "DeleteCertificate",
    "ExtendedTriggerMessage",
    "GetInstalledCertificateIds",
    "GetLog",
    "InstallCertificate",
    "SignedUpdateFirmware",
}
INWARD = FROM_CHARGER | SECURITY_FROM_CHARGER
OUTWARD = TO_CHARGER | SECURITY_TO_CHARGER
COMMANDS = {row.action: command for command, row in OUTBOUND.items()}

ROW = re.compile(r"^\| (?P<action>\w+) \| (?P<way>in|out) \| `(?P<word>\w+)` \| `(?P<test>[\w/]+\.py::\w+)` \|", re.M)
TESTS = {
    "in": "csms/gateway/test_gateway_every_message.py::test_every_message_of_a_charger_is_reported_and_answered",
    "out": "csms/gateway/test_gateway_every_message.py::"
    "test_every_message_to_a_charger_is_understood_and_its_answer_read",
}


def page() -> dict[tuple[str, str], re.Match[str]]:
    return {(row["action"], row["way"]): row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_the_lists_are_those_of_the_spec_and_of_the_package() -> None:  # C13
    """28 pairs, DataTransfer in both directions, and 11 of the security extension; no schema of the package is left over."""
    assert (len(FROM_CHARGER), len(TO_CHARGER), len(FROM_CHARGER | TO_CHARGER)) == (10, 19, 28)
    assert len(SECURITY_FROM_CHARGER | SECURITY_TO_CHARGER) == 11
    files = resources.files("ocpp").joinpath("v16", "schemas").iterdir()
    names = {file.name.removesuffix(".json") for file in files if file.name.endswith(".json")}
    assert names == INWARD | OUTWARD | {f"{action}Response" for action in INWARD | OUTWARD}


def test_every_message_has_its_row_and_no_row_is_of_nothing() -> None:  # C13
    assert set(INBOUND) == INWARD
    assert set(COMMANDS) == OUTWARD
    assert len(COMMANDS) == len(OUTBOUND)
    assert set(OUTBOUND) == set(get_args(AnyCommand))


def test_every_event_comes_from_a_message_that_the_wire_tests_send() -> None:  # C13
    assert {kind for _, kind, *_ in SAID.values()} == set(get_args(AnyEvent))
    assert set(SAID) == INWARD


async def test_the_core_answers_every_message_as_its_schema_wants(database: Database) -> None:  # C13
    """The messages of the wire tests in their order: what the core replies is a CALLRESULT that a charger can read."""
    ocpp16 = Ocpp16()
    async with told(database) as story:
        story.tariff()
        story.site("CP1")
        story.card("04A1")
        for action, (request, kind, *_) in SAID.items():
            payload = snake_to_camel_case(remove_nones(serialize_as_dict(request)))
            event = ocpp16.read(Call(id="1", action=action, payload=payload), "CP1", story.now)
            assert type(event) is kind
            answer = ocpp16.reply(action, await story.csms.report(event))
            assert Schema(f"{action}Response").violations(answer) == []


@pytest.mark.parametrize("action", sorted(OUTWARD))
def test_every_command_is_sent_in_the_wire_tests(action: str) -> None:  # C13
    assert {type(command) for command, *_ in ASKED[action]} == {COMMANDS[action]}
    assert {type(answer) for *_, answer in ASKED[action]} == {_answer_kind(COMMANDS[action])}


def test_the_simulated_charger_knows_every_message_it_may_be_asked() -> None:
    assert set(SIMULATED) == OUTWARD


def test_an_answer_without_the_charger_is_of_the_kind_that_the_command_has() -> None:
    asked = [command for action in OUTWARD for command, *_ in ASKED[action]]
    kinds = {type(command): type(answer_to(command, Outcome.OFFLINE, "")) for command in asked}
    assert kinds == {command: _answer_kind(command) for command in OUTBOUND}
    assert len(set(kinds.values())) > 1


def test_the_page_names_every_message_with_its_event_or_command_and_its_test() -> None:  # C13
    rows = page()
    expected = {(action, "in"): SAID[action][1].__name__ for action in INWARD}
    expected |= {(action, "out"): COMMANDS[action].__name__ for action in OUTWARD}
    assert {key: row["word"] for key, row in rows.items()} == expected
    assert {way: {row["test"] for (_, w), row in rows.items() if w == way} for way in TESTS} == {
        way: {test} for way, test in TESTS.items()
    }
    for named in TESTS.values():
        path, _, name = named.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8")


def _answer_kind(command: Any) -> Any:
    """The `A` of `class SomeCommand(Command[A])`."""
    (base,) = command.__orig_bases__
    return get_args(base)[0]
