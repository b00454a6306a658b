"""The cards of a list are those that may charge without a question, those first who charged last."""

from datetime import timedelta
from typing import Any

from csms import tokens
from csms.database import Database
from csms.events import AuthorizationReply, AuthorizationStatus
from csms.local_list.cards import read_roll
from tests.csms.core_story import NOON, told


async def test_the_cards_are_those_that_may_charge_without_a_question(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        roaming: dict[str, Any] = {"owner_id": 7, "country_code": "NL", "party_id": "EMS"}
        other: dict[str, Any] = {"owner_id": 8, "country_code": "DE", "party_id": "EMT"}
        story.card("OWN", group_id="FAMILY", expires_at=NOON + timedelta(days=1))
        story.card("BLOCKED", valid=False)
        story.card("EXPIRED", expires_at=NOON)
        story.card("N" * 20)
        story.card("N" * 21)
        story.card("ÉTÉ")
        for whitelist in ("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"):
            story.card(f"P-{whitelist}", whitelist=whitelist, **roaming)
        story.card("P-APP", type="APP_USER", **roaming)
        story.card("SHARED", **roaming)
        story.card("shared", **other)
        story.card("ONE-GOOD", **roaming)
        story.card("one-good", **other, valid=False)
        story.card("OWN-TOO", **roaming)
        story.card("own-too")
        with database.read() as connection:
            roll = read_roll(connection, NOON)
        assert [one.id_token for one in roll.entries] == [
            "own-too",
            "ONE-GOOD",
            "P-ALLOWED_OFFLINE",
            "P-ALLOWED",
            "P-ALWAYS",
            "N" * 20,
            "OWN",
        ]
        assert roll.entries[-1].authorization == AuthorizationReply(
            status=AuthorizationStatus.ACCEPTED, group_id="FAMILY", expires_at=NOON + timedelta(days=1)
        )


async def test_a_card_is_listed_under_each_spelling_that_means_it(database: Database) -> None:  # D02, D04
    async with told(database) as story:
        story.site("CP1")
        story.card("A-NUMBER-THAT-IS-TOO-LONG")
        story.card("B")
        story.card("C", valid=False)
        with database.write() as connection:
            for token_id, alias in ((1, "a-short"), (1, "an-alias-that-is-too-long"), (2, "b-2"), (3, "c-2")):
                tokens.add_alias(connection, token_id, alias, NOON)
        story.card("b-2", owner_id=7, country_code="NL", party_id="EMS")
        story.card("A-SHORT", type="OTHER")  # an own one, but younger
        with database.read() as connection:
            assert [one.id_token for one in read_roll(connection, NOON).entries] == ["B", "b-2", "a-short"]


async def test_whoever_charged_last_comes_first(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        for card in ("A", "B", "C", "D"):
            story.card(card)
        for card in ("C", "A", "C", "B", "A"):
            started = await story.start(card)
            story.pass_time(minutes=5)
            await story.end(started.transaction_id, 1_000_000)
        with database.read() as connection:
            assert [one.id_token for one in read_roll(connection, story.now).entries] == ["A", "B", "C", "D"]
