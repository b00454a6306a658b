"""What an OCPP 1.6 charger is answered: each reply of the core as the payload of a CALLRESULT."""

from datetime import UTC, datetime

import orjson

from csms.events import (
    Ack,
    AuthorizationReply,
    AuthorizationStatus,
    BootReply,
    CertificateReply,
    EndReply,
    HeartbeatReply,
    RegistrationStatus,
    StartReply,
    VendorDataReply,
    VendorDataStatus,
)
from csms.gateway.frames import Json

REGISTRATION = {
    RegistrationStatus.ACCEPTED: "Accepted",
    RegistrationStatus.PENDING: "Pending",
    RegistrationStatus.REJECTED: "Rejected",
}
AUTHORIZATION = {
    AuthorizationStatus.ACCEPTED: "Accepted",
    AuthorizationStatus.BLOCKED: "Blocked",
    AuthorizationStatus.EXPIRED: "Expired",
    AuthorizationStatus.INVALID: "Invalid",
    AuthorizationStatus.CONCURRENT_TX: "ConcurrentTx",
    AuthorizationStatus.NO_CREDIT: "Blocked",
    AuthorizationStatus.NOT_ALLOWED: "Invalid",
}
VENDOR_DATA = {
    VendorDataStatus.ACCEPTED: "Accepted",
    VendorDataStatus.REJECTED: "Rejected",
    VendorDataStatus.UNKNOWN_MESSAGE: "UnknownMessageId",
    VendorDataStatus.UNKNOWN_VENDOR: "UnknownVendorId",
}

LONGEST_ID_TOKEN = 20


def boot_conf(reply: BootReply) -> Json:
    return {
        "status": REGISTRATION[reply.status],
        "currentTime": time_text(reply.current_time),
        "interval": reply.interval_s,
    }


def heartbeat_conf(reply: HeartbeatReply) -> Json:
    return {"currentTime": time_text(reply.current_time)}


def authorize_conf(reply: AuthorizationReply) -> Json:
    return {"idTagInfo": id_tag_info(reply)}


def start_conf(reply: StartReply) -> Json:
    return {"transactionId": reply.transaction_id, "idTagInfo": id_tag_info(reply.authorization)}


def stop_conf(reply: EndReply) -> Json:
    return {} if reply.authorization is None else {"idTagInfo": id_tag_info(reply.authorization)}


def data_transfer_conf(reply: VendorDataReply) -> Json:
    status = {"status": VENDOR_DATA[reply.status]}
    return status if reply.data is None else status | {"data": reply.data}


def sign_certificate_conf(reply: CertificateReply) -> Json:
    return {"status": "Accepted" if reply.accepted else "Rejected"}


def empty_conf(_reply: Ack) -> Json:
    return {}


def id_tag_info(reply: AuthorizationReply) -> dict[str, Json]:
    info: dict[str, Json] = {"status": AUTHORIZATION[reply.status]}
    if reply.expires_at is not None:
        info["expiryDate"] = time_text(reply.expires_at)
    if reply.group_id is not None and len(reply.group_id) <= LONGEST_ID_TOKEN:
        info["parentIdTag"] = reply.group_id
    return info


def time_text(moment: datetime) -> str:
    text = orjson.dumps(moment.astimezone(UTC)).decode()  # in a sixth of the time that isoformat takes
    return f"{text[1:24]}Z" if moment.microsecond else f"{text[1:20]}.000Z"
