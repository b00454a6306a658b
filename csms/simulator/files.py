"""Firmware that a simulated charger fetches and runs, and the diagnostics and logs that it uploads, each step told."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from csms.simulator import certificates
from csms.simulator.transfer import NotSpoken, TransferFailed, fetch, put
from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint

VERSION_IN_IMAGE = re.compile(rb"version *[=:] *(\S{1,50})", re.IGNORECASE)
LONGEST_VERSION = 50

T = TypeVar("T")
Told = Callable[[str], Awaitable[object]]  # one status towards the CSMS


# ---- firmware -------------------------------------------------------------------------------------------------------


def update_firmware(charge_point: ChargePoint, payload: Payload) -> Handled:
    async def tell(word: str) -> None:
        await charge_point.call("FirmwareStatusNotification", {"status": word})

    update = partial(_update, charge_point, payload, payload["location"], payload["retrieveDate"], tell)
    return Handled(then=update)


def signed_update_firmware(charge_point: ChargePoint, payload: Payload) -> Handled:
    firmware, number = payload["firmware"], payload["requestId"]
    if not charge_point.certificates.believes_manufacturer(firmware["signingCertificate"]):
        return status("InvalidCertificate")

    async def tell(word: str) -> None:
        told = {"status": word, "requestId": number}
        await charge_point.call("SignedFirmwareStatusNotification", told)

    update = partial(_update, charge_point, payload, firmware["location"], firmware["retrieveDateTime"], tell, firmware)
    return status("Accepted", update)


async def _update(
    charge_point: ChargePoint, payload: Payload, url: str, retrieve_at: str, tell: Told, signed: Payload | None = None
) -> None:
    """Downloading, Downloaded, Installing, Installed, and then it starts again with the new version."""
    await charge_point.pause_until(datetime.fromisoformat(retrieve_at))
    await tell("Downloading")
    image = await _attempts(charge_point, payload, partial(fetch, url))
    if image is None:
        await tell("DownloadFailed")
        return
    await tell("Downloaded")
    if signed is not None:
        signature = base64.b64decode(signed["signature"], validate=False)
        if not certificates.is_signed(image, signature, signed["signingCertificate"]):
            await tell("InvalidSignature")
            await charge_point.security_event("InvalidFirmwareSignature")
            return
        await tell("SignatureVerified")
        if "installDateTime" in signed:
            await charge_point.pause_until(datetime.fromisoformat(signed["installDateTime"]))
    await tell("Installing")
    charge_point.install(version_of(image, url))
    await tell("Installed")
    await charge_point.reboot(reason="Reboot")
    if signed is not None:
        await charge_point.security_event("FirmwareUpdated")


def version_of(image: bytes, url: str) -> str:
    """What the image says ("version: 2.0.1" near its beginning), else the file's name without its ending."""
    found = VERSION_IN_IMAGE.search(image[:1000])
    if found:
        return found[1].decode(errors="replace")
    return (PurePosixPath(urlsplit(url).path).stem or "2.0.0")[:LONGEST_VERSION]


# ---- diagnostics and logs -------------------------------------------------------------------------------------------


def get_diagnostics(charge_point: ChargePoint, payload: Payload) -> Handled:
    name = f"diagnostics-{charge_point.station_clock.now():%Y%m%dT%H%M%S}.txt"

    async def tell(word: str) -> None:
        await charge_point.call("DiagnosticsStatusNotification", {"status": word})

    async def upload() -> None:
        await tell("Uploading")
        sending = partial(put, payload["location"], name, diagnostics(charge_point))
        done = await _attempts(charge_point, payload, partial(_true_after, sending))
        await tell("Uploaded" if done else "UploadFailed")

    return Handled(result={"fileName": name}, then=upload)


def get_log(charge_point: ChargePoint, payload: Payload) -> Handled:
    security = payload["logType"] == "SecurityLog"
    number, url = payload["requestId"], payload["log"]["remoteLocation"]
    name = f"{'security' if security else 'diagnostics'}-{number}.log"
    cancels = charge_point.uploading is not None
    charge_point.uploading = number

    async def tell(word: str) -> None:
        await charge_point.call("LogStatusNotification", {"status": word, "requestId": number})

    async def upload() -> None:
        await tell("Uploading")
        content = security_log(charge_point) if security else diagnostics(charge_point)
        try:
            done = await _attempts(charge_point, payload, partial(_true_after, partial(put, url, name, content)))
            word = "Uploaded" if done else "UploadFailure"
        except NotSpoken:
            word = "NotSupportedOperation"
        if charge_point.uploading == number:
            charge_point.uploading = None
        await tell(word)

    return Handled(result={"status": "AcceptedCanceled" if cancels else "Accepted", "filename": name}, then=upload)


def diagnostics(charge_point: ChargePoint) -> bytes:
    """What it said and was asked, without any payload: some hold secrets."""
    about = charge_point.profile
    lines = [f"{about.vendor} {about.model} {about.station_id} firmware {about.firmware_version}"]
    lines += [f"sent {exchange.action} {exchange.fate}" for exchange in charge_point.exchanges]
    lines += [f"asked {command.action}" for command in charge_point.commands]
    return "\n".join([*lines, ""]).encode()


def security_log(charge_point: ChargePoint) -> bytes:
    return "".join(json.dumps(event) + "\n" for event in charge_point.security_events).encode()


async def _attempts(charge_point: ChargePoint, payload: Payload, work: Callable[[], Awaitable[T]]) -> T | None:
    """None when each attempt failed. An unknown protocol is not tried twice."""
    for left in range(payload.get("retries", 0), -1, -1):
        try:
            return await work()
        except NotSpoken:
            if "requestId" in payload and "log" in payload:
                raise
            return None
        except TransferFailed:
            if left:
                await charge_point.clock.pause(payload.get("retryInterval", 0))
    return None


async def _true_after(work: Callable[[], Awaitable[None]]) -> bool:
    await work()
    return True
