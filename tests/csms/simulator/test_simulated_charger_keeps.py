"""What a CSMS leaves with a simulated charger: cards, reservations, profiles, firmware, certificates; and what it uploads."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csms.simulator.charge_point import ChargePoint

YEAR = timedelta(days=365)


@pytest.fixture
async def charger(csms: Any) -> AsyncIterator[ChargePoint]:
    async with ChargePoint(csms.profile(connectors=2, shows_cost=True)) as charge_point:
        await charge_point.start()
        yield charge_point


class FileServer(ThreadingHTTPServer):
    """Gives what `files` holds and keeps what is put there; `put_refused`: it wants POST."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FileHandler)
        self.files: dict[str, bytes] = {}
        self.put_refused = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _FileHandler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self._answer(200 if self.path in self.server.files else 404, self.server.files.get(self.path, b""))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.put_refused:
            self._answer(405, b"")
        else:
            self.server.files[self.path] = body
            self._answer(201, b"")

    def do_POST(self) -> None:
        self.server.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Not into the test's output."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def in_an_hour(charger: ChargePoint) -> str:
    return (charger.clock.now() + timedelta(hours=1)).isoformat()


# ---- cards ----------------------------------------------------------------------------------------------------------


async def test_the_local_list_knows_its_version(csms: Any, charger: ChargePoint) -> None:
    async def send(version: int, kind: str, *entries: Any) -> str:
        frame = {"listVersion": version, "updateType": kind, "localAuthorizationList": list(entries)}
        return str((await csms.ask("SendLocalList", frame))["status"])

    accepted = {"status": "Accepted"}
    assert await csms.ask("GetLocalListVersion", {}) == {"listVersion": 0}
    assert (
        await send(3, "Full", {"idTag": "A", "idTagInfo": accepted}, {"idTag": "B", "idTagInfo": accepted})
        == "Accepted"
    )
    assert await send(3, "Differential", {"idTag": "A"}) == "VersionMismatch"
    assert await send(4, "Differential", {"idTag": "A"}, {"idTag": "C", "idTagInfo": accepted}) == "Accepted"
    assert set(charger.local_list.entries) == {"B", "C"}
    assert await send(5, "Full", {"idTag": "A"}) == "Failed"
    assert await send(5, "Differential", *({"idTag": f"X{n}", "idTagInfo": accepted} for n in range(101))) == "Failed"
    assert await csms.ask("GetLocalListVersion", {}) == {"listVersion": 4}
    await csms.ask("ChangeConfiguration", {"key": "LocalAuthListEnabled", "value": "false"})
    assert await send(9, "Full") == "NotSupported"
    assert await csms.ask("GetLocalListVersion", {}) == {"listVersion": -1}


async def test_the_cache_is_cleared(csms: Any, charger: ChargePoint) -> None:
    await charger.authorize("CARD")
    assert charger.cache == {"CARD": {"status": "Accepted"}}
    assert await csms.ask("ClearCache", {}) == {"status": "Accepted"}
    assert charger.cache == {}


async def test_a_reserved_connector_waits_for_its_card(csms: Any, charger: ChargePoint) -> None:
    frame = {"connectorId": 1, "expiryDate": in_an_hour(charger), "idTag": "CARD", "reservationId": 7}
    assert await csms.ask("ReserveNow", frame) == {"status": "Accepted"}
    await csms.received("StatusNotification", 4)
    assert csms.statuses(1)[-1] == "Reserved"
    assert await csms.ask("ReserveNow", frame | {"reservationId": 8}) == {"status": "Occupied"}
    assert await csms.ask("ReserveNow", frame | {"expiryDate": in_an_hour(charger)}) == {"status": "Accepted"}
    assert await csms.ask("RemoteStartTransaction", {"idTag": "OTHER", "connectorId": 1}) == {"status": "Rejected"}
    with pytest.raises(ValueError, match="another card"):
        await charger.start_transaction(1, "OTHER")
    await charger.start_transaction(1, "CARD")
    assert csms.payloads("StartTransaction")[0]["reservationId"] == 7
    assert await csms.ask("CancelReservation", {"reservationId": 7}) == {"status": "Rejected"}
    assert await csms.ask("ReserveNow", frame) == {"status": "Occupied"}


