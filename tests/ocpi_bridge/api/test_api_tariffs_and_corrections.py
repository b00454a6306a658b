"""Tariffs over the API, and bills that a person takes back or corrects through a program."""

from decimal import Decimal
from typing import Any

import httpx
import yaml
from sqlalchemy import insert

from crud.models import Partner
from csms import people
from csms.billing.charge_records import bill
from csms.events import StopReason
from csms.import_network import import_network
from csms.journal import Subscriber, Wake
from csms.models import ChargeRecord, RefundEvaluation, Tariff
from csms.network_file import read
from csms.users import Role
from tests.csms.core_story import told
from tests.ocpi_bridge.api.rig import NOW, Rig, problem
from tests.ocpi_bridge.test_tariffs_at_partners import site, tariff

WHY = "the meter was never calibrated"


async def billed(rig: Rig, **end: Any) -> str:
    """0.4 kWh at 0.25 and 20 % VAT; `ann` may operate, `vic` may not."""
    with rig.database.write() as connection:
        people.add(connection, "ann", Role.OPERATOR, NOW)
        people.add(connection, "vic", Role.VIEWER, NOW)
    async with told(rig.database) as story:
        story.site("CP1")
        story.tariff()
        story.card()
        await story.boot()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=40)
        await story.end(number, 1_400_000, **end)
        Subscriber("billing", rig.database, bill, wake=Wake()).catch_up()
        (record,) = story.rows(ChargeRecord)
    return str(record.id)


def records(rig: Rig) -> list[Any]:
    table = ChargeRecord.__table__
    with rig.database.read() as connection:
        return list(connection.execute(table.select().order_by(table.c.created_at, table.c.credit.desc(), table.c.id)))


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await client.post(f"/api/v1/{path}", json=body)


async def test_a_person_credits_a_bill_through_a_program(rig: Rig) -> None:  # CD-07
    id_ = await billed(rig)
    path, words = f"charge-records/{id_}/credit", {"reason": WHY, "person": "ann"}
    async with rig.client(Role.VIEWER) as client:
        problem(await post(client, path, **words), 403, "not_allowed")
    async with rig.client(Role.OPERATOR) as client:
        for nobody in ("eve", "vic"):
            problem(await post(client, path, reason=WHY, person=nobody), 403, "needs_a_person")
        problem(await post(client, path, reason=WHY), 422, "bad_body")
        problem(await post(client, path, person="ann", reason=""), 422, "bad_body")
        problem(await post(client, "charge-records/nothing/credit", **words), 404, "unknown_charge_record")
        response = await post(client, path, **words)
        assert response.status_code == 200, response.text
        assert response.json()["charge_record"] is None
        told_ = problem(await post(client, path, **words), 409, "not_creditable")
        assert "was credited before, by person:ann (api:operator)" in told_["detail"]
        shown = (await client.get(f"/api/v1/charge-records/{response.json()['credit']}")).json()["record"]
    assert (shown["credit"], shown["credit_reference_id"], shown["total_incl_vat"]) == (True, id_, "-0.1200")
    (kept,) = [row for row in records(rig) if row.credit]
    assert (kept.decided_by, kept.decision) == ("person:ann (api:operator)", WHY)


async def test_a_person_corrects_a_bill_through_a_program(rig: Rig) -> None:  # CD-08
    id_ = await billed(rig)
    async with rig.client(Role.OPERATOR) as client:
        path, words = f"charge-records/{id_}/correct", {"reason": WHY, "person": "ann"}
        problem(await post(client, path, **words), 409, "invalid_correction")
        problem(await post(client, path, **words, tariff="nothing"), 409, "invalid_correction")
        problem(await post(client, path, **words, energy_mwh=-1), 422, "bad_body")
        response = await post(client, path, **words, energy_mwh=200_000)
        assert response.status_code == 200, response.text
        made = response.json()
    first, credit, second = sorted(records(rig), key=lambda row: (row.id != id_, not row.credit))
    assert (made["credit"], made["charge_record"]) == (credit.id, second.id)
    assert (second.corrects, second.energy_mwh, second.total_incl_vat) == (first.id, 200_000, Decimal("0.06"))


