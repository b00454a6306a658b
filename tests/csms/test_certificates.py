"""Stations ask, our own authority signs what is right, and what it signed is installed, watched and revocable."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import Connection, select, update

from csms import authority, certificates, models, stations
from csms.authority import Algorithm, Refused, examine
from csms.certificates import NoCertificate, Signing, UnknownCertificate
from csms.commands import CertificateUse, Outcome
from csms.database import Database
from csms.events import CertificateRequested
from csms.journal import Recorded
from csms.models import Alert, Authority, RemoteRequest, Station, StationCertificate
from csms.sealing import Vault
from csms.station_security import upgrade_profile
from csms.stations import UnknownStation
from tests.csms import pki
from tests.csms.core_story import NOON, Story, told
from tests.csms.gateway.gateway_rig import until
from tests.csms.secure_story import VAULT, Charger, Secure, secure

ROW = StationCertificate


# ---- what is signed -------------------------------------------------------------------------------------------------


def test_a_request_of_either_kind_is_signed_for_tls_clients_for_a_year() -> None:
    for algorithm in Algorithm:
        issuer = authority.new_issuer(algorithm, "Example Charging", NOON)
        request = examine(pki.request("SN-1", pki.new_key(algorithm.value)), names=("CP1", "SN-1"), organization=None)
        assert request.algorithm is algorithm
        signed = authority.sign(request, issuer, station_id="CP1", organization="Example Charging", now=NOON)
        signed.verify_directly_issued_by(issuer.certificate)
        [common_name] = signed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common_name.value == "SN-1"
        extensions = signed.extensions
        assert [*extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [ExtendedKeyUsageOID.CLIENT_AUTH]
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["CP1"]
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        assert signed.not_valid_after_utc == NOON + timedelta(days=365)
        assert signed.not_valid_before_utc < NOON


def test_an_identity_that_is_no_host_name_is_named_all_the_same() -> None:
    issuer = authority.new_issuer(Algorithm.ECDSA, "x", NOON)
    request = examine(pki.request("Gent Zuid/1", pki.new_key()), names=("Gent Zuid/1",), organization=None)
    signed = authority.sign(request, issuer, station_id="Gent Zuid/1", organization="x", now=NOON)
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:station:Gent%20Zuid%2F1"]


def altered(csr: str) -> str:
    """The same request with a bit of its signature turned."""
    der = bytearray(x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        ("nonsense", "no certificate request"),
        ("ü", "no certificate request"),
        ("x" * 30_000, "no certificate request"),
        (altered(pki.request("CP1", pki.new_key())), "signature is wrong|no certificate request"),
        (pki.request("CP2", pki.new_key(), "Example Charging"), "neither the station's identity nor"),
        (pki.request("cp1", pki.new_key(), "Example Charging"), "neither the station's identity nor"),
        (pki.request("CP1", pki.new_key()), "organization"),
        (pki.request("CP1", pki.new_key(), "Somebody"), "organization"),
        (pki.request("CP1", pki.new_key("rsa", 1024), "Example Charging"), "1024 bits"),
        (pki.request("CP1", ec.generate_private_key(ec.SECP224R1()), "Example Charging"), "curve"),
    ],
)
def test_what_is_not_right_is_not_signed(csr: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        examine(csr, names=("CP1", "SN-1"), organization="Example Charging")


def test_an_authority_is_made_once_and_its_key_is_sealed(database: Database) -> None:
    def root(vault: Vault = VAULT) -> str:
        return certificates.root(connection, Algorithm.ECDSA, vault=vault, organization="Example Charging", now=NOON)

    with database.write() as connection:
        first = root()
        assert root() == first
        assert certificates.roots(connection) == [first]
        kept = connection.execute(select(Authority.sealed_key)).scalar_one()
        assert "PRIVATE" not in kept
        assert "PRIVATE KEY" in VAULT.open(kept)


# ---- on the wire ----------------------------------------------------------------------------------------------------


async def asks(charger: Charger, key: Any, common_name: str = "CP1") -> tuple[str, str]:
    """It asks for a certificate; the id and chain of what it is sent."""
    charger.key = key
    csr = pki.request(common_name, key, "Example Charging")
    assert await charger.say("SignCertificate", csr=csr) == {"status": "Accepted"}
    id_, sent = await charger.hear("CertificateSigned")
    [chain] = sent.values()
    return id_, chain


async def installs(story: Secure, charger: Charger, key: Any) -> None:
    id_, charger.certificate = await asks(charger, key)
    await charger.answer(id_, status="Accepted")
    await until(lambda: story.rows(ROW)[-1].state == "installed")


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
async def test_a_station_gets_a_certificate_and_comes_with_nothing_else(  # TC_074_CSMS
    database: Database, tmp_path: Path, algorithm: str
) -> None:
    async with secure(database, tmp_path, demanded="Example Charging") as story:
        story.site("CP1", password="old")
        charger = Charger(story, password="old")
        async with charger.connected():
            story.verb(certificates.request_certificate, "CP1")
            id_, asked = await charger.hear("ExtendedTriggerMessage")
            assert asked == {"requestedMessage": "SignChargePointCertificate"}
            await charger.answer(id_, status="Accepted")
            await installs(story, charger, pki.new_key(algorithm))
            story.verb(upgrade_profile, "CP1", 3, tls=True)
            id_, _ = await charger.hear("ChangeConfiguration")
            await charger.answer(id_, status="Accepted")
            await until(lambda: all(request.state == "accepted" for request in story.rows(RemoteRequest)))
        charger.password = None
        async with charger.connected():
            fingerprint = story.rows(ROW)[0].fingerprint
            await until(lambda: fingerprint in {row.certificate for row in story.rows(models.Connection)})
            with database.read() as connection:
                assert certificates.revoked_and_here(connection) == []
        assert await Charger(story, password="old").refused() == 403  # profile 3 is demanded from now on
        [row] = story.rows(ROW)
        with database.write() as connection:
            assert certificates.revoke(connection, f"{row.fingerprint[:20]}".upper(), story.now) == "CP1"
        assert await charger.refused() == 403


async def test_a_certificate_of_ours_opens_no_other_stations_door(database: Database, tmp_path: Path) -> None:
    async with secure(database, tmp_path) as story:
        story.site("CP1", "CP2")
        charger = Charger(story)
        async with charger.connected():
            await charger.say(
                "BootNotification", chargePointVendor="Acme", chargePointModel="X", chargePointSerialNumber="CP2"
            )
            id_, charger.certificate = await asks(charger, pki.new_key(), "CP2")  # it calls itself so
            await charger.answer(id_, status="Accepted")
            await until(lambda: story.rows(ROW)[-1].state == "installed")
        assert await charger.refused() == 101
        charger.station_id = "CP2"
        assert await charger.refused() == 403


async def test_a_request_that_is_not_signed_is_alerted(database: Database, tmp_path: Path) -> None:
    async with secure(database, tmp_path) as story:
        story.site("CP1")
        charger = Charger(story)
        async with charger.connected():
            assert await charger.say("SignCertificate", csr=pki.request("CP9", pki.new_key())) == {"status": "Accepted"}
            await until(lambda: story.rows(Alert))
        [row], [alert] = story.rows(ROW), story.rows(Alert)
        assert (row.state, row.certificate, alert.kind, alert.station_id) == (
            "refused",
            None,
            "certificate_refused",
            "CP1",
        )
        assert "neither the station's identity" in row.detail


async def test_a_station_that_waits_for_adoption_gets_no_certificate(database: Database, tmp_path: Path) -> None:
    async with secure(database, tmp_path) as story:
        charger = Charger(story, "NEW-1")
        async with charger.connected():
            assert await charger.say("SignCertificate", csr="x") == {"status": "Rejected"}
        assert story.rows(ROW) == []


async def test_roots_are_installed_listed_and_deleted(  # TC_075_1_CSMS, TC_075_2_CSMS, TC_076_CSMS
    database: Database, tmp_path: Path
) -> None:
    async with secure(database, tmp_path) as story:
        story.site("CP1")
        root = pki.issue("Our Root", authority=True, days=(-1, 300)).pem
        charger = Charger(story)
        async with charger.connected():
            for use, word in {
                CertificateUse.CENTRAL_SYSTEM_ROOT: "CentralSystemRootCertificate",
                CertificateUse.MANUFACTURER_ROOT: "ManufacturerRootCertificate",
            }.items():
                story.verb(certificates.install, "CP1", use, root)
                id_, asked = await charger.hear("InstallCertificate")
                assert asked == {"certificateType": word, "certificate": root}
                await charger.answer(id_, status="Accepted")
            story.verb(certificates.installed, "CP1", CertificateUse.CENTRAL_SYSTEM_ROOT)
            id_, _ = await charger.hear("GetInstalledCertificateIds")
            hashed = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "01ff"}
            await charger.answer(id_, status="Accepted", certificateHashData=[hashed])
            await until(lambda: all(request.state == "accepted" for request in story.rows(RemoteRequest)))
            [known] = next(r.answer for r in story.rows(RemoteRequest) if r.kind == "get_installed_certificates")[
                "certificates"
            ]
            told_hash = certificates.CertificateHash(**known)
            story.verb(certificates.delete, "CP1", told_hash)
            id_, asked = await charger.hear("DeleteCertificate")
            assert asked == {"certificateHashData": hashed}
            await charger.answer(id_, status="NotFound")
            await until(lambda: {r.outcome for r in story.rows(RemoteRequest)} == {"accepted", "not_found"})


def test_only_a_root_that_is_still_good_is_installed(database: Database) -> None:
    def install(pem: str, station_id: str = "CP1") -> str:
        use = CertificateUse.CENTRAL_SYSTEM_ROOT
        return certificates.install(connection, station_id, use, pem, requested_by="cli:test", now=datetime.now(UTC))

    root = pki.issue("Our Root", authority=True).pem
    with database.write() as connection:
        stations.provision(connection, "CP1", None, NOON)
        for pem, why in [
            ("nothing", "no certificate"),
            (root + root, "2 certificates"),
            (pki.issue("CP1").pem, "no authority's"),
            (pki.issue("Old Root", authority=True, days=(-2, -1)).pem, "expired"),
        ]:
            with pytest.raises(NoCertificate, match=why):
                install(pem)
        with pytest.raises(UnknownStation):
            install(root, "CP9")
        install(root)


# ---- what becomes of it ---------------------------------------------------------------------------------------------


async def requested(story: Story, station_id: str = "CP1") -> CertificateRequested:
    event = CertificateRequested(
        station_id=station_id, ocpp_version="1.6", received_at=story.now, csr=pki.request(station_id, pki.new_key())
    )
    for _ in range(2):
        assert (await story.csms.report(event)).accepted
    return event


def sign(story: Story, *events: CertificateRequested, vault: Vault = VAULT) -> None:
    signing = Signing(vault, organization="Example Charging", demanded=None, clock=lambda: story.now)
    facts: Sequence[Any] = [
        Recorded(
            xid=0,
            position=number,
            type="certificate_requested",
            subject=event.event_id,
            station_id=event.station_id,
            event_id=event.event_id,
            ocpp_version="1.6",
            schema_version=1,
            recorded_at=story.now,
            data={},
        )
        for number, event in enumerate(events)
    ]
    with story.database.write() as connection:
        signing.handle(connection, [*facts, *facts])


def answer(story: Story, connection: Connection, outcome: Outcome) -> None:
    request_id = connection.execute(select(ROW.request_id)).scalar_one()
    command = certificates.SendCertificate(station_id="CP1", chain="")
    certificates.was_sent(connection, request_id or "", command, certificates.Answer(outcome=outcome), story.now)


async def test_a_certificate_waits_for_a_station_that_is_away(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        sign(story, await requested(story))
        assert len(story.rows(ROW)) == len(story.rows(RemoteRequest)) == 1
        with database.write() as connection:
            answer(story, connection, Outcome.OFFLINE)
            certificates.deliver(connection, story.now)  # still away
            connection.execute(update(Station).values(connection_id="c1"))
            certificates.deliver(connection, story.pass_time(days=2))
            certificates.deliver(connection, story.now)  # it is on its way
        assert len(story.rows(RemoteRequest)) == 2
        with database.write() as connection:
            answer(story, connection, Outcome.TIMEOUT)
            certificates.deliver(connection, story.pass_time(days=6))  # too old by now: it has to ask anew
        assert len(story.rows(RemoteRequest)) == 2


async def test_a_station_that_does_not_take_its_certificate_is_alerted(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        sign(story, await requested(story))
        with database.write() as connection:
            answer(story, connection, Outcome.REJECTED)
        [row], [alert] = story.rows(ROW), story.rows(Alert)
        assert (row.state, alert.kind) == ("refused", "certificate_refused")


async def test_a_certificate_that_ends_within_thirty_days_is_told_until_it_is_renewed(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")

        async def another() -> None:
            sign(story, await requested(story))
            with database.write() as connection:
                newest = connection.execute(select(ROW.request_id).order_by(ROW.id.desc()).limit(1)).scalar_one()
                command = certificates.SendCertificate(station_id="CP1", chain="")
                accepted = certificates.Answer(outcome=Outcome.ACCEPTED)
                certificates.was_sent(connection, newest or "", command, accepted, story.now)

        def alerts() -> list[Any]:
            with database.write() as connection:
                certificates.expiring(connection, story.now)
            return [alert for alert in story.rows(Alert) if alert.closed_at is None]

        await another()
        story.pass_time(days=334)
        assert alerts() == []
        story.pass_time(days=2)
        [alert] = alerts()
        assert (alert.kind, alert.subject) == ("certificate_expires", "CP1")
        await another()
        assert alerts() == []
        story.pass_time(days=1)
        assert alerts() == []


async def test_without_its_key_the_authority_signs_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        sign(story, await requested(story))
        sign(story, await requested(story), vault=Vault("another key"))
        assert [row.state for row in story.rows(ROW)] == ["signed", "refused"]
        assert "SECRET_KEY" in story.rows(ROW)[1].detail


def test_only_what_was_signed_here_can_be_revoked(database: Database) -> None:
    with database.write() as connection:
        for fingerprint in ("", "ab", "0" * 64):
            with pytest.raises(UnknownCertificate):
                certificates.revoke(connection, fingerprint, NOON)


# ---- stations that ask without end ----------------------------------------------------------------------------------


def asking(story: Story, csr: str) -> CertificateRequested:
    return CertificateRequested(station_id="CP1", ocpp_version="1.6", received_at=story.now, csr=csr)


async def test_a_request_that_is_repeated_is_one(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        csr = pki.request("CP1", pki.new_key())
        first = asking(story, csr)
        for event in (first, asking(story, csr)):
            assert (await story.csms.report(event)).accepted
        sign(story, first)
        assert (await story.csms.report(asking(story, csr))).accepted  # it is on its way
        assert [row.state for row in story.rows(ROW)] == ["signed"]


async def test_a_station_that_asks_without_end_is_refused_and_alerted(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        assert not (await story.csms.report(asking(story, "x" * 100_000))).accepted
        replies = [await story.csms.report(asking(story, f"{number}")) for number in range(25)]
        assert [reply.accepted for reply in replies] == [True] * 20 + [False] * 5
        [alert] = story.rows(Alert)
        assert (alert.kind, alert.subject) == ("certificate_refused", "CP1")
        assert len(story.rows(ROW)) == 20
        story.pass_time(days=1, seconds=1)
        assert (await story.csms.report(asking(story, "again"))).accepted


async def test_only_the_certificate_of_the_newest_key_is_sent(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        sign(story, await requested(story))
        with database.write() as connection:
            answer(story, connection, Outcome.OFFLINE)
        sign(story, await requested(story))
        assert [row.state for row in story.rows(ROW)] == ["refused", "signed"]
        with database.write() as connection:
            connection.execute(update(Station).values(connection_id="c1"))
            certificates.deliver(connection, story.now)
        assert len(story.rows(RemoteRequest)) == 2


async def test_a_station_whose_line_broke_is_sent_its_certificate_again_but_not_for_ever(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        sign(story, await requested(story))
        with database.write() as connection:
            connection.execute(update(Station).values(connection_id="c1"))
            for _ in range(12):
                connection.execute(update(RemoteRequest).values(outcome="failed"))
                answer(story, connection, Outcome.FAILED)
                certificates.deliver(connection, story.pass_time(minutes=1))
        assert len(story.rows(RemoteRequest)) == certificates.TRIES_AT_MOST
        [row], [alert] = story.rows(ROW), story.rows(Alert)
        assert (row.state, alert.kind) == ("refused", "certificate_refused")


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_name_that_no_certificate_can_bear_is_refused() -> None:
    name = x509.NameAttribute(NameOID.COMMON_NAME, "é" * 60, _validate=False)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([name])).sign(pki.new_key(), hashes.SHA256())
    pem = csr.public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(Refused, match="64 bytes"):
        examine(pem, names=("é" * 60,), organization=None)
