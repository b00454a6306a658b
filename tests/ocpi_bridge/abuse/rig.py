"""The whole service on real sockets with a site, and partners of each kind, each with a card, a session and a bill."""

import asyncio
import contextlib
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy.orm import Session

from crud.partners import Terms
from csms.models import Base, Token
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.adapters import rows

LIMIT_S = 30.0
ENDED = rows.NOON + timedelta(minutes=45)
NOBODY = "http://127.0.0.1:1"  # refuses every connection at once

# Registered partners: name, party, role, version. What is theirs, and nobody else's to see, carries `-of-NAME`.
PARTNERS = {
    "one": ("DE", "TNM", "EMSP", "2.2.1"),
    "two": ("NL", "TWO", "EMSP", "2.2.1"),
    "hub": ("FR", "HUB", "HUB", "2.2.1"),
    "old": ("AT", "OLD", "EMSP", "2.1.1"),
}


@dataclass(frozen=True, kw_only=True)
class Rig:
    service: Service
    url: str  # of the listener
    token_a: str

    def header(self, who: str) -> dict[str, str]:
        """`who`: nobody, garbage, a (an invitation), or a partner's name."""
        tokens = {"garbage": "nobody's", "a": self.token_a, **{name: token_in(name) for name in PARTNERS}}
        return {"Authorization": f"Token {b64encode(tokens[who].encode()).decode()}"} if who in tokens else {}

    def secrets(self, besides: str = "") -> list[str]:
        """Tokens and ids that nobody but their owner may be told."""
        others = [name for name in PARTNERS if name != besides]
        return [f"-of-{name}" for name in others] + [token_out(besides)] * bool(besides)

    def client(self, who: str = "nobody") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"{self.url}/ocpi",
            headers=self.header(who),
            trust_env=False,
            verify=False,  # there is no TLS here, and its context takes longer than all requests
            timeout=LIMIT_S,
        )

    async def is_well(self) -> None:
        """Everybody is served as before: the process lives, and each partner reads its own."""
        for name, (*_, version) in PARTNERS.items():
            async with self.client(name) as client:
                told = (await client.get(f"/cpo/{version}/sessions?date_from=2020-01-01T00:00:00Z")).json()
                assert [entry["id"] for entry in told["data"]] == [f"session-of-{name}"], told


def token_in(name: str) -> str:
    return f"in-token-of-{name}"


def token_out(name: str) -> str:
    return f"out-token-of-{name}"


@contextlib.asynccontextmanager
async def abused(environment: Callable[..., None], **settings: str) -> AsyncIterator[Rig]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN=address, PUBLIC_URL=f"http://{address}", **settings)
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    try:
        token_a = await asyncio.to_thread(_open, service)
        yield Rig(service=service, url=f"http://{address}", token_a=token_a)
    finally:
        async with asyncio.timeout(LIMIT_S):
            await service.stop()


def _open(service: Service) -> str:
    now = datetime.now(UTC)
    _keep(service, rows.tariff(), rows.station(), rows.location(), rows.evse(), rows.connector())
    for number, name in enumerate(PARTNERS, start=1):
        owner = _partner(service, name, now)
        country, party, *_ = PARTNERS[name]
        card = {"uid": f"CARD-of-{name}", "type": "RFID", "contract_id": f"C-of-{name}", "issuer": name}
        snapshot = rows.SNAPSHOT | {"token": {**card, "country_code": country, "party_id": party}}
        _keep(
            service,
            Token(
                owner_id=owner,
                country_code=country,
                party_id=party,
                uid_key=card["uid"].casefold(),
                valid=True,
                whitelist="ALLOWED",
                created_at=now,
                last_updated=now,
                **card,
            ),
            rows.transaction(
                f"session-of-{name}", number=number, owner_id=owner, snapshot=snapshot, state="ended", ended_at=ENDED
            ),
            rows.charge_record(f"session-of-{name}", id=f"record-of-{name}", owner_id=owner, snapshot=snapshot),
        )
    with service.database.write() as connection:
        return service.partners.invite(connection, "invited", ("BE", "BEC"), now)


def _partner(service: Service, name: str, now: datetime) -> int:
    country, party, role, version = PARTNERS[name]
    terms = Terms(
        token=token_out(name),
        versions_url=f"{NOBODY}/versions",
        version=version,
        roles=[{"role": role, "country_code": country, "party_id": party, "business_details": {"name": name}}],
        endpoints=[],
    )
    with service.database.write() as connection:
        invitation = service.partners.invite(connection, name, ("BE", "BEC"), now)
        partner = service.partners.named(connection, name)
        assert service.partners.complete(
            connection, partner.id, expecting=invitation, token_in=token_in(name), terms=terms, now=now
        )
    return partner.id


def _keep(service: Service, *entries: Base | Any) -> None:
    with service.database.write() as connection, Session(connection) as session:
        for entry in entries:
            session.add(entry)
            session.flush()
