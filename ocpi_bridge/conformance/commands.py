"""A command is whole, its token is the caller's, and its answer can be sent, before anybody is asked (mod_commands)."""

from collections.abc import Mapping
from typing import Any

from py_ocpi.modules.commands.v_2_1_1 import schemas as v211_schemas
from py_ocpi.modules.commands.v_2_2_1.schemas import (
    CancelReservation,
    ReserveNow,
    StartSession,
    StopSession,
    UnlockConnector,
)
from py_ocpi.modules.versions.enums import VersionNumber
from pydantic import BaseModel, ValidationError

from adapters import v211
from crud.scope import acts_for
from ocpi_bridge.conformance.refusals import invalid_object, wrong_field
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import is_http_url

MODELS: Mapping[VersionNumber, Mapping[str, type[BaseModel]]] = {
    VersionNumber.v_2_2_1: {
        "START_SESSION": StartSession,
        "STOP_SESSION": StopSession,
        "UNLOCK_CONNECTOR": UnlockConnector,
        "RESERVE_NOW": ReserveNow,
        "CANCEL_RESERVATION": CancelReservation,
    },
    VersionNumber.v_2_1_1: {
        "START_SESSION": v211_schemas.StartSession,
        "STOP_SESSION": v211_schemas.StopSession,
        "UNLOCK_CONNECTOR": v211_schemas.UnlockConnector,
        "RESERVE_NOW": v211_schemas.ReserveNow,
    },
}


def check_command(call: Call) -> None:
    command: Any = read(MODELS[call.version][call.values["command"].value], call.values["data"])
    if not is_http_url(command.response_url):
        raise wrong_field("response_url", "must be an http or https URL")
    if getattr(command, "connector_id", None) and not command.evse_uid:  # CM-23
        raise wrong_field("evse_uid", "is required with connector_id")
    token = getattr(command, "token", None)
    # In 2.1.1 a token names no party: it is the caller's.
    if call.version != v211.VERSION and token is not None and not acts_for(token.country_code, token.party_id):  # CM-20
        raise wrong_field("token.party_id", "the token is not one of the calling party's")


def read(model: type[BaseModel], data: dict[str, Any]) -> BaseModel:
    try:
        return model.parse_obj(data)
    except ValidationError as error:
        raise invalid_object(error) from error
