"""Firmware, diagnostics and logs: where OCPP 1.6 and its security extension have a charger fetch and put files."""

from datetime import datetime

import msgspec

from csms.commands import (
    Answer,
    GetDiagnostics,
    GetLog,
    LogKind,
    Outcome,
    UpdateFirmware,
    UpdateFirmwareSigned,
    UploadAnswer,
)
from csms.gateway.frames import Json
from csms.gateway.ocpp16.answers import time_text
from csms.gateway.ocpp16.outcomes import LOG_PROMISED, status_of
from csms.gateway.ocpp16.salvage import text

LOG = {LogKind.DIAGNOSTICS: "DiagnosticsLog", LogKind.SECURITY: "SecurityLog"}


def update_firmware(command: UpdateFirmware) -> dict[str, Json]:
    return {"location": command.url, "retrieveDate": time_text(command.retrieve_at)} | _retries(command)


def update_firmware_signed(command: UpdateFirmwareSigned) -> dict[str, Json]:
    firmware: dict[str, Json] = {
        "location": command.url,
        "retrieveDateTime": time_text(command.retrieve_at),
        "signingCertificate": command.certificate,
        "signature": command.signature,
    } | _moment("installDateTime", command.install_at)
    return {"requestId": command.request_id, "firmware": firmware} | _retries(command)


def get_diagnostics(command: GetDiagnostics) -> dict[str, Json]:
    window = _moment("startTime", command.since) | _moment("stopTime", command.until)
    return {"location": command.url} | window | _retries(command)


def get_log(command: GetLog) -> dict[str, Json]:
    window = _moment("oldestTimestamp", command.since) | _moment("latestTimestamp", command.until)
    log: dict[str, Json] = {"remoteLocation": command.url} | window
    return {"logType": LOG[command.kind], "requestId": command.request_id, "log": log} | _retries(command)


def firmware_promised(payload: Json) -> Answer:
    """OCPP 1.6 section 5.24: the answer is empty and says only that the request arrived."""
    if isinstance(payload, dict):
        return Answer(outcome=Outcome.ACCEPTED)
    return Answer(outcome=Outcome.FAILED, detail="answer is no object")


def diagnostics_promised(payload: Json) -> UploadAnswer:
    """OCPP 1.6 section 5.9: no file name means that there is nothing to upload, or that the station did not say."""
    if not isinstance(payload, dict):
        return UploadAnswer(outcome=Outcome.FAILED, detail="answer is no object")
    return UploadAnswer(outcome=Outcome.ACCEPTED, filename=_filename(payload.get("fileName")))


def log_promised(payload: Json) -> UploadAnswer:
    answer = status_of(payload, LOG_PROMISED, UploadAnswer)
    if answer.outcome is not Outcome.ACCEPTED:
        return answer
    return msgspec.structs.replace(answer, filename=_filename(payload.get("filename")))


def _retries(command: UpdateFirmware | UpdateFirmwareSigned | GetDiagnostics | GetLog) -> dict[str, Json]:
    payload: dict[str, Json] = {}
    if command.retries is not None:
        payload["retries"] = command.retries
    if command.retry_interval_s is not None:
        payload["retryInterval"] = command.retry_interval_s
    return payload


def _moment(field: str, moment: datetime | None) -> dict[str, Json]:
    return {} if moment is None else {field: time_text(moment)}


def _filename(value: Json) -> str | None:
    return text(value) or None