async def test_a_reservation_is_cancelled_or_runs_out(csms: Any, charger: ChargePoint) -> None:
    frame = {"connectorId": 1, "expiryDate": in_an_hour(charger), "idTag": "CARD", "reservationId": 7}
    await csms.ask("ReserveNow", frame)
    assert await csms.ask("CancelReservation", {"reservationId": 7}) == {"status": "Accepted"}
    await csms.ask("ReserveNow", frame)
    await csms.received("StatusNotification", 6)
    await charger.clock.advance(3601)
    await charger.heartbeat()
    assert csms.statuses(1)[1:] == ["Reserved", "Available", "Reserved", "Available"]
    assert await csms.ask("ReserveNow", frame) == {"status": "Rejected"}  # over already
    await charger.change_availability(0, operative=False)
    later = frame | {"connectorId": 0, "expiryDate": in_an_hour(charger)}
    assert await csms.ask("ReserveNow", later) == {"status": "Unavailable"}


# ---- charging profiles ----------------------------------------------------------------------------------------------


def profile(number: int, purpose: str, limit: float, *, level: int = 0, unit: str = "W", **more: Any) -> Any:
    return {
        "chargingProfileId": number,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Relative",
        "chargingSchedule": {
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        },
    } | more


async def test_profiles_are_held_and_bound_what_it_would_draw(csms: Any, charger: ChargePoint) -> None:  # G01
    async def put(connector: int, what: Any) -> str:
        frame = {"connectorId": connector, "csChargingProfiles": what}
        return str((await csms.ask("SetChargingProfile", frame))["status"])

    async def limits(unit: str = "W") -> list[float]:
        asked = {"connectorId": 1, "duration": 600, "chargingRateUnit": unit}
        answer = await csms.ask("GetCompositeSchedule", asked)
        return [float(period["limit"]) for period in answer["chargingSchedule"]["chargingSchedulePeriod"]]

    assert await limits() == [11_000]
    assert await put(0, profile(1, "ChargePointMaxProfile", 9_000)) == "Accepted"
    assert await put(1, profile(9, "ChargePointMaxProfile", 9_000)) == "Rejected"
    assert await put(0, profile(2, "TxDefaultProfile", 16.1, unit="A")) == "Accepted"
    assert await limits() == [9_000]
    assert await put(1, profile(3, "TxDefaultProfile", 10, unit="A")) == "Accepted"
    assert (await limits(), await limits("A")) == ([6_900], [10.0])
    assert await put(1, profile(4, "TxProfile", 3_000)) == "Rejected"  # no transaction
    transaction = await charger.start_transaction(1, "CARD")
    assert await put(1, profile(4, "TxProfile", 3_000, transactionId=transaction.transaction_id)) == "Accepted"
    assert await limits() == [3_000]
    assert await csms.ask("ClearChargingProfile", {"id": 77}) == {"status": "Unknown"}
    cleared = {"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 0, "connectorId": 1}
    assert await csms.ask("ClearChargingProfile", cleared) == {"status": "Accepted"}
    await charger.stop_transaction(1)
    assert [held["chargingProfileId"] for _, held in charger.profiles.held] == [1, 2]


async def test_a_remote_start_brings_its_profile(csms: Any, charger: ChargePoint) -> None:  # G01
    asked = {"idTag": "X", "connectorId": 1}
    wrong = asked | {"chargingProfile": profile(5, "TxDefaultProfile", 16.1)}
    assert await csms.ask("RemoteStartTransaction", wrong) == {"status": "Rejected"}
    right = asked | {"chargingProfile": profile(5, "TxProfile", 16.1)}
    assert await csms.ask("RemoteStartTransaction", right) == {"status": "Accepted"}
    start = await asyncio.wait_for(charger.remote_starts.get(), 5)
    transaction = await charger.start_transaction(start.connector, start.id_token)
    ((connector, held),) = charger.profiles.held
    assert (connector, held["transactionId"]) == (1, transaction.transaction_id)


# ---- files ----------------------------------------------------------------------------------------------------------


async def statuses(csms: Any, action: str, count: int) -> list[str]:
    await csms.received(action, count)
    return [frame["status"] for frame in csms.payloads(action)]


async def test_firmware_is_fetched_and_runs_after_the_reboot(
    csms: Any, charger: ChargePoint, files: FileServer
) -> None:
    files.files["/fw/2.bin"] = b"version: 2.0.1\n..."
    frame = {"location": f"{files.url}/fw/2.bin", "retrieveDate": datetime.now(UTC).isoformat()}
    assert await csms.ask("UpdateFirmware", frame) == {}
    await csms.received("BootNotification", 2)
    said = await statuses(csms, "FirmwareStatusNotification", 4)
    assert said == ["Downloading", "Downloaded", "Installing", "Installed"]
    assert [boot["firmwareVersion"] for boot in csms.payloads("BootNotification")] == ["1.0.0", "2.0.1"]


async def test_firmware_that_is_not_there_changes_nothing(csms: Any, charger: ChargePoint, files: FileServer) -> None:
    frame = {"location": f"{files.url}/nowhere", "retrieveDate": datetime.now(UTC).isoformat(), "retries": 1}
    await csms.ask("UpdateFirmware", frame)
    assert await statuses(csms, "FirmwareStatusNotification", 2) == ["Downloading", "DownloadFailed"]
    assert len(csms.payloads("BootNotification")) == 1


@pytest.mark.parametrize("put_refused", [False, True])
async def test_diagnostics_are_uploaded(csms: Any, charger: ChargePoint, files: FileServer, put_refused: bool) -> None:
    files.put_refused = put_refused
    answer = await csms.ask("GetDiagnostics", {"location": f"{files.url}/up?signature=1"})
    assert answer["fileName"].startswith("diagnostics-")
    assert await statuses(csms, "DiagnosticsStatusNotification", 2) == ["Uploading", "Uploaded"]
    assert b"sent BootNotification answered" in files.files["/up?signature=1"]
    await csms.ask("GetDiagnostics", {"location": "ftp://127.0.0.1/up"})
    assert (await statuses(csms, "DiagnosticsStatusNotification", 4))[2:] == ["Uploading", "UploadFailed"]


async def test_logs_are_uploaded_under_their_number(csms: Any, charger: ChargePoint, files: FileServer) -> None:
    await charger.security_event("TamperDetectionActivated")
    frame = {"logType": "SecurityLog", "requestId": 3, "log": {"remoteLocation": f"{files.url}/logs/"}}
    assert await csms.ask("GetLog", frame) == {"status": "Accepted", "filename": "security-3.log"}
    assert await statuses(csms, "LogStatusNotification", 2) == ["Uploading", "Uploaded"]
    assert b"TamperDetectionActivated" in files.files["/logs/security-3.log"]
    assert {frame["requestId"] for frame in csms.payloads("LogStatusNotification")} == {3}
    ftp = {"logType": "DiagnosticsLog", "requestId": 4, "log": {"remoteLocation": "ftp://127.0.0.1/up"}}
    await csms.ask("GetLog", ftp)
    assert (await statuses(csms, "LogStatusNotification", 4))[2:] == ["Uploading", "NotSupportedOperation"]


# ---- certificates ---------------------------------------------------------------------------------------------------


def certificate(name: str, key: Any, *, public_key: Any = None, issuer: str | None = None) -> str:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or name)]))
        .public_key(public_key or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - YEAR)
        .not_valid_after(now + YEAR)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


