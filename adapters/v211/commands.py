"""Commands in OCPI 2.1.1: four of them, answered twice with one word (2.1.1 mod_commands)."""

from collections.abc import Mapping
from typing import Any

from adapters.v211.tokens import Party, token_from_211

Body = Mapping[str, Any]

RESULT = dict.fromkeys(("EVSE_INOPERATIVE", "EVSE_OCCUPIED", "FAILED", "UNKNOWN_RESERVATION"), "REJECTED")
UNKNOWN = ("connector_id", "authorization_reference")  # to the commands that carry a token


def command_response_to_211(answer: Body) -> dict[str, Any]:
    """Of a CommandResponse, or of a CommandResult."""
    return {"result": RESULT.get(answer["result"], answer["result"])}


def command_from_211(body: Body, party: Party) -> dict[str, Any]:
    """As 2.2.1 would have it; `party` is the caller's, whose token it is. What cannot be read is left for whoever reads it."""
    read = dict(body)
    if isinstance(token := body.get("token"), Mapping):
        read = {name: value for name, value in read.items() if name not in UNKNOWN}
        read["token"] = token_from_211(token, party)
    if isinstance(number := body.get("reservation_id"), int):
        read["reservation_id"] = str(number)
    return read
