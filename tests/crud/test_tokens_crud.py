import asyncio
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from sqlalchemy import func, select, update

from crud import Crud
from crud.caller import Refusal
from crud.tokens import TokensCrud
from csms.models import JournalEntry, Token
from tests.adapters.field_tables import vector
from tests.adapters.rows import NOON
from tests.crud.network import OTHER, TNM, asked_by

TOKEN = vector("tokens__put")
UID = TOKEN["uid"]
HERE = {"country_code": "NL", "party_id": "TNM"}


class TokenType(StrEnum):
    rfid = "RFID"
    app_user = "APP_USER"


@pytest.fixture
def woken():
    return []


@pytest.fixture
def crud(database, woken):
    return Crud({"tokens": TokensCrud(database, wake=lambda: woken.append(1), clock=lambda: NOON)})


async def put(crud, body=TOKEN, *, caller=TNM, **where):
    where = HERE | where
    with asked_by(caller, method="PUT", body=body):
        known = await crud.get("tokens", None, body["uid"], **where)
        if known is None:
            return await crud.create("tokens", None, {}, **where)
        return await crud.update("tokens", None, {}, body["uid"], **where)


async def patch(crud, body, *, caller=TNM, uid=UID, **where):
    with asked_by(caller, method="PATCH", body=body):
        return await crud.update("tokens", None, {}, uid, **HERE | where)


async def get(crud, uid=UID, *, caller=TNM, **where):
    with asked_by(caller):
        found = await crud.get("tokens", None, uid, **HERE | where)
    return found.dict() if found is not None else None


def rows(database):
    with database.read() as connection:
        return connection.execute(select(Token.__table__).order_by(Token.id)).all()


async def test_a_new_token_is_created_then_updated(crud, database, woken):  # TK-01, TK-03
    first = await put(crud)
    again = await put(crud, TOKEN | {"visual_number": "V2", "last_updated": "2019-01-01T00:00:00Z"})

    assert (first.created, again.created) == (True, False)
    assert first.dict() == TOKEN
    assert (await get(crud))["visual_number"] == "V2"
    assert [row.owner_id for row in rows(database)] == [TNM.partner_id]
    assert len(woken) == 2
    with database.read() as connection:
        told = connection.execute(select(JournalEntry.type, JournalEntry.subject)).all()
    assert told == [("token_changed", str(rows(database)[0].id))] * 2


async def test_a_put_replaces_all_of_it(crud):  # TK-03, PU-04
    await put(crud)
    bare = {name: value for name, value in TOKEN.items() if name not in ("visual_number", "group_id")}

    await put(crud, bare | {"last_updated": "2019-01-01T00:00:00Z"})

    assert await get(crud) == bare | {"last_updated": "2019-01-01T00:00:00Z"}


async def test_an_older_put_is_acknowledged_and_not_applied(crud):  # TK-07
    await put(crud)

    answer = await put(crud, TOKEN | {"valid": False, "last_updated": "2014-01-01T00:00:00Z"})

    assert answer.created is False
    assert answer.dict() == await get(crud) == TOKEN


async def test_a_token_is_found_in_any_case(crud):  # TY-04, TK-01
    await put(crud, TOKEN | {"uid": "04aBcD"})

    assert (await get(crud, "04ABCD", country_code="nl", party_id="tnm"))["uid"] == "04aBcD"
    again = await put(crud, TOKEN | {"uid": "04ABCD", "last_updated": "2019-01-01T00:00:00Z"})
    assert again.created is False


async def test_the_type_is_part_of_the_key(crud, database):  # TK-01
    await put(crud)
    app = await put(crud, TOKEN | {"type": "APP_USER"}, token_type=TokenType.app_user)

    assert app.created is True
    assert len(rows(database)) == 2
    assert (await get(crud, token_type=TokenType.rfid))["type"] == "RFID"
    assert await get(crud, token_type="OTHER") is None


async def test_one_uid_at_two_partners_is_two_tokens(crud, database):  # TK-08, XT-06
    await put(crud)
    theirs = TOKEN | {"country_code": "FR", "party_id": "OTH", "valid": False}
    await put(crud, theirs, caller=OTHER, country_code="FR", party_id="OTH")

    assert [(row.owner_id, row.valid) for row in rows(database)] == [(1, True), (2, False)]
    assert await get(crud, caller=OTHER) is None


@pytest.mark.parametrize("verb", [put, patch])
async def test_another_partys_token_is_refused(crud, database, verb):  # TK-05, TR-23
    body = TOKEN | {"country_code": "FR", "party_id": "OTH"}
    with pytest.raises(Refusal) as refusal:
        await verb(crud, body, country_code="FR", party_id="OTH")

    assert refusal.value.http_status == 404
    assert rows(database) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (TOKEN | {"party_id": "ABC"}, "party_id"),
        (TOKEN | {"type": "OTHER"}, "type"),
        (TOKEN | {"valid": None}, "valid"),
        (TOKEN | {"last_updated": "yesterday"}, "last_updated"),
    ],
)
async def test_a_token_that_contradicts_its_address_or_itself_is_2001(crud, database, body, field):  # TK-05, TR-24
    with pytest.raises(Refusal) as refusal:
        await put(crud, body)

    assert (refusal.value.http_status, refusal.value.status_code) == (200, 2001)
    assert refusal.value.data == {"field": field}
    assert rows(database) == []


async def test_a_patch_changes_only_what_it_names(crud):  # TK-04
    await put(crud)

    await patch(crud, vector("tokens__patch"))
    await patch(crud, {"group_id": None, "issuer": "Shell", "last_updated": "2019-06-20T00:00:00Z"})

    expected = TOKEN | {"valid": False, "issuer": "Shell", "last_updated": "2019-06-20T00:00:00Z"}
    del expected["group_id"]
    assert await get(crud) == expected


async def test_a_stale_patch_is_acknowledged_and_not_applied(crud):  # TK-07
    await put(crud)

    await patch(crud, {"valid": False, "last_updated": "2014-06-20T00:00:00Z"})

    assert await get(crud) == TOKEN


async def test_a_patch_of_an_unknown_token_is_404_and_without_time_2001(crud):  # TK-04
    for body, code in ((vector("tokens__patch"), (404, 2004)),):
        with pytest.raises(Refusal) as refusal:
            await patch(crud, body)
        assert (refusal.value.http_status, refusal.value.status_code) == code
    await put(crud)
    with pytest.raises(Refusal) as refusal:
        await patch(crud, {"valid": False})
    assert (refusal.value.http_status, refusal.value.status_code) == (200, 2001)
    assert (await get(crud))["valid"] is True


async def test_what_only_the_operator_says_of_a_card_stays(crud, database):
    await put(crud)
    with database.write() as connection:
        connection.execute(update(Token).values(exempt=True, expires_at=datetime(2030, 1, 1, tzinfo=UTC)))

    await put(crud, TOKEN | {"valid": False, "last_updated": "2019-01-01T00:00:00Z"})

    row = rows(database)[0]
    assert (row.valid, row.exempt, row.expires_at) == (False, True, datetime(2030, 1, 1, tzinfo=UTC))


async def test_one_new_token_sent_many_times_at_once_is_one(crud, database):
    answers = await asyncio.gather(*(put(crud) for _ in range(8)))

    assert [answer.dict() for answer in answers] == [TOKEN] * 8
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(Token)).scalar_one() == 1