async def test_roots_are_installed_listed_and_deleted(csms: Any, charger: ChargePoint) -> None:
    kind = {"certificateType": "CentralSystemRootCertificate"}
    root = certificate("Root", ec.generate_private_key(ec.SECP256R1()))
    assert await csms.ask("GetInstalledCertificateIds", kind) == {"status": "NotFound"}
    assert await csms.ask("InstallCertificate", kind | {"certificate": "nonsense"}) == {"status": "Rejected"}
    assert await csms.ask("InstallCertificate", kind | {"certificate": root}) == {"status": "Accepted"}
    (listed,) = (await csms.ask("GetInstalledCertificateIds", kind))["certificateHashData"]
    assert await csms.ask("DeleteCertificate", {"certificateHashData": listed}) == {"status": "Accepted"}
    assert await csms.ask("DeleteCertificate", {"certificateHashData": listed}) == {"status": "NotFound"}


async def test_a_certificate_is_asked_for_and_taken_if_it_is_of_its_key(csms: Any, charger: ChargePoint) -> None:
    asked = {"requestedMessage": "SignChargePointCertificate"}
    assert await csms.ask("ExtendedTriggerMessage", asked) == {"status": "Accepted"}
    csr = x509.load_pem_x509_csr((await csms.received("SignCertificate"))["csr"].encode())
    assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "CP001"
    root = ec.generate_private_key(ec.SECP256R1())
    wrong = certificate("CP001", root, issuer="Root")
    assert await csms.ask("CertificateSigned", {"certificateChain": wrong}) == {"status": "Rejected"}
    assert (await csms.received("SecurityEventNotification"))["type"] == "InvalidChargePointCertificate"
    right = certificate("CP001", root, public_key=csr.public_key(), issuer="Root")
    assert await csms.ask("CertificateSigned", {"certificateChain": right}) == {"status": "Accepted"}
    assert charger.certificates.chain == right


