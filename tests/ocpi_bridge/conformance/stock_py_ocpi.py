"""Asks the unrepaired py_ocpi, in a process of its own, whether it still deviates; prints {deviation: still there}."""

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from decimal import Decimal

import httpx
from py_ocpi import get_application
from py_ocpi.core.authentication.authenticator import Authenticator
from py_ocpi.core.enums import ModuleID, RoleEnum
from py_ocpi.modules.commands.v_2_1_1.api import cpo as commands_211
from py_ocpi.modules.commands.v_2_2_1.api import cpo as commands
from py_ocpi.modules.credentials.v_2_1_1.api import cpo as credentials_211
from py_ocpi.modules.credentials.v_2_2_1.api import cpo as credentials
from py_ocpi.modules.versions.enums import VersionNumber

CPO = "/ocpi/cpo/2.2.1"
TOKENS = CPO + "/tokens/NL/TNM"
TOKEN = {
    "country_code": "NL",
    "party_id": "TNM",
    "uid": "AbC",
    "type": "RFID",
    "contract_id": "NL8ACC12E46L89",
    "issuer": "TheNewMotion",
    "valid": True,
    "whitelist": "ALWAYS",
    "group_id": "G",
    "last_updated": "2026-01-01T02:00:00+02:00",
}


class Made:
    def __init__(self, data):
        self._data = data

    def dict(self):
        return dict(self._data)

    def __deepcopy__(self, memo):
        return Made(dict(self._data))

    def __setattr__(self, name, value):
        if name == "_data":
            super().__setattr__(name, value)
        else:
            self._data[name] = value


class Adapter:
    def made(data, version=None):
        return Made(data)

    location_adapter = session_adapter = cdr_adapter = tariff_adapter = token_adapter = made
    command_response_adapter = charging_preference_adapter = credentials_adapter = made


class Crud:
    def __init__(self):
        self.lists = []
        self.tokens = {}
        self.commands = []

    async def list(self, module, role, filters, *args, **kwargs):
        self.lists.append(filters)
        found = [{"id": "LOC1", "total": Decimal("1.10"), "none": None}] * 2
        return found[: filters["limit"]], 2, filters["limit"] >= 2

    async def get(self, module, role, id, *args, **kwargs):
        return self.tokens.get(id) if module == ModuleID.tokens else {"loc1": {"id": "LOC1"}}.get(id)

    async def create(self, module, role, data, *args, **kwargs):
        self.tokens[data["uid"]] = data
        return data

    async def update(self, module, role, data, id, *args, **kwargs):
        self.tokens[id] = data
        return data

    async def do(self, module, role, action, data=None, *args, **kwargs):
        self.commands.append(data)
        return {"result": "ACCEPTED", "timeout": 1}


MODULES_211 = ("credentials", "locations", "sessions", "cdrs", "tariffs", "tokens", "commands")


class RawToken(Authenticator):
    @classmethod
    async def get_valid_token_c(cls):
        return ["raw-token_1"]

    @classmethod
    async def get_valid_token_a(cls):
        return ["a"]


class OneToken(Authenticator):
    @classmethod
    async def get_valid_token_c(cls):
        return ["c"]

    @classmethod
    async def get_valid_token_a(cls):
        return ["a"]


def header(token, scheme="Token"):
    return {"Authorization": f"{scheme} " + base64.b64encode(token.encode()).decode()}


