"""A command is whole, its token is the caller's, and its answer can be sent, before anybody is asked (mod_commands)."""

from typing import Any

from py_ocpi.modules.commands.v_2_2_1.enums import CommandType
from py_ocpi.modules.commands.v_2_2_1.schemas import (
    CancelReservation,
    ReserveNow,
    StartSession,
    StopSession,
    UnlockConnector,
)
from pydantic import BaseModel, ValidationError

from ocpi_bridge.conformance.refusals import invalid_object, wrong_field
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import is_http_url

MODELS: dict[CommandType, type[BaseModel]] = {
    CommandType.start_session: StartSession,
    CommandType.stop_session: StopSession,
    CommandType.unlock_connector: UnlockConnector,
    CommandType.reserve_now: ReserveNow,
    CommandType.cancel_reservation: CancelReservation,
}


def check_command(call: Call) -> None:
    command: Any = read(call.values["command"], call.values["data"])
    if not is_http_url(command.response_url):
        raise wrong_field("response_url", "must be an http or https URL")
    if getattr(command, "connector_id", None) and not command.evse_uid:  # CM-23
        raise wrong_field("evse_uid", "is required with connector_id")
    token = getattr(command, "token", None)
    if token is not None and not call.caller.speaks_for(token.country_code, token.party_id):  # CM-20
        raise wrong_field("token.party_id", "the token is not one of the calling party's")


def read(command: CommandType, data: dict[str, Any]) -> BaseModel:
    try:
        return MODELS[command].parse_obj(data)
    except ValidationError as error:
        raise invalid_object(error) from error
