"""Commands' answers: what a charger made of our command, in the words that a partner waits for."""

from collections.abc import Mapping
from typing import Any

from adapters.datatypes import present, text
from csms.commands import Outcome

RESULT = {
    Outcome.ACCEPTED: "ACCEPTED",  # the charger took the request; that it charges is told by the Session (CM-24)
    Outcome.SCHEDULED: "ACCEPTED",
    Outcome.REBOOT_REQUIRED: "ACCEPTED",
    Outcome.REJECTED: "REJECTED",
    Outcome.NOT_SUPPORTED: "NOT_SUPPORTED",
    Outcome.OCCUPIED: "EVSE_OCCUPIED",
    Outcome.INOPERATIVE: "EVSE_INOPERATIVE",
    Outcome.NOT_FOUND: "FAILED",
    Outcome.VERSION_MISMATCH: "FAILED",
    Outcome.OFFLINE: "EVSE_INOPERATIVE",  # CM-11
    Outcome.TIMEOUT: "TIMEOUT",  # CM-06
    Outcome.FAILED: "FAILED",
}

# A station that refuses to cancel has no such reservation (CM-46).
OF_CANCELLING = RESULT | {Outcome.REJECTED: "UNKNOWN_RESERVATION", Outcome.NOT_FOUND: "UNKNOWN_RESERVATION"}
RESULTS: Mapping[str, Mapping[Outcome, str]] = {"CANCEL_RESERVATION": OF_CANCELLING}

CANCELED_RESERVATION = "CANCELED_RESERVATION"  # by us, after the partner was told that it has it (CM-45)

ACCEPTED = "ACCEPTED"
REJECTED = "REJECTED"
NOT_SUPPORTED = "NOT_SUPPORTED"
UNKNOWN_SESSION = "UNKNOWN_SESSION"


def command_response(result: str, *, timeout_s: int = 0, message: str = "") -> dict[str, Any]:
    """The answer at once. `timeout_s`: the result comes before it ends; 0 where none will come."""
    return present({"result": result, "timeout": timeout_s, "message": _message(message)})


def command_result(outcome: Outcome, *, command: str = "", detail: str = "") -> dict[str, Any]:
    """What is posted to the response_url later. `detail` is the charger's own word, for people."""
    return present({"result": RESULTS.get(command, RESULT)[outcome], "message": _message(detail)})


def canceled_reservation() -> dict[str, Any]:
    return {"result": CANCELED_RESERVATION}


def _message(words: str) -> list[Mapping[str, str]]:
    shown = text(words, 512)
    return [{"language": "en", "text": shown}] if shown else []
