"""Who the partners are: found by their tokens, sealed at rest, registered by whoever is first."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crud.caller import PresentedToken
from crud.hub_clients import ClientInfo, replace
from crud.models import Partner
from crud.partners import (
    AlreadyRegistered,
    Partners,
    PartnerState,
    Terms,
    UnknownPartner,
    new_token,
)
from csms.database import Database
from csms.sealing import SealBroken, Vault

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
US = ("BE", "BEC")


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault("a key for tests")


@pytest.fixture
def partners(database: Database, vault: Vault) -> Partners:
    return Partners(database, vault, clock=lambda: NOON)


def said(token: str, *, is_raw: bool = False) -> PresentedToken:
    return PresentedToken(token=token, is_raw=is_raw)


def terms(token: str = "theirs", *roles: str) -> Terms:
    listed = [{"role": role, "country_code": "DE", "party_id": "TNM"} for role in roles or ("EMSP",)]
    endpoints = [{"identifier": "tokens", "role": "SENDER", "url": "https://emsp.example/tokens"}]
    return Terms(
        token=token, versions_url="https://emsp.example/versions", version="2.2.1", roles=listed, endpoints=endpoints
    )


def registered(database: Database, partners: Partners, name: str = "emsp", **options: Any) -> int:
    with database.write() as connection:
        token_a = partners.invite(connection, name, US, NOON, **options)
        partner = partners.named(connection, name)
        assert partners.complete(
            connection, partner.id, expecting=token_a, token_in=f"C-{name}", terms=terms(), now=NOON
        )
    return partner.id


# ---- the vault ------------------------------------------------------------------------------------------------------


def test_tokens_fit_ocpi_and_none_is_like_another() -> None:  # CR-30
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) <= 64 and all("!" <= c <= "~" for c in token) for token in tokens)


def test_a_sealed_token_opens_again_after_a_restart_and_only_with_the_key(vault: Vault) -> None:
    sealed = vault.seal("secret")
    assert "secret" not in sealed
    assert Vault("a key for tests").open(sealed) == "secret"
    with pytest.raises(SealBroken, match="SECRET_KEY"):
        Vault("another key").open(sealed)


def test_digests_find_equal_tokens_and_need_the_key(vault: Vault) -> None:
    assert vault.digest("t") == Vault("a key for tests").digest("t")
    assert vault.digest("t") not in (Vault("another key").digest("t"), vault.digest("T"))


def test_no_token_shows_in_what_logs_would_print(database: Database, partners: Partners) -> None:
    registered(database, partners)
    with database.read() as connection:
        shown = repr(partners.named(connection, "emsp")) + repr(terms("their-secret"))
    assert not any(secret in shown for secret in ("C-emsp", "theirs", "their-secret"))


# ---- who calls ------------------------------------------------------------------------------------------------------


async def test_a_token_says_who_calls_and_what_it_may(database: Database, partners: Partners) -> None:  # TR-08, TR-09
    with database.write() as connection:
        token_a = partners.invite(connection, "invited", US, NOON)
    partner_id = registered(database, partners)
    invited, known = await partners.caller([said(token_a)]), await partners.caller([said("C-emsp")])
    assert invited is not None
    assert (invited.name, invited.token_state, invited.roles) == ("invited", "A", ())
    assert known is not None
    assert (known.partner_id, known.token_state, known.our_party) == (partner_id, "C", US)
    assert known.roles == (("DE", "TNM", "EMSP"),)


@pytest.mark.parametrize("token", ["", "c-emsp", "C-emsp ", "theirs"])
async def test_anything_else_is_nobody(database: Database, partners: Partners, token: str) -> None:  # TR-07, CR-25
    registered(database, partners)
    assert await partners.caller([said(token)]) is None
    assert await partners.caller([]) is None


async def test_a_raw_token_counts_only_for_a_partner_that_may_send_one(  # TR-05, TR-06
    database: Database, partners: Partners
) -> None:
    registered(database, partners, "strict")
    registered(database, partners, "old", accept_raw_token=True)
    assert await partners.caller([said("junk"), said("C-strict", is_raw=True)]) is None
    old = await partners.caller([said("junk"), said("C-old", is_raw=True)])
    assert old is not None
    assert old.name == "old"
    assert await partners.caller([said("C-strict"), said("C-strict", is_raw=True)]) is not None


# ---- coming and going -----------------------------------------------------------------------------------------------


async def test_a_new_invitation_makes_the_older_one_void(database: Database, partners: Partners) -> None:  # CR-01
    with database.write() as connection:
        first = partners.invite(connection, "emsp", US, NOON)
        second = partners.invite(connection, "emsp", US, NOON)
        assert len(partners.all(connection)) == 1
    assert await partners.caller([said(first)]) is None
    assert await partners.caller([said(second)]) is not None


def test_a_registered_partner_cannot_be_invited(database: Database, partners: Partners) -> None:
    registered(database, partners)
    with database.write() as connection, pytest.raises(AlreadyRegistered):
        partners.invite(connection, "emsp", US, NOON)


def test_a_token_completes_one_registration(database: Database, partners: Partners) -> None:  # CR-05, CR-12
    with database.write() as connection:
        token_a = partners.invite(connection, "emsp", US, NOON)
        partner = partners.named(connection, "emsp")
        again = {"expecting": token_a, "terms": terms(), "now": NOON}
        assert partners.complete(connection, partner.id, token_in="first", **again)
        assert not partners.complete(connection, partner.id, token_in="second", **again)
        assert partners.named(connection, "emsp").token_in == "first"


async def test_a_pending_token_is_good_for_the_call_back_and_ends_with_the_attempt(  # CR-22, CR-26
    database: Database, partners: Partners
) -> None:
    partner_id = registered(database, partners)
    with database.write() as connection:
        token = partners.open_pending(connection, partner_id)
    waiting = await partners.caller([said(token)])
    assert waiting is not None
    assert waiting.token_state == "A"
    known = await partners.caller([said("C-emsp")])
    assert known is not None
    assert known.token_state == "C"
    with database.write() as connection:
        partners.close_pending(connection, partner_id, token)
    assert await partners.caller([said(token)]) is None
    with database.read() as connection:
        assert partners.get(connection, partner_id).state is PartnerState.REGISTERED


def test_a_stranger_whose_registration_failed_is_forgotten_and_an_invited_one_is_not(
    database: Database, partners: Partners
) -> None:
    with database.write() as connection:
        partners.invite(connection, "invited", US, NOON)
        for name in ("invited", "stranger"):
            partner_id = partners.offer(connection, name, US, NOON)
            partners.close_pending(connection, partner_id, partners.open_pending(connection, partner_id))
        assert [partner.name for partner in partners.all(connection)] == ["invited"]
        with pytest.raises(UnknownPartner):
            partners.named(connection, "stranger")


async def test_who_leaves_has_no_token_of_either_direction(database: Database, partners: Partners) -> None:  # CR-10
    partner_id = registered(database, partners)
    with database.write() as connection:
        partners.leave(connection, partner_id)
        row = connection.execute(Partner.__table__.select()).one()
        assert partners.registered(connection) == []
    assert (row.token_in, row.token_out, row.pending_in, row.token_in_digest) == (None, None, None, None)
    assert await partners.caller([said("C-emsp")]) is None


def test_a_partner_sealed_with_another_key_is_left_out_and_harms_no_other(
    database: Database, partners: Partners
) -> None:
    registered(database, Partners(database, Vault("the key of last year"), clock=lambda: NOON), "unreadable")
    registered(database, partners, "emsp")
    with database.read() as connection:
        assert [partner.name for partner in partners.registered(connection)] == ["emsp"]


def test_a_hub_speaks_for_its_clients(database: Database, partners: Partners) -> None:  # CR-33, CR-34
    partner_id = registered(database, partners)
    with database.write() as connection:
        emsp = partners.get(connection, partner_id)
        partners.complete(connection, partner_id, expecting="C-emsp", token_in="C2", terms=terms("t", "HUB"), now=NOON)
        hub = partners.get(connection, partner_id)
    assert emsp.speaks_for("de", "tnm")
    assert not emsp.speaks_for("FR", "TNM")
    assert hub.speaks_for("FR", "XYZ")


def test_who_is_an_operator_alone_brings_no_cards(database: Database, partners: Partners) -> None:  # CR-34
    partner_id = registered(database, partners)
    told = [("FR", "OPS", "CPO"), ("FR", "TWO", "CPO"), ("FR", "TWO", "EMSP"), ("FR", "NAV", "NSP")]
    clients = [
        ClientInfo(party=(country, party), role=role, status="CONNECTED", last_updated=NOON)
        for country, party, role in told
    ]
    with database.write() as connection:
        partners.complete(connection, partner_id, expecting="C-emsp", token_in="C2", terms=terms("t", "CPO"), now=NOON)
        assert not partners.get(connection, partner_id).speaks_for("DE", "TNM")
        partners.complete(connection, partner_id, expecting="C2", token_in="C3", terms=terms("t", "HUB"), now=NOON)
        replace(connection, partner_id, clients, NOON, NOON)
        hub = partners.get(connection, partner_id)
        caller = partners.find(connection, [said("C3")])
    assert caller is not None
    for known in (hub, caller):
        assert [known.speaks_for("FR", party) for party in ("OPS", "TWO", "NAV", "XYZ")] == [False, True, True, False]
        assert known.speaks_for("DE", "TNM")  # the hub's own
