import pytest

from adapters import Adapter
from adapters.commands import (
    ACCEPTED,
    NOT_SUPPORTED,
    REJECTED,
    RESULT,
    UNKNOWN_SESSION,
    command_response,
    command_result,
)
from csms.commands import Outcome
from tests.adapters.field_tables import problems, tables


def test_every_outcome_has_a_result_of_the_specification():  # CM-05
    assert RESULT.keys() == set(Outcome)
    assert set(RESULT.values()) <= set(tables()["enums"]["CommandResultType"]["values"])
    assert RESULT[Outcome.TIMEOUT] == "TIMEOUT"  # CM-06
    assert RESULT[Outcome.OFFLINE] == "EVSE_INOPERATIVE"  # CM-11


@pytest.mark.parametrize("outcome", Outcome)
def test_results_are_as_the_field_tables_say(outcome):
    assert problems(command_result(outcome), "CommandResult") == []
    assert problems(command_result(outcome, detail="InternalError: " + "x" * 600), "CommandResult") == []


@pytest.mark.parametrize("result", [ACCEPTED, REJECTED, NOT_SUPPORTED, UNKNOWN_SESSION])
def test_responses_are_as_the_field_tables_say(result):  # CM-02, CM-03
    body = command_response(result, timeout_s=40, message="the station is offline")

    assert problems(Adapter().command_response_adapter(body).dict(), "CommandResponse") == []
    assert "message" not in command_response(result)