async def probe():
    crud = Crud()
    app = get_application([VersionNumber.v_2_2_1], [RoleEnum.cpo], crud, list(ModuleID), OneToken, Adapter)
    transport = httpx.ASGITransport(app)
    results = {}

    async def no_result(**kwargs):
        results["command_result_by_the_library"] = True

    fetched = []

    class NoClient(httpx.AsyncClient):
        async def get(self, url, **kwargs):
            fetched.append(str(url))
            raise httpx.ConnectError("refused")

    commands.send_command_result = no_result
    async with httpx.AsyncClient(transport=transport, base_url="http://stock", headers=header("c")) as client:

        async def get(path, **kwargs):
            return await client.get(path, **kwargs)

        async def put(body, uid="AbC", party="NL/TNM", **kwargs):
            return await client.put(f"{CPO}/tokens/{party}/{uid}", json={**TOKEN, **body}, **kwargs)

        first = await get(f"{CPO}/locations/?limit=1")
        results["next_link_cannot_be_followed"] = "VersionNumber." in first.headers["link"]
        results["empty_link_on_the_last_page"] = (await get(f"{CPO}/locations/")).headers.get("link") == ""
        results["limit_without_cap"] = (await get(f"{CPO}/locations/?limit=100000")).headers["x-limit"] == "100000"
        results["nonsense_paging_accepted"] = (await get(f"{CPO}/locations/?limit=0")).json()["status_code"] == 1000
        await get(f"{CPO}/locations/?date_from=2026-01-01T00:00:00")
        results["date_without_zone_is_naive"] = crud.lists[-1]["date_from"].tzinfo is None
        await get(f"{CPO}/locations/?date_from=1735862400")
        results["epoch_accepted_as_date"] = isinstance(crud.lists[-1]["date_from"], datetime)
        results["sessions_without_date_from"] = (await get(f"{CPO}/sessions/")).json()["status_code"] == 1000
        results["redirect_for_a_slash"] = (await get(f"{CPO}/locations")).status_code == 307
        crud_get, crud.get = crud.get, lambda *a, **k: asyncio.sleep(0, {"id": "x"})
        results["encoded_slash_splits_an_id"] = (await get(f"{CPO}/locations/A%2FB")).json()["status_code"] != 1000
        crud.get = crud_get
        one = await get(f"{CPO}/locations/LOC1")
        results["single_object_in_a_list"] = isinstance(one.json()["data"], list)
        results["unknown_token_is_403"] = (await get(f"{CPO}/locations/", headers=header("x"))).status_code == 403
        bad = await get(f"{CPO}/locations/", headers={"Authorization": "Token abcde"})
        results["bad_base64_is_success"] = bad.status_code == 200
        bearer = await get(f"{CPO}/locations/", headers=header("c", "Bearer"))
        results["any_scheme_accepted"] = bearer.status_code == 200
        results["error_without_envelope"] = "status_code" not in (await get(f"{CPO}/locations/nowhere")).json()
        results["message_ids_not_echoed"] = (
            "x-request-id" not in (await get(f"{CPO}/locations/", headers={"X-Request-ID": "1"})).headers
        )
        results["documentation_open"] = (await httpx_get(transport, "/ocpi/openapi.json")).status_code == 200
        results["money_as_binary_float"] = isinstance((await get(f"{CPO}/cdrs/")).json()["data"][0]["total"], float)

        created = await put({})
        results["created_token_is_200"] = created.status_code == 200
        results["written_token_echoed"] = "data" in created.json()
        results["ids_lower_cased"] = "abc" in crud.tokens
        results["nulls_everywhere"] = (await get(f"{TOKENS}/AbC")).json()["data"][0]["visual_number"] is None
        results["offset_not_converted_to_utc"] = crud.tokens["abc"]["last_updated"].endswith("+02:00")
        results["control_characters_accepted"] = (await put({"issuer": "a\nb"})).json().get("status_code") == 1000
        results["invalid_object_is_422"] = (await put({"issuer": None})).status_code == 422
        torn = await client.put(f"{TOKENS}/AbC", content=b"{", headers={"Content-Type": "application/json"})
        results["invalid_json_is_422"] = torn.status_code == 422
        results["number_as_time_is_server_error"] = (await put({"last_updated": 5})).json()["status_code"] == 3000
        results["token_type_misnamed"] = (await get(f"{TOKENS}/AbC?type=BOGUS")).status_code == 200
        results["address_and_body_may_differ"] = (await put({}, uid="other")).json()["status_code"] == 1000
        results["foreign_party_in_the_address"] = (await put({}, party="DE/ABC")).json()["status_code"] == 1000
        patched = await client.patch(f"{TOKENS}/AbC", json={"valid": False})
        results["patch_without_last_updated"] = patched.json()["status_code"] == 1000
        await put({})
        await client.patch(f"{TOKENS}/AbC", json={"group_id": None, "last_updated": "2026-01-02T00:00:00Z"})
        results["patch_cannot_clear"] = crud.tokens["abc"]["group_id"] is not None
        results["body_read_before_authentication"] = await reads_body_of_a_stranger(app)

        details = (await get("/ocpi/2.2.1/details")).json()["data"]["endpoints"]
        results["served_modules_not_listed"] = "commands" not in [each["identifier"] for each in details]
        stop = {"response_url": "not a url", "session_id": "S"}
        accepted = await client.post(f"{CPO}/commands/STOP_SESSION", json=stop)
        results["response_url_not_a_url"] = accepted.json()["data"][0]["result"] == "ACCEPTED"
        short = await client.post(f"{CPO}/commands/STOP_SESSION", json={"response_url": "https://x/"})
        results["invalid_command_is_422"] = short.status_code == 422
        start = {"response_url": "https://x/", "token": TOKEN, "location_id": "LOC1", "connector_id": "1"}
        await client.post(f"{CPO}/commands/START_SESSION", json=start)
        results["connector_without_evse"] = crud.commands[-1].get("connector_id") == "1"
        profile = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 8.1}]}
        asked = {"charging_profile": profile, "response_url": "https://x/"}
        refused = await client.put(f"{CPO}/chargingprofiles/1", json=asked)
        results["charging_profile_of_the_specification_refused"] = refused.status_code == 422
        preferences = await client.put(f"{CPO}/sessions/1/charging_preferences", json={"profile_type": "CHEAP"})
        results["charging_preferences_echoed"] = isinstance(preferences.json()["data"], list)

        credentials.httpx.AsyncClient = NoClient
        offered = {"token": "has space", "url": "http://127.0.0.1:1/", "roles": []}
        answer = await client.post(f"{CPO}/credentials/", json=offered, headers=header("a"))
        results["credentials_by_the_library"] = bool(fetched) and answer.json()["status_code"] == 3000
        results["credentials_not_checked"] = bool(fetched)
    return results


