"""A card may be told under another spelling, once somebody has said so; never by itself (D02)."""

import pytest

from csms import tokens
from csms.database import Database
from csms.events import AuthorizationStatus
from csms.models import Token
from tests.csms.core_story import NOON, Story, told

CARD, REVERSED = "04A1B2C3D4", "D4C3B2A104"


def alias(story: Story, spelling: str, card: int = 1) -> bool:
    with story.database.write() as connection:
        return tokens.add_alias(connection, card, spelling, NOON)


async def test_an_alias_is_the_card_wherever_it_is_told(database: Database) -> None:  # D02
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card(CARD)
        await story.boot()
        await story.boot("CP2")
        assert (await story.tap(REVERSED)).status is AuthorizationStatus.INVALID
        assert alias(story, REVERSED)
        assert not alias(story, REVERSED.lower())
        assert (await story.tap(REVERSED.lower())).status is AuthorizationStatus.ACCEPTED
        started = await story.start(REVERSED)
        assert started.authorization.status is AuthorizationStatus.ACCEPTED
        assert (await story.tap(CARD, "CP2")).status is AuthorizationStatus.CONCURRENT_TX
        story.pass_time(minutes=10)
        ended = await story.end(started.transaction_id, 2_000_000, id_token=CARD)
        assert ended.authorization.status is AuthorizationStatus.ACCEPTED
        row = story.transaction()
        assert (row.token_id, row.flags) == (1, [])


async def test_an_alias_that_is_taken_away_is_unknown_again(database: Database) -> None:  # D02
    async with told(database) as story:
        story.site("CP1")
        story.card(CARD)
        await story.boot()
        alias(story, REVERSED)
        with database.write() as connection:
            assert tokens.aliases(connection, 1) == [REVERSED]
            assert tokens.remove_alias(connection, 1, REVERSED, NOON)
            assert not tokens.remove_alias(connection, 1, REVERSED, NOON)
        assert (await story.tap(REVERSED)).status is AuthorizationStatus.INVALID


async def test_an_alias_is_of_one_card_only(database: Database) -> None:  # D02
    async with told(database) as story:
        story.card(CARD)
        story.card("BBBB2222")
        assert alias(story, REVERSED)
        for spelling in (REVERSED, CARD, CARD.lower()):
            with pytest.raises(tokens.AliasTaken):
                alias(story, spelling, card=2)
        assert not alias(story, CARD)  # its own number
        with pytest.raises(ValueError, match="printable"):
            alias(story, "\u0000 ")


async def test_cards_are_found_by_number_and_alias_at_once(database: Database) -> None:
    async with told(database) as story:
        story.card(CARD, details={"energy_contract": {"supplier_name": "Grün"}})
        story.card("BBBB2222")
        alias(story, REVERSED)
        keys = [tokens.normalize(spelling) for spelling in (CARD, REVERSED, "BBBB2222", "unknown")]
        with database.read() as connection:
            found = tokens.by_key(connection, keys)
        assert {key: [card.id for card in cards] for key, cards in found.items()} == {
            keys[0]: [1],
            keys[1]: [1],
            keys[2]: [2],
        }
        (card,) = found[keys[1]]
        assert (card.uid, card.details, card.created_at) == (CARD, {"energy_contract": {"supplier_name": "Grün"}}, NOON)
        assert len(story.rows(Token)) == 2