@pytest.mark.parametrize(
    ("signed_by_maker", "said"),
    [
        (True, ["Downloading", "Downloaded", "SignatureVerified", "Installing", "Installed"]),
        (False, ["Downloading", "Downloaded", "InvalidSignature"]),
    ],
)
async def test_signed_firmware_is_verified(
    csms: Any, charger: ChargePoint, files: FileServer, signed_by_maker: bool, said: list[str]
) -> None:
    files.files["/fw/3.0.bin"] = image = b"no version in it"
    maker, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signature = (maker if signed_by_maker else stranger).sign(image, ec.ECDSA(hashes.SHA256()))
    firmware = {
        "location": f"{files.url}/fw/3.0.bin",
        "retrieveDateTime": datetime.now(UTC).isoformat(),
        "signingCertificate": certificate("Maker", maker),
        "signature": base64.b64encode(signature).decode(),
    }
    broken = {"requestId": 1, "firmware": firmware | {"signingCertificate": "nonsense"}}
    assert await csms.ask("SignedUpdateFirmware", broken) == {"status": "InvalidCertificate"}
    assert await csms.ask("SignedUpdateFirmware", {"requestId": 2, "firmware": firmware}) == {"status": "Accepted"}
    await csms.received("SecurityEventNotification")
    assert await statuses(csms, "SignedFirmwareStatusNotification", len(said)) == said
    assert charger.profile.firmware_version == ("3.0" if signed_by_maker else "1.0.0")


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("BootNotification", "BootNotification"),
        ("Heartbeat", "Heartbeat"),
        ("StatusNotification", "StatusNotification"),
        ("MeterValues", "MeterValues"),
        ("FirmwareStatusNotification", "SignedFirmwareStatusNotification"),
        ("LogStatusNotification", "LogStatusNotification"),
    ],
)
async def test_an_extended_trigger_sends_the_message(
    csms: Any, charger: ChargePoint, message: str, action: str
) -> None:
    before = len(csms.payloads(action))
    assert await csms.ask("ExtendedTriggerMessage", {"requestedMessage": message}) == {"status": "Accepted"}
    await csms.received(action, before + 1)


# ---- vendor data ----------------------------------------------------------------------------------------------------


async def test_costs_are_shown_and_the_unplugging_told(csms: Any, charger: ChargePoint) -> None:  # X14
    frame = {"vendorId": "org.openchargealliance.costmsg", "messageId": "RunningCost", "data": '{"cost":1.5}'}
    assert await csms.ask("DataTransfer", frame) == {"status": "Accepted"}
    assert [(message, float(shown["cost"])) for message, shown in charger.displayed] == [("RunningCost", 1.5)]
    assert await csms.ask("DataTransfer", frame | {"messageId": "Dance"}) == {"status": "UnknownMessageId"}
    assert await csms.ask("DataTransfer", frame | {"vendorId": "Acme"}) == {"status": "UnknownVendorId"}
    assert await csms.ask("DataTransfer", frame | {"data": "no JSON"}) == {"status": "Rejected"}
    await charger.plug(1)
    await charger.start_transaction(1, "CARD")
    await charger.stop_transaction(1)
    await charger.unplug(1)
    assert (await csms.received("DataTransfer"))["messageId"] == "ConnectorUnplugged"