async def probe_211():
    """The same of its OCPI 2.1.1, where tokens are sent as they are."""
    results = {}
    fetched = []

    async def no_result(**kwargs):
        results["command_result_of_211_by_the_library"] = True

    class NoClient(httpx.AsyncClient):
        async def get(self, url, **kwargs):
            fetched.append(str(url))
            raise httpx.ConnectError("refused")

    cpo, crud = "/ocpi/cpo/2.1.1", Crud()
    modules = [module for module in ModuleID if module.value in MODULES_211]
    app = get_application([VersionNumber.v_2_1_1], [RoleEnum.cpo], crud, modules, RawToken, Adapter)
    commands_211.send_command_result = no_result
    headers = {"Authorization": "Token raw-token_1"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://stock", headers=headers
    ) as client:
        versions = await client.get("/ocpi/versions")
        results["raw_token_refused_on_versions"] = versions.json().get("status_code") != 1000
        details = (await client.get("/ocpi/2.1.1/details")).json()["data"]["endpoints"]
        results["commands_of_211_not_listed"] = "commands" not in [each["identifier"] for each in details]
        crud.get = lambda *args, **kwargs: asyncio.sleep(0, {"id": "LOC1"})
        one = await client.get(f"{cpo}/locations/LOC1")
        results["single_object_of_211_in_a_list"] = isinstance(one.json()["data"], list)
        sessions = await client.get(f"{cpo}/sessions/")
        results["sessions_of_211_without_date_from"] = sessions.json()["status_code"] == 1000
        token = {name: TOKEN[name] for name in ("uid", "type", "issuer", "valid", "whitelist", "last_updated")}
        other = await client.put(f"{cpo}/tokens/NL/TNM/other", json={**token, "auth_id": "A"})
        results["address_and_body_of_211_may_differ"] = other.json()["status_code"] == 1000
        stop = {"response_url": "https://x/", "session_id": "S"}
        await client.post(f"{cpo}/commands/STOP_SESSION", json=stop)
        short = await client.post(f"{cpo}/commands/STOP_SESSION", json={"response_url": "https://x/"})
        results["invalid_command_of_211_is_422"] = short.status_code == 422
        whole_client, credentials_211.httpx.AsyncClient = httpx.AsyncClient, NoClient
        offered = {"token": "has space", "url": "http://127.0.0.1:1/", "country_code": "NL", "party_id": "TNM"}
        offered["business_details"] = {"name": "TNM"}
        await client.post(f"{cpo}/credentials/", json=offered, headers={"Authorization": "Token a"})
        credentials_211.httpx.AsyncClient = whole_client
        results["credentials_of_211_by_the_library"] = bool(fetched)
    return results


async def httpx_get(transport, path):
    async with httpx.AsyncClient(transport=transport, base_url="http://stock") as anonymous:
        return await anonymous.get(path)


async def reads_body_of_a_stranger(app):
    read = []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": f"{TOKENS}/1",
        "raw_path": f"{TOKENS}/1".encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("stock", 80),
    }
    await app(scope, receive, send)
    return bool(read)


def steered_by_environment():
    environment = {**os.environ, "ENVIRONMENT": "staging"}
    run = subprocess.run([sys.executable, "-c", "import py_ocpi"], env=environment, capture_output=True, check=False)
    return run.returncode != 0


if __name__ == "__main__":
    said = io.StringIO()
    for handler in logging.getLogger("OCPI-Logger").handlers:
        handler.setStream(said)
    with contextlib.redirect_stderr(said):
        found = {**asyncio.run(probe_211()), **asyncio.run(probe())}
    found["settings_from_any_environment"] = steered_by_environment()
    found["token_uids_logged"] = "abc" in said.getvalue()
    print(json.dumps(found))
