"""What a partner gets from us that takes every sentence of the specification literally, or means harm."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from csms.database import Database
from csms.models import Token
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.emsp_wire import next_page, read
from ocpi_bridge.outbound import Guarded, OutboundPolicy, Response
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from ocpi_bridge.token_sync import Pulled, TokenSync
from tests.ocpi_bridge.conftest import Cli
from tests.ocpi_bridge.roaming_world import NOON, World, running, until, world_of

NETWORK = Path(__file__).parents[2] / "docs" / "network.example.yaml"
AT = "2026-03-01T00:00:00Z"
START = {
    "token": {
        "country_code": "NL",
        "party_id": "MSP",
        "uid": "APP-USER-1",
        "type": "APP_USER",
        "contract_id": "NL-MSP-C1-X",
        "issuer": "MSP",
        "valid": True,
        "whitelist": "NEVER",
        "last_updated": AT,
    },
    "location_id": "LOC1",
}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None]) -> AsyncIterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN=address, PUBLIC_URL=f"http://{address}")
    assert (await asyncio.to_thread(cli, "import", str(NETWORK))).exit_code == 0
    service = Service(load())
    await service.start()
    yield service
    await service.stop()


async def nowhere(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror("no such name")


only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


# ---- the address ----------------------------------------------------------------------------------------------------


@only_sqlite
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_the_bare_address_is_answered_in_the_envelope_and_never_redirected(
    service: Service, method: str
) -> None:  # TR-13, TR-31
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in ("/ocpi", "/ocpi/"):
            answer = await client.request(method, service.settings.public_url + path, headers={"X-Request-ID": "R1"})
            assert (answer.status_code, answer.json()["status_code"]) == (401, 2000), path
            assert answer.headers["X-Request-ID"] == "R1"


# ---- where results go -----------------------------------------------------------------------------------------------


@only_sqlite
@pytest.mark.parametrize(
    "response_url", ["https://a..b/", f"https://{'a' * 64}.example/", "https://xn--a.example/", "https://gone.example/"]
)
async def test_a_response_url_that_leads_nowhere_is_a_wrong_parameter_and_no_failure_of_ours(
    service: Service, monkeypatch: pytest.MonkeyPatch, response_url: str
) -> None:  # TR-19, TR-26, TR-35
    async with EmspSimulator(party=("NL", "MSP")) as emsp:
        with service.database.write() as connection:
            party = service.settings.our_party
            token = service.partners.invite(connection, "msp", party, service.clock())
        await emsp.register(f"{service.settings.public_url}/ocpi/versions", token)
        guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), resolve=nowhere)
        with monkeypatch.context() as patched:  # the service closes the one that it made
            patched.setattr(service.partnership, "guarded", guarded)
            asked = await emsp.command("START_SESSION", START, response_url)
        await guarded.aclose()
    assert (asked.reply.http_status, asked.reply.status_code) == (200, 2001)
    assert emsp.complaints == []


# ---- what a partner's own words may do ------------------------------------------------------------------------------


def test_an_address_in_a_header_that_cannot_be_read_harms_nobody() -> None:
    assert next_page("https://e/tokens", {"link": '<http://[>; rel="next"'}) == "http://["  # never the end of the list
    answer = Response(status=200, headers={"location": "http://["}, body=b'{"status_code":1000}')
    assert read(answer, "https://e/cdrs", NOON).ok


class Lost(EmspSimulator):
    """Its token list is said to be where nothing can be."""

    @property
    def endpoints(self) -> dict[tuple[str, str], str]:
        return {**super().endpoints, ("tokens", "SENDER"): "https://a..b/tokens"}


async def test_no_partner_keeps_another_from_being_pulled(world: World) -> None:  # TK-20, TY-18
    nonsense = {"default_profile_type": ["CHEAP"], "energy_contract": [], "language": {}}
    async with Lost(party=("NL", "LST")) as lost, EmspSimulator(party=("NL", "BAD")) as bad, EmspSimulator() as good:
        bad.issue_token("ODD", last_updated=AT, **nonsense)
        good.issue_token("FINE", last_updated=AT)
        for name, emsp in {"lost": lost, "bad": bad, "good": good}.items():
            world.trust(emsp, name)
        sync = TokenSync(world.database, world.partners, world.client, clock=world.clock, poll_s=0.02)
        async with running(sync.run()):
            await until(lambda: uids(world) == {"ODD", "FINE"})
        assert world.partner("lost").tokens_pulled_at is None


class Broken(TokenSync):
    """We fail over the first partner's list, in a way that nobody thought of."""

    async def pull(self, partner_id: int, *, full: bool = False) -> Pulled:
        if partner_id == 1:
            raise RuntimeError("unthought of")
        return await super().pull(partner_id, full=full)


async def test_a_failure_of_ours_over_one_list_is_nobody_elses(world: World) -> None:  # TK-20
    async with EmspSimulator(party=("NL", "ONE")) as first, EmspSimulator() as second:
        second.issue_token("FINE", last_updated=AT)
        assert [world.trust(first, "first"), world.trust(second, "second")] == [1, 2]
        sync = Broken(world.database, world.partners, world.client, clock=world.clock, poll_s=0.02)
        async with running(sync.run()):
            await until(lambda: uids(world) == {"FINE"})


def uids(world: World) -> set[str]:
    with world.database.read() as connection:
        return set(connection.execute(select(Token.uid)).scalars())


async def test_a_statement_that_fails_names_no_card(database: Database) -> None:
    with pytest.raises(DBAPIError) as failed, database.write() as connection:
        connection.execute(text("SELECT 1 FROM nowhere WHERE uid = :uid"), {"uid": "04AABBCCDD"})
    assert "04AABBCCDD" not in str(failed.value)
