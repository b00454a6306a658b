"""Reservations and the local list: which cards OCPP 1.6 makes a charger remember."""

from csms.commands import (
    CancelReservation,
    GetLocalListVersion,
    ListedToken,
    ListVersionAnswer,
    Outcome,
    ReserveEvse,
    SendLocalList,
)
from csms.gateway.frames import Json
from csms.gateway.ocpp16.answers import id_tag_info, time_text
from csms.gateway.ocpp16.salvage import whole


def reserve_evse(command: ReserveEvse) -> dict[str, Json]:
    payload: dict[str, Json] = {
        "connectorId": command.evse,
        "expiryDate": time_text(command.expires_at),
        "idTag": command.id_token,
        "reservationId": command.reservation_id,
    }
    return payload if command.group_id is None else payload | {"parentIdTag": command.group_id}


def cancel_reservation(command: CancelReservation) -> dict[str, Json]:
    return {"reservationId": command.reservation_id}


def get_local_list_version(_command: GetLocalListVersion) -> dict[str, Json]:
    return {}


def send_local_list(command: SendLocalList) -> dict[str, Json]:
    payload: dict[str, Json] = {
        "listVersion": command.version,
        "updateType": "Full" if command.full else "Differential",
    }
    if command.entries:
        payload["localAuthorizationList"] = [_entry(entry, full=command.full) for entry in command.entries]
    return payload


def local_list_version(payload: Json) -> ListVersionAnswer:
    version = whole(payload.get("listVersion")) if isinstance(payload, dict) else None
    if version is None:
        return ListVersionAnswer(outcome=Outcome.FAILED, detail="answer without a version")
    return ListVersionAnswer(outcome=Outcome.ACCEPTED, detail=str(version), version=version)


def _entry(entry: ListedToken, *, full: bool) -> dict[str, Json]:
    if entry.authorization is None:
        if full:
            raise ValueError("a full list with a card to be taken off it")
        return {"idTag": entry.id_token}
    return {"idTag": entry.id_token, "idTagInfo": id_tag_info(entry.authorization)}
