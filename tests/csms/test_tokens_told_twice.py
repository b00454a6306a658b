"""A card that its owner tells twice at once, by a list and by a command, is one card."""

import threading

from sqlalchemy import select

from csms.database import Database
from csms.models import Token
from csms.tokens import TokenRecord, put
from tests.csms.core_story import NOON

CARD = TokenRecord(
    owner_id=1,
    country_code="NL",
    party_id="TNM",
    uid="04A1B2C3D4",
    contract_id="NL-TNM-1",
    issuer="TNM",
    valid=True,
    last_updated=NOON,
)


def test_whoever_is_second_finds_the_card_of_the_first(database: Database) -> None:  # TK-07
    told: list[str] = []

    def second() -> None:
        with database.write() as connection:
            told.append(put(connection, CARD, NOON))

    beside = threading.Thread(target=second)
    with database.write() as connection:
        told.append(put(connection, CARD, NOON))
        beside.start()
        beside.join(0.3)  # it waits for us, or has not begun: either way it is second
    beside.join(30)
    assert told == ["created", "updated"]
    with database.read() as connection:
        assert len(connection.execute(select(Token.id)).all()) == 1
