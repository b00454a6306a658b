"""The security profiles of the whitepaper: 0 nothing, 1 a password, 2 wss and a password, 3 wss and a client certificate."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.headers import build_authorization_basic

from csms.authority import fingerprint
from csms.bus import Admission, ConnectionOpened, StationCredentials
from csms.gateway import client_certificates
from csms.passwords import hash_password
from tests.csms import pki
from tests.csms.gateway.gateway_rig import Rig, ask, gateway_running, until
from tests.csms.pki import Identity

HERE = (ip_network("127.0.0.0/8"),)
HEADER = "X-SSL-Client-Cert"


def known(least: int = 0, **fields: Any) -> StationCredentials:
    return StationCredentials(admission=Admission.KNOWN, least_profile=least, **fields)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": build_authorization_basic(user, password)}


@pytest.fixture(scope="module")
def authority() -> Identity:
    return pki.issue("Charger Authority", authority=True)


class Secured(Rig):
    folder: Path
    tls_file: Path

    def wss(self, path: str = "CP1", identity: Identity | None = None, **options: Any) -> Any:
        context = ssl.create_default_context(cafile=self.tls_file)
        if identity is not None:
            context.load_cert_chain(*identity.files(self.folder))
        return self.charger(url=f"wss://127.0.0.1:{self.port}/ocpp/{path}", ssl=context, **options)

    async def comes(self, opening: Any) -> ConnectionOpened:
        """A charger that is let in, speaks, and leaves."""
        async with opening as charger:
            assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3
        return self.presence.of(ConnectionOpened)[-1]

    async def refused(self, opening: Any) -> tuple[int, str]:
        """The status, and the reason in the row of the message log."""
        with pytest.raises(InvalidStatus) as caught:
            async with opening:
                pass
        return caught.value.response.status_code, self.frames.having(result="refused")[-1].text


@asynccontextmanager
async def secured(folder: Path, authority: Identity | None, **settings: Any) -> AsyncIterator[Secured]:
    cert, key = pki.gateway().files(folder)
    rig = Secured()
    rig.folder, rig.tls_file = folder, cert
    ca = None if authority is None else authority.files(folder)[0]
    async with gateway_running(rig, tls_cert=cert, tls_key=key, tls_client_ca=ca, **settings):
        yield rig


# ---- 0 and 1: plain -------------------------------------------------------------------------------------------------


async def test_what_each_plain_station_proved_is_told(rig: Rig) -> None:  # TC_085_CSMS
    rig.stations.known = {"CP1": known(), "CP2": known(1, password_hash=hash_password("secret"))}
    async with rig.charger("CP1") as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
    async with rig.charger("CP2", additional_headers=basic("CP2", "secret")) as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
    told = [(c.station_id, c.security_profile, c.password) for c in rig.presence.of(ConnectionOpened)]
    assert told == [("CP1", 0, None), ("CP2", 1, "current")]


@pytest.mark.parametrize(
    ("least", "password", "status", "reason"),
    [
        (1, None, 403, "security profile 1 is demanded"),  # none is set, so none can be right
        (2, "secret", 403, "wss and a password"),
        (3, "secret", 403, "a client certificate"),
    ],
)
async def test_less_than_the_stations_least_profile_is_refused(
    rig: Rig, least: int, password: str | None, status: int, reason: str
) -> None:
    rig.stations.known["CP1"] = known(least, password_hash=hash_password(password) if password else None)
    with pytest.raises(InvalidStatus) as caught:
        async with rig.charger(additional_headers=basic("CP1", password) if password else {}):
            pass
    assert caught.value.response.status_code == status
    assert caught.value.response.body is not None
    assert reason in caught.value.response.body.decode()
    assert reason in rig.frames.having(result="refused")[-1].text


@pytest.mark.parametrize("form", ["text", "hex", "bytes"])
async def test_the_next_password_is_good_in_every_form_beside_the_current_one(rig: Rig, form: str) -> None:  # X15
    key = "00f1e2d3c4b5a69788796a5b4c3d2e1f"
    rig.stations.known["CP1"] = known(password_hash=hash_password("old"), next_password_hash=hash_password(key))
    sent = {"text": key.encode(), "hex": key.encode().hex().encode(), "bytes": bytes.fromhex(key)}[form]
    header = {"Authorization": "Basic " + base64.b64encode(b"CP1:" + sent).decode()}
    async with rig.charger(additional_headers=header) as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
    async with rig.charger(additional_headers=basic("CP1", "old")) as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
    assert [c.password for c in rig.presence.of(ConnectionOpened)] == ["next", "current"]


# ---- 2 and 3: our own TLS -------------------------------------------------------------------------------------------


async def test_stations_with_a_password_and_with_a_certificate_share_the_port(  # B05, TC_086_CSMS, TC_087_CSMS
    tmp_path: Path, authority: Identity
) -> None:
    async with secured(tmp_path, authority) as rig:
        rig.stations.known = {
            "CP2": known(2, password_hash=hash_password("secret")),
            "CP3": known(3, password_hash=hash_password("secret")),
        }
        by_password = await rig.comes(rig.wss("CP2", additional_headers=basic("CP2", "secret")))
        by_certificate = await rig.comes(rig.wss("CP3", pki.issue("CP3", authority)))
        assert (by_password.security_profile, by_certificate.security_profile) == (2, 3)
        assert (by_password.password, by_certificate.password) == ("current", None)


@pytest.mark.parametrize(
    ("name", "serial_number", "good"),
    [("CP1", "", True), ("SN-1", "SN-1", True), ("CP2", "SN-1", False), ("", "", False)],
)
async def test_a_certificate_names_the_station_or_its_serial_number(
    tmp_path: Path, authority: Identity, name: str, serial_number: str, good: bool
) -> None:
    async with secured(tmp_path, authority) as rig:
        rig.stations.known["CP1"] = known(serial_number=serial_number)
        opening = rig.wss("CP1", pki.issue(name or "somebody", authority))
        if good:
            assert (await rig.comes(opening)).security_profile == 3
        else:
            status, told = await rig.refused(opening)
            assert (status, "does not name the station" in told) == (403, True)


async def test_an_alternative_name_names_the_station_too(tmp_path: Path, authority: Identity) -> None:
    async with secured(tmp_path, authority) as rig:
        identity = pki.issue("box 17", authority, names=[x509.DNSName("other"), x509.DNSName("CP1")])
        assert (await rig.comes(rig.wss("CP1", identity))).security_profile == 3


async def test_expired_and_foreign_certificates_end_in_tls(tmp_path: Path, authority: Identity) -> None:
    stranger = pki.issue("Charger Authority", authority=True)
    async with secured(tmp_path, authority) as rig:
        cases = {
            "certificate has expired": pki.issue("CP1", authority, days=(-2, -1)),
            "certificate": pki.issue("CP1", stranger),
        }
        for reason, identity in cases.items():
            with pytest.raises((InvalidMessage, OSError)):
                async with rig.wss("CP1", identity):
                    pass
            await until(lambda: rig.frames.having(result="refused"))
            told = rig.frames.rows.pop().text
            assert "TLS failed, client certificate: " in told
            assert reason in told
        assert rig.presence.story == []


async def test_a_revoked_certificate_is_refused_even_with_the_password(tmp_path: Path, authority: Identity) -> None:
    identity = pki.issue("CP1", authority)
    revoked = frozenset({fingerprint(identity.certificate)})
    async with secured(tmp_path, authority) as rig:
        rig.stations.known["CP1"] = known(password_hash=hash_password("secret"), revoked=revoked)
        opening = rig.wss("CP1", identity, additional_headers=basic("CP1", "secret"))
        status, told = await rig.refused(opening)
        assert (status, "revoked" in told) == (403, True)


async def test_an_authority_is_believed_from_the_moment_it_is_named(tmp_path: Path, authority: Identity) -> None:
    async with secured(tmp_path, None) as rig:
        rig.stations.known["CP1"] = known(3)
        identity = pki.issue("SN-1", authority, names=[x509.DNSName("CP1")])
        assert (await rig.refused(rig.wss("CP1", identity)))[0] == 403  # nobody asked for it
        rig.gateway.trust(authority.pem)
        rig.gateway.trust(authority.pem)
        assert (await rig.comes(rig.wss("CP1", identity))).security_profile == 3


async def test_of_what_we_signed_only_the_name_that_we_chose_counts(tmp_path: Path, authority: Identity) -> None:
    """A station may call itself by another's serial number, or by another's identity."""
    async with secured(tmp_path, None) as rig:
        rig.gateway.trust(authority.pem)
        rig.stations.known["CP1"] = known(serial_number="SN-1")
        for claimed in ("SN-1", "CP1"):
            identity = pki.issue(claimed, authority, names=[x509.DNSName("CP2")])
            assert (await rig.refused(rig.wss("CP1", identity)))[0] == 403


# ---- 3 behind a proxy that ends TLS ---------------------------------------------------------------------------------


def nginx(*chain: Identity) -> str:
    return quote("".join(identity.pem for identity in chain))


def envoy(identity: Identity) -> str:
    cert = quote(identity.pem, safe="")
    return f'By=spiffe://edge;Hash=00;Cert="{cert}";Subject="CN=CP1"'


@asynccontextmanager
async def behind_proxy(folder: Path, authority: Identity | None, **settings: Any) -> AsyncIterator[Secured]:
    rig = Secured()
    options = {"trusted_proxies": HERE, "client_cert_header": HEADER, "allow_plain": ()} | settings
    ca = None if authority is None else authority.files(folder)[0]
    async with gateway_running(rig, tls_client_ca=ca, **options):
        yield rig


def forwarded(value: str, header: str = HEADER) -> dict[str, Any]:
    return {"additional_headers": {"X-Forwarded-Proto": "https", header: value}}


@pytest.mark.parametrize("written", [nginx, envoy])
async def test_a_trusted_proxy_tells_the_certificate_it_received(  # B05
    tmp_path: Path, authority: Identity, written: Any
) -> None:
    async with behind_proxy(tmp_path, authority) as rig:
        rig.stations.known["CP1"] = known(3, password_hash=hash_password("secret"))
        opened = await rig.comes(rig.charger(**forwarded(written(pki.issue("CP1", authority)))))
        assert opened.security_profile == 3


async def test_issuers_between_come_with_the_certificate(tmp_path: Path, authority: Identity) -> None:
    between = pki.issue("Gent", authority, authority=True)
    identity = pki.issue("CP1", between)
    async with behind_proxy(tmp_path, authority) as rig:
        assert (await rig.comes(rig.charger(**forwarded(nginx(identity, between))))).security_profile == 3
        assert (await rig.refused(rig.charger(**forwarded(nginx(identity)))))[0] == 403


async def test_what_a_proxy_forwards_is_verified_here(tmp_path: Path, authority: Identity) -> None:
    stranger = pki.issue("Charger Authority", authority=True)
    station = pki.issue("CP9", authority)
    cases = {
        "expired": nginx(pki.issue("CP1", authority, days=(-2, -1))),
        "not valid before": nginx(pki.issue("CP1", authority, days=(1, 2))),
        "vouches for": nginx(pki.issue("CP1", stranger)),
        "no authority known here": nginx(pki.issue("CP1", station), station),  # a station is no authority
        "does not name": nginx(station),
        "cannot be read": "-----BEGIN%20CERTIFICATE-----%0Anonsense",
    }
    async with behind_proxy(tmp_path, authority) as rig:
        for reason, value in cases.items():
            status, told = await rig.refused(rig.charger(**forwarded(value)))
            assert (status, reason in told) == (403, True), told
        assert rig.presence.story == []


async def test_nobody_but_a_trusted_proxy_tells_a_certificate(tmp_path: Path, authority: Identity) -> None:
    async with behind_proxy(tmp_path, authority, trusted_proxies=(), allow_plain=HERE) as rig:
        rig.stations.known["CP1"] = known()
        opened = await rig.comes(rig.charger(**forwarded(nginx(pki.issue("CP1", authority)))))
        assert opened.security_profile == 0
        rig.stations.known["CP1"] = known(3)
        assert (await rig.refused(rig.charger(**forwarded(nginx(pki.issue("CP1", authority))))))[0] == 403


async def test_only_the_header_that_the_operator_names_is_believed(tmp_path: Path, authority: Identity) -> None:
    """A proxy overwrites one header; another of the kind would come from the charger itself, untouched."""
    value = nginx(pki.issue("CP1", authority))
    async with behind_proxy(tmp_path, authority) as rig:
        rig.stations.known["CP1"] = known(3)
        status, _ = await rig.refused(rig.charger(**forwarded(value, "X-Forwarded-Client-Cert")))
        assert status == 403
    async with behind_proxy(tmp_path, authority, client_cert_header=None) as rig:
        rig.stations.known["CP1"] = known(3)
        assert (await rig.refused(rig.charger(**forwarded(value))))[0] == 403


def test_what_a_quoted_subject_holds_is_no_certificate(authority: Identity) -> None:
    identity, other = pki.issue("CP1", authority), pki.issue("CP2", authority)
    written = envoy(identity).replace("CN=CP1", 'CN=\\";Cert=' + quote(other.pem, safe=""))
    assert client_certificates.forwarded(written) == [identity.certificate]


def test_an_endless_header_is_not_read() -> None:
    with pytest.raises(ValueError, match="too long"):
        client_certificates.forwarded("x" * 40_000)
