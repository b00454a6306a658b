"""What partners asked goes with its callback, in one transaction, when it is old enough."""

from datetime import timedelta

from sqlalchemy import insert, select

from crud.models import CommandCallback, Partner
from crud.retention import delete_partners_requests
from csms.database import Database
from csms.models import RemoteRequest
from tests.csms.core_story import NOON


def test_an_old_request_of_a_partner_goes_with_its_callback(database: Database) -> None:
    with database.write() as connection:
        partner = insert(Partner).values(
            name="P", state="registered", country_code="BE", party_id="BEC", roles=[], endpoints=[], created_at=NOON
        )
        partner_id = connection.execute(partner.returning(Partner.id)).scalar_one()
        for id_, days, by in (("old", 401, "partner:1"), ("young", 399, "partner:1"), ("ours", 401, "cli:ann")):
            at = NOON - timedelta(days=days)
            row = {"kind": "stop_remotely", "station_id": "CP1", "command": {}, "state": "accepted", "deadline_at": at}
            connection.execute(insert(RemoteRequest).values(id=id_, requested_by=by, created_at=at, **row))
            if by != "cli:ann":
                where = {
                    "country_code": "NL",
                    "party_id": "EMS",
                    "response_url": "https://emsp.example/",
                    "created_at": at,
                }
                told = insert(CommandCallback).values(
                    request_id=id_, partner_id=partner_id, command="STOP_SESSION", **where
                )
                connection.execute(told)
        before = NOON - timedelta(days=400)
        assert delete_partners_requests(connection, before, 10) == 1
        assert delete_partners_requests(connection, before, 10) == 0
        assert sorted(connection.execute(select(RemoteRequest.id)).scalars()) == ["ours", "young"]
        assert connection.execute(select(CommandCallback.request_id)).scalars().all() == ["young"]