async def test_a_refund_takes_a_bill_back_or_lowers_it(rig: Rig) -> None:  # E05
    await billed(rig, reason=StopReason.POWER_LOSS)
    (refund,) = _rows(rig, RefundEvaluation)
    path, words = f"reviews/refund/{refund.id}/grant", {"reason": WHY}
    async with rig.client(Role.OPERATOR) as client:
        problem(await post(client, path, **words, amount="0.05"), 403, "needs_a_person")
        both = {"credit": True, "amount": "0.05", "person": "ann"}
        problem(await post(client, path, **words, **both), 409, "invalid_correction")
        for amount in ("-1", "NaN", "0.000001", "1e400", 0.05):
            problem(await post(client, path, **words, amount=amount, person="ann"), 422, "bad_body")
        for amount in ("0", "0.0", "1", "999999999.9999"):
            problem(await post(client, path, **words, amount=amount, person="ann"), 409, "invalid_correction")
        response = await post(client, path, **words, amount="0.05", person="ann")
        assert response.status_code == 200, response.text
        told_ = response.json()
        problem(await post(client, path, **words), 409, "already_decided")
    kept = {row.id: row.total_incl_vat for row in records(rig)}
    assert kept[told_["charge_record"]] == Decimal("0.07")
    assert kept[told_["credit"]] == Decimal("-0.12")


async def test_tariffs_are_told_with_whom_they_are_for_and_where(rig: Rig) -> None:  # TA-06
    with rig.database.write() as connection:
        connection.execute(
            insert(Partner).values(
                name="tnm", state="registered", country_code="BE", party_id="BEC", roles=[], created_at=NOW
            )
        )
        words = {"default_party": ("BE", "BEC"), "operator_name": "Operator", "now": NOW}
        document = {
            "tariffs": [tariff("deal", partners=["tnm"]), tariff("public"), tariff("own", partners=[])],
            "locations": [site("deal", "public")],
        }
        import_network(connection, read(yaml.safe_dump(document)), **words)
        document["tariffs"] = [tariff("public", "0.30")]
        import_network(connection, read(yaml.safe_dump(document)), **words)
    async with rig.client(Role.VIEWER) as client:

        async def listed(**query: Any) -> list[tuple[str, int, str]]:
            page = (await client.get("/api/v1/tariffs", params=query)).json()
            return [(row["tariff_id"], row["version"], row["state"]) for row in page["items"]]

        deal, own, public = ("deal", 1, "in_force"), ("own", 1, "in_force"), ("public", 2, "in_force")
        assert await listed() == [deal, own, public]
        assert await listed(partner="tnm") == [deal, public]
        assert await listed(tariff="PUBLIC", all=True) == [("public", 1, "older"), public]
        first = (await client.get("/api/v1/tariffs", params={"limit": 1})).json()
        assert (await client.get("/api/v1/tariffs", params={"limit": 2, "after": first["next"]})).json()["next"] is None
        problem(await client.get("/api/v1/tariffs?partner=nobody"), 404, "unknown_partner")
        id_ = first["items"][0]["id"]
        detail = (await client.get(f"/api/v1/tariffs/{id_}")).json()
        assert (detail["tariff"]["partners"], detail["evses"], detail["details"]) == (["tnm"], ["CP001-1"], {})
        assert detail["elements"][0]["price_components"][0]["price"] == "0.25"
        problem(await client.get("/api/v1/tariffs/999"), 404, "unknown_tariff")
        problem(await client.post(f"/api/v1/tariffs/{id_}/remove"), 403, "not_allowed")
    async with rig.client(Role.OPERATOR) as client:
        refused = problem(await client.post(f"/api/v1/tariffs/{id_}/remove"), 409, "tariff_in_use")
        assert refused["detail"] == "it is named by CP001-1"
        own_id = next(row.id for row in _rows(rig, Tariff) if row.tariff_id == "own")
        assert (await client.post(f"/api/v1/tariffs/{own_id}/remove")).status_code == 204
        problem(await client.post(f"/api/v1/tariffs/{own_id}/remove"), 404, "unknown_tariff")
        assert len((await client.get("/api/v1/tariffs")).json()["items"]) == 2


def _rows(rig: Rig, model: Any) -> list[Any]:
    with rig.database.read() as connection:
        return list(connection.execute(model.__table__.select()))
