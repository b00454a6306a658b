"""Partners write their own tokens and nobody else's, over HTTP."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ocpi_bridge.conformance.refusing import refused_field

VECTORS = Path(__file__).parents[2] / "vectors" / "ocpi" / "2.2.1"
TOKENS = "/cpo/2.2.1/tokens"
AT = f"{TOKENS}/NL/TNM/012345678"
REQUIRED = ("country_code", "party_id", "uid", "type", "contract_id", "issuer", "valid", "whitelist", "last_updated")


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"tokens__{name}.json").read_text())
    return found


def stored(world: Any) -> dict[str, Any]:
    (token,) = world.crud.tokens.values()
    return dict(token)


def verbs(world: Any) -> list[str]:
    return [verb for verb, _, _, _ in world.crud.calls]


@pytest.mark.parametrize("name", ["put", "1_app_user", "2_full_rfid"])
def test_the_examples_of_the_specification_are_kept_whole(
    hub: httpx.Client, world: Any, name: str
) -> None:  # TK-06, XT-04
    token = vector(name)
    url = f"{TOKENS}/{token['country_code']}/{token['party_id']}/{token['uid']}?type={token['type']}"
    answer = hub.put(url, json=token)
    assert (answer.status_code, answer.json()["status_code"]) == (201, 1000)
    assert {name: value for name, value in stored(world).items() if value is not None} == token
    assert hub.get(url).json()["data"] == token


def test_created_token_is_200(partner: httpx.Client, token: dict[str, Any]) -> None:  # TR-21, TK-03
    assert partner.put(AT, json=token).status_code == 201
    assert partner.put(AT, json=token).status_code == 200


def test_texts_that_are_somewhat_too_long_are_taken(
    partner: httpx.Client, world: Any, token: dict[str, Any]
) -> None:  # TY-07
    long = token | {"contract_id": "C" * 39, "issuer": "I" * 65, "visual_number": "V" * 255}
    assert partner.put(AT, json=long).status_code == 201
    assert {name: stored(world)[name] for name in ("contract_id", "issuer", "visual_number")}.items() <= long.items()
    assert refused_field(partner.put(AT, json=token | {"issuer": "I" * 256})) == "issuer"
    assert refused_field(partner.put(AT, json=token | {"country_code": "NLD"})) == "country_code"


class Upserted(dict[str, Any]):
    created: bool


@pytest.mark.parametrize(("was_there", "created", "status"), [(False, False, 200), (True, True, 201)])
def test_crud_has_the_last_word_on_what_was_created(
    partner: httpx.Client, world: Any, token: dict[str, Any], was_there: bool, created: bool, status: int
) -> None:  # TK-03: another worker may have been faster
    if was_there:
        partner.put(AT, json=token)

    async def upsert(*_: Any, **__: Any) -> Upserted:
        answer = Upserted(token)
        answer.created = created
        return answer

    world.crud.create = world.crud.update = upsert
    assert partner.put(AT, json=token).status_code == status


def test_written_token_echoed(partner: httpx.Client, token: dict[str, Any]) -> None:  # TR-16
    assert "data" not in partner.put(AT, json=token).json()
    assert "data" not in partner.patch(AT, json=vector("patch")).json()


def test_ids_lower_cased(partner: httpx.Client, world: Any, token: dict[str, Any]) -> None:  # TY-04, TK-10
    partner.put(f"{TOKENS}/nl/tnm/aBc", json={**token, "uid": "aBc", "contract_id": "NL-Tnm-1"})
    assert (stored(world)["uid"], stored(world)["contract_id"], stored(world)["party_id"]) == ("aBc", "NL-Tnm-1", "TNM")
    assert partner.get(f"{TOKENS}/NL/TNM/AbC").json()["data"]["uid"] == "aBc"


def test_crud_gets_builtin_types(partner: httpx.Client, world: Any) -> None:
    token = {**vector("2_full_rfid"), "country_code": "NL"}
    assert partner.put(f"{TOKENS}/NL/TNM/12345678905880", json=token).status_code == 201

    def types(value: Any) -> set[type]:
        return set().union(*map(types, value.values())) if isinstance(value, dict) else {type(value)}

    assert types(stored(world)) == {str, bool}
    assert {type(world.crud.calls[-1][3][name]) for name in ("country_code", "party_id")} == {str}


@pytest.mark.parametrize("field", REQUIRED)
def test_invalid_object_is_422(partner: httpx.Client, world: Any, token: dict[str, Any], field: str) -> None:  # TK-06
    for broken in ({k: v for k, v in token.items() if k != field}, {**token, field: None}):
        assert refused_field(partner.put(AT, json=broken)) == field
    assert world.crud.calls == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("contract_id", "x" * 256),
        ("contract_id", "é"),
        ("issuer", "x" * 256),
        ("issuer", 5),
        ("visual_number", ["x"]),
        ("valid", "maybe"),
        ("whitelist", "SOMETIMES"),
        ("type", "EMAID"),
        ("language", "eng"),
        ("energy_contract", "none"),
        ("energy_contract", {"contract_id": "1"}),
        ("last_updated", "yesterday"),
        ("last_updated", "2026-02-30T00:00:00Z"),
        ("last_updated", "0001-01-01T00:00:00+23:00"),
    ],
)
def test_what_cannot_be_read_is_2001_and_names_the_field(
    partner: httpx.Client, world: Any, token: dict[str, Any], field: str, value: Any
) -> None:  # TR-26, TR-29, TY-06
    assert refused_field(partner.put(AT, json={**token, field: value})).split(".")[0] == field
    assert world.crud.calls == []


def test_number_as_time_is_server_error(partner: httpx.Client, token: dict[str, Any]) -> None:  # TR-26
    for value in (5, 1.5, True, [], {}):
        assert refused_field(partner.put(AT, json={**token, "last_updated": value})) == "last_updated"


def test_control_characters_accepted(partner: httpx.Client, world: Any, token: dict[str, Any]) -> None:  # TY-05
    for text in ("a\nb", "a\rb", "a\tb", "\x00", "a\x7f", "a\u2028b"):
        assert refused_field(partner.put(AT, json={**token, "issuer": text})) == "issuer"
        assert refused_field(partner.put(AT, json={**token, "contract_id": text})) == "contract_id"
    assert world.crud.calls == []
    assert partner.put(AT, json={**token, "issuer": "Zoë 🚗 GmbH"}).status_code == 201


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.25", "2026-01-01T00:00:00.250Z"),
        ("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123Z"),
        ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00Z"),
    ],
)
def test_offset_not_converted_to_utc(
    partner: httpx.Client, world: Any, token: dict[str, Any], given: str, kept: str
) -> None:  # TY-01, TY-02, TY-03
    partner.put(AT, json={**token, "last_updated": given})
    assert stored(world)["last_updated"] == kept


def test_unknown_fields_and_nulls_are_no_harm(
    partner: httpx.Client, world: Any, token: dict[str, Any]
) -> None:  # TY-11, TY-16
    answer = partner.put(AT, json={**token, "group_id": None, "energy_contract": None, "colour": {"deep": [1]}})
    assert answer.status_code == 201
    assert "colour" not in stored(world)


@pytest.mark.parametrize(
    ("field", "value"), [("uid", "9"), ("party_id", "XXX"), ("country_code", "DE"), ("type", "OTHER")]
)
def test_address_and_body_may_differ(
    partner: httpx.Client, world: Any, token: dict[str, Any], field: str, value: str
) -> None:  # TR-24, TK-05, RT-16
    assert refused_field(partner.put(AT, json={**token, field: value})) == field
    change = {"last_updated": token["last_updated"], field: value}
    assert refused_field(partner.patch(AT, json=change)) == field
    assert world.crud.calls == []


def test_foreign_party_in_the_address(partner: httpx.Client, world: Any, token: dict[str, Any]) -> None:  # TR-23, XT-06
    foreign = {**token, "country_code": "DE", "party_id": "XXX"}
    for method, body in (("PUT", foreign), ("PATCH", vector("patch")), ("GET", None)):
        answer = partner.request(method, f"{TOKENS}/DE/ABC/012345678", json=body)
        assert answer.status_code == 404
        assert answer.json()["status_code"] == 2000
    assert world.crud.calls == []


def test_a_hub_may_bring_the_tokens_of_its_clients(hub: httpx.Client, token: dict[str, Any]) -> None:  # CR-34
    assert hub.put(AT, json=token).status_code == 201


def test_token_type_misnamed(partner: httpx.Client, world: Any, token: dict[str, Any]) -> None:  # TK-01, TK-08
    assert partner.put(AT, json=token).status_code == 201
    assert partner.put(f"{AT}?type=APP_USER", json={**token, "type": "APP_USER", "issuer": "app"}).status_code == 201
    assert partner.get(AT).json()["data"]["issuer"] == "TheNewMotion"
    assert partner.get(f"{AT}?type=RFID").json()["data"]["issuer"] == "TheNewMotion"
    assert partner.get(f"{AT}?type=APP_USER").json()["data"]["issuer"] == "app"
    assert partner.get(f"{AT}?type=OTHER").status_code == 404
    assert refused_field(partner.get(f"{AT}?type=BOGUS")) == "type"


def test_a_token_that_the_caller_does_not_have_is_404(partner: httpx.Client) -> None:  # TR-20, TK-04
    for answer in (partner.get(AT), partner.patch(AT, json=vector("patch"))):
        assert (answer.status_code, answer.json()["status_code"]) == (404, 2004)


def test_patch_changes_what_it_names_only(partner: httpx.Client, world: Any) -> None:  # TK-04
    token = vector("put")
    partner.put(AT, json=token)
    answer = partner.patch(AT, json={"issuer": "Another", "last_updated": "2026-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    expected = {**token, "issuer": "Another", "last_updated": "2026-01-01T00:00:00Z"}
    assert {name: value for name, value in stored(world).items() if value is not None} == expected
    assert world.crud.seen[-1][1].body == {"issuer": "Another", "last_updated": "2026-01-01T00:00:00Z"}
    assert partner.patch(AT, json=vector("patch")).status_code == 200
    assert stored(world)["valid"] is False


def test_patch_without_last_updated(partner: httpx.Client, world: Any, token: dict[str, Any]) -> None:  # TR-26, TK-04
    partner.put(AT, json=token)
    before = verbs(world)
    assert refused_field(partner.patch(AT, json={"valid": False})) == "last_updated"
    assert refused_field(partner.patch(AT, json={"valid": False, "last_updated": None})) == "last_updated"
    assert verbs(world) == before


def test_patch_cannot_clear(partner: httpx.Client, world: Any) -> None:
    partner.put(AT, json=vector("put"))
    partner.patch(AT, json={"group_id": None, "last_updated": "2026-01-01T00:00:00Z"})
    assert stored(world)["group_id"] is None
    assert stored(world)["visual_number"] == "DF000-2001-8999-1"
    assert world.crud.seen[-1][1].body["group_id"] is None
    assert "group_id" not in partner.get(AT).json()["data"]


@pytest.mark.parametrize("field", ["uid", "contract_id", "issuer", "valid", "whitelist"])
def test_patch_may_not_clear_what_is_required(
    partner: httpx.Client, world: Any, token: dict[str, Any], field: str
) -> None:
    partner.put(AT, json=token)
    assert refused_field(partner.patch(AT, json={field: None, "last_updated": "2026-01-01T00:00:00Z"})) == field
    assert stored(world)[field] == token[field]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_tokens_are_neither_posted_nor_deleted(partner: httpx.Client, method: str) -> None:  # TK-02
    answer = partner.request(method, AT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PATCH, PUT")
