"""A charger fetches new firmware, comes back after a break, proves it by its Boot, and brings its logs."""

import asyncio
import gzip
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from ocpp.routing import on
from ocpp.v16 import call, call_result

from tests.paths.charger import Charger, charging_point
from tests.paths.service import PASSWORD, Service

IMAGE = bytes(range(256)) * 8192  # 2 MB
BREAKS_AT = 700_000
LIMIT_S = 30.0


class WithFiles(Charger):
    """One that fetches and brings what it is told to."""

    version = "1.0"

    @on("UpdateFirmware")
    async def update_firmware(self, **fields: Any) -> Any:
        self.asked.put_nowait(("UpdateFirmware", fields))
        return call_result.UpdateFirmware()

    @on("GetDiagnostics")
    async def get_diagnostics(self, **fields: Any) -> Any:
        self.asked.put_nowait(("GetDiagnostics", fields))
        return call_result.GetDiagnostics(file_name="diag.log.gz")

    @on("GetLog")
    async def get_log(self, **fields: Any) -> Any:
        self.asked.put_nowait(("GetLog", fields))
        return call_result.GetLog(status="Accepted", filename="security.log")

    async def boot(self) -> None:
        answer = await self.say(
            call.BootNotification(
                charge_point_vendor="Field",
                charge_point_model="Wall",
                charge_point_serial_number=f"S-{self.id}",
                firmware_version=self.version,
            )
        )
        assert answer.status == "Accepted", answer

    async def firmware(self, status: str) -> None:
        await self.say(call.FirmwareStatusNotification(status=status))


async def fetched(url: str) -> bytes:
    """A download whose line breaks, and that goes on from there."""
    got = b""
    async with httpx.AsyncClient(trust_env=False) as client:
        async with client.stream("GET", url) as answer:
            assert answer.status_code == 200
            etag = answer.headers["etag"]
            async for piece in answer.aiter_raw(50_000):
                got += piece
                if len(got) >= BREAKS_AT:
                    break
        resumed = await client.get(url, headers={"Range": f"bytes={len(got)}-", "If-Range": etag})
        assert resumed.status_code == 206
        assert resumed.headers["content-range"] == f"bytes {len(got)}-{len(IMAGE) - 1}/{len(IMAGE)}"
        return got + resumed.content


async def rows(service: Service, *command: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await service.command(*command, "--json")).splitlines()]


async def update_in(service: Service, state: str) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            (update,) = await rows(service, "firmware", "status", "GENT-3")
            if update["state"] == state:
                return update
            await asyncio.sleep(0.2)


async def test_a_charger_gets_new_firmware_and_proves_it(service: Service, tmp_path: Path) -> None:
    image = tmp_path / "field-2.0.bin"
    await asyncio.to_thread(image.write_bytes, IMAGE)

    async with charging_point(service.ocpp_url, "GENT-3", PASSWORD, WithFiles) as charger:
        await charger.boot()
        added = await service.command(
            *("firmware", "add", str(image), "--vendor", "Field", "--model", "Wall", "--version", "2.0")
        )
        assert added == "image 1 added\n"
        assert await service.command("firmware", "update", "GENT-3", "1") == "update 1: sent\n"
        asked = await charger.asked_for("UpdateFirmware")
        assert len(asked["location"]) <= 512
        assert abs(datetime.fromisoformat(asked["retrieve_date"]) - datetime.now(UTC)) < timedelta(minutes=1)
        await charger.firmware("Downloading")
        got = await fetched(asked["location"])  # R06
        assert hashlib.sha256(got).digest() == hashlib.sha256(IMAGE).digest()
        for changed in (asked["location"].replace("GENT-3", "GENT-4"), asked["location"].partition("?")[0]):
            assert (await answered("GET", changed)).status_code == 403
        await charger.firmware("Downloaded")
        await charger.firmware("Installing")

    # R07: the service ends hard meanwhile, and what it knew is there; the Boot is the proof.
    service.kill()
    await service.start()
    assert (await update_in(service, "installing"))["status"] == "Installing"
    async with charging_point(service.ocpp_url, "GENT-3", PASSWORD, WithFiles) as charger:
        charger.version = "2.0"
        await charger.boot()
        update = await update_in(service, "installed")
        assert (update["evidence"], update["version_before"]) == ("boot", "1.0")
        await charger.firmware("Installed")

    logged = await service.command("messages", "--station", "GENT-3", "--action", "UpdateFirmware", "--json")
    assert re.search("signature=[A-Za-z0-9_-]{20}", logged) is None


async def test_a_charger_brings_its_logs(service: Service) -> None:
    log = "".join(
        f"{number:05} {'ERROR contactor welded' if number == 777 else 'all is well'}\n" for number in range(5000)
    )

    async with charging_point(service.ocpp_url, "GENT-4", PASSWORD, WithFiles) as charger:
        await charger.boot()

        # R09: diagnostics of plain 1.6; the station appends its file's name to the address.
        told = await service.command("diagnostics", "request", "GENT-4", "--since", "2h")
        assert told == "upload 1: waiting, diag.log.gz\n"
        asked = await charger.asked_for("GetDiagnostics")
        assert asked["start_time"] < asked.get("stop_time", "9999")
        await charger.say(call.DiagnosticsStatusNotification(status="Uploading"))
        place = f"{asked['location']}/diag.log.gz"
        assert (await answered("PUT", place, content=gzip.compress(log.encode()))).status_code == 201
        assert (await answered("PUT", place, content=b"again")).status_code == 410
        await charger.say(call.DiagnosticsStatusNotification(status="Uploaded"))

        # R10: the security log, as a form.
        await service.command("diagnostics", "request", "GENT-4", "--security")
        asked = await charger.asked_for("GetLog")
        assert (asked["log_type"], asked["request_id"]) == ("SecurityLog", 2)
        await charger.say(call.LogStatusNotification(status="Uploading", request_id=2))
        form = {"upload": ("security.log", b"12:00 door opened\n", "text/plain")}
        assert (await answered("POST", asked["log"]["remote_location"], files=form)).status_code == 201
        await charger.say(call.LogStatusNotification(status="Uploaded", request_id=2))

    listed = await rows(service, "diagnostics", "list", "GENT-4")
    assert [(row["id"], row["kind"], row["state"], row["status"], row["filename"]) for row in listed] == [
        (2, "security", "received", "Uploaded", "security.log"),
        (1, "diagnostics", "received", "Uploaded", "diag.log.gz"),
    ]
    # R11
    assert await service.command("diagnostics", "show", "1", "--search", "error") == "00777 ERROR contactor welded\n"
    assert await service.command("diagnostics", "show", "2") == "12:00 door opened\n"
    logged = await service.command("messages", "--station", "GENT-4", "--json")
    assert "/uploads/1/[redacted]" in logged
    assert re.search(r"/uploads/\d+/[A-Za-z0-9_-]{32}", logged) is None


async def answered(method: str, url: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, **more)
