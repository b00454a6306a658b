"""Who may call, and what every answer looks like, over HTTP."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

CPO = "/cpo/2.2.1"
LISTS = ("locations", "cdrs", "tariffs", "sessions?date_from=2020-01-01T00:00:00Z")


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def code_of(answer: httpx.Response, http_status: int = 200) -> int:
    """The OCPI code; every answer is a whole envelope (TR-13, TR-14)."""
    assert answer.status_code == http_status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["timestamp"] == "2026-03-04T05:06:07Z"
    assert body.keys() <= {"data", "status_code", "status_message", "timestamp"}
    assert body["status_message"]
    code: int = body["status_code"]
    return code


@pytest.mark.parametrize("path", ["/versions", "/2.2.1", *(f"{CPO}/{name}" for name in LISTS)])
def test_lists_are_served_with_and_without_slash(partner: httpx.Client, path: str) -> None:  # TR-13, TR-14, TR-31
    address, _, query = path.partition("?")
    for form in (address, address + "/"):
        answer = partner.get(form, params=query)
        assert code_of(answer) == 1000
        assert answer.history == []


@pytest.mark.parametrize("name", LISTS)
def test_empty_list_is_an_empty_array(partner: httpx.Client, name: str) -> None:  # TR-15
    assert partner.get(f"{CPO}/{name}").json()["data"] == []


def test_redirect_for_a_slash(partner: httpx.Client, token: dict[str, Any]) -> None:  # TR-31
    for form in ("", "/", "//"):
        answer = partner.put(f"{CPO}/tokens/NL/TNM/012345678{form}", json=token)
        assert code_of(answer, answer.status_code) == 1000
        assert answer.status_code in (200, 201)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Token",
        "Token  " + basic("token-c"),
        "token " + basic("token-c"),
        "Token " + basic("token-c") + " more",
        "Token " + basic("nobody's"),
        "Token " + "A" * 9000,
    ],
)
def test_missing_or_unknown_token_is_401(anonymous: httpx.Client, header: str | None) -> None:  # TR-02, TR-07
    headers = {} if header is None else {"Authorization": header}
    for path in ("/versions", f"{CPO}/locations", "/nowhere"):
        answer = anonymous.get(path, headers=headers)
        assert code_of(answer, 401) == 2000
        assert answer.headers["www-authenticate"] == "Token"


def test_unknown_token_is_403(anonymous: httpx.Client) -> None:  # TR-07
    assert code_of(anonymous.get(f"{CPO}/locations", headers={"Authorization": "Token eA=="}), 401) == 2000


@pytest.mark.parametrize("text", ["abcde", "token-c", "====", "dG9rZW4tYw", "/w==", "dG9r ZW4tYw=="])
def test_bad_base64_is_success(anonymous: httpx.Client, text: str) -> None:  # TR-06
    assert code_of(anonymous.get(f"{CPO}/locations", headers={"Authorization": f"Token {text}"}), 401) == 2000


def test_any_scheme_accepted(anonymous: httpx.Client) -> None:  # TR-02
    for scheme in ("Bearer", "Basic", "TOKEN"):
        headers = {"Authorization": f"{scheme} {basic('token-c')}"}
        assert code_of(anonymous.get(f"{CPO}/locations", headers=headers), 401) == 2000


def test_whitespace_inside_the_base64_is_stripped(anonymous: httpx.Client) -> None:  # TR-06, ER-01
    headers = {"Authorization": "Token " + basic("token-c\n")}
    assert code_of(anonymous.get(f"{CPO}/locations", headers=headers)) == 1000


def test_raw_token_only_where_the_partner_may_send_one(anonymous: httpx.Client) -> None:  # TR-05, TR-06
    for path in ("/2.2.1", f"{CPO}/locations"):
        assert code_of(anonymous.get(path, headers={"Authorization": "Token raw-token_1"})) == 1000
        assert code_of(anonymous.get(path, headers={"Authorization": "Token token-c"}), 401) == 2000


@pytest.mark.parametrize("path", ["locations", "locations/LOC1", "tariffs", "cdrs", "sessions", "tokens/NL/TNM/1", "x"])
def test_token_a_opens_nothing_but_registration(invited: httpx.Client, path: str) -> None:  # TR-08, CR-02
    assert code_of(invited.get(f"{CPO}/{path}"), 401) == 2000
    assert code_of(invited.post(f"{CPO}/commands/STOP_SESSION", json={}), 401) == 2000
    for allowed in ("/versions", "/2.2.1", f"{CPO}/credentials"):
        assert code_of(invited.get(allowed)) == 1000


def test_header_names_have_no_case(anonymous: httpx.Client) -> None:  # TR-10
    answer = anonymous.get("/versions", headers={"AUTHORIZATION": "Token " + basic("token-c"), "x-REQUEST-id": "r"})
    assert code_of(answer) == 1000
    assert answer.headers["X-Request-ID"] == "r"


def test_error_without_envelope(partner: httpx.Client) -> None:  # TR-13, TR-20
    assert code_of(partner.get(f"{CPO}/locations/nowhere"), 404) == 2003
    assert code_of(partner.get(f"{CPO}/tokens/NL/TNM/unknown"), 404) == 2004
    assert code_of(partner.get(f"{CPO}/invoicereconciliation/1"), 404) == 2000
    assert code_of(partner.get("/"), 404) == 2000
    wrong_method = partner.delete(f"{CPO}/locations")
    assert code_of(wrong_method, 405) == 2000
    assert wrong_method.headers["allow"] == "GET"


def test_invalid_json_is_422(partner: httpx.Client) -> None:  # TR-18
    for content in (b"{", b"", b"\xff", b"[1,]", b"{'a': 1}", b'{"a": NaN}', b"[" * 9_000):
        assert code_of(partner.put(f"{CPO}/tokens/NL/TNM/1", content=content), 400) == 2001
        assert code_of(partner.post(f"{CPO}/commands/STOP_SESSION", content=content), 400) == 2001


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/plain", "nonsense", None])
def test_content_type_does_not_matter(partner: httpx.Client, token_json: bytes, kind: str | None) -> None:  # TR-12
    headers = {} if kind is None else {"Content-Type": kind}
    assert code_of(partner.put(f"{CPO}/tokens/NL/TNM/012345678", content=token_json, headers=headers), 201) == 1000


@pytest.mark.parametrize("body", [[], "text", 5, None, True, {}])
def test_json_of_the_wrong_shape_is_2001(partner: httpx.Client, world: Any, body: Any) -> None:  # TR-19, TR-26
    for method, path in (
        ("PUT", "tokens/NL/TNM/1"),
        ("PATCH", "tokens/NL/TNM/1"),
        ("POST", "commands/START_SESSION"),
        ("PUT", "sessions/1/charging_preferences"),
    ):
        answer = partner.request(method, f"{CPO}/{path}", content=json.dumps(body))
        assert code_of(answer) == 2001
        assert answer.json()["data"]["errors"]
    assert world.crud.calls == []


def test_our_own_failure_is_3000_and_tells_nothing(partner: httpx.Client, world: Any) -> None:  # TR-19, TR-27
    world.crud.failure = RuntimeError("password=hunter2")
    answer = partner.get(f"{CPO}/locations")
    assert code_of(answer) == 3000
    assert "hunter2" not in answer.text


def test_partner_directory_down_is_500_not_401(partner: httpx.Client, world: Any) -> None:
    world.directory.down = True
    assert code_of(partner.get("/versions"), 500) == 3000


def test_refusal_of_crud_reaches_the_partner(partner: httpx.Client, world: Any, refusal: Any) -> None:  # TR-29
    world.crud.failure = refusal(200, 2002, "Say more", {"field": "location"})
    answer = partner.get(f"{CPO}/locations")
    assert code_of(answer) == 2002
    assert answer.json()["data"] == {"field": "location"}


def test_documentation_open(anonymous: httpx.Client, partner: httpx.Client) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/ocpi/docs"):
        assert partner.get(path).status_code == 404


def test_body_read_before_authentication(anonymous: httpx.Client, served: Any, world: Any) -> None:
    """A stranger's 50 MB are refused while most of them are still unsent; a partner's are cut at the cap."""

    async def answered(headers: dict[str, str], length: str | None) -> int:
        address = httpx.URL(served[1])
        reader, writer = await asyncio.open_connection(address.host, address.port)
        framing = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
        lines = ["PUT /ocpi/cpo/2.2.1/tokens/NL/TNM/1 HTTP/1.1", "Host: x", framing]
        writer.write("\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode())
        sent = 0
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n"))
        chunk = b"x" * 65536
        while not answer.done() and sent < 50_000_000:
            writer.write(chunk if length else b"10000\r\n" + chunk + b"\r\n")
            sent += len(chunk)
            await writer.drain()
            await asyncio.sleep(0)
        assert sent < 50_000_000
        status = int((await asyncio.wait_for(answer, 30)).split()[1])
        writer.transport.abort()
        return status

    known = {"Authorization": "Token " + basic("token-c")}
    assert asyncio.run(answered({}, "50000000")) == 401
    assert asyncio.run(answered({}, None)) == 401
    assert asyncio.run(answered(known, "50000000")) == 413
    assert asyncio.run(answered(known, None)) == 413
    assert world.crud.calls == []


def test_50_mb_to_a_plain_client_is_413(partner: httpx.Client) -> None:
    assert code_of(partner.put(f"{CPO}/tokens/NL/TNM/1", content=b"x" * 50_000_000), 413) == 2000
    assert code_of(partner.get("/versions")) == 1000  # the connection still serves


def test_a_body_that_never_comes_is_408(served: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocpi_bridge.conformance.routes.BODY_TIMEOUT_S", 0.05)

    async def status() -> int:
        address = httpx.URL(served[1])
        reader, writer = await asyncio.open_connection(address.host, address.port)
        lines = ["PUT /ocpi/cpo/2.2.1/tokens/NL/TNM/1 HTTP/1.1", "Host: x", "Content-Length: 9"]
        writer.write("\r\n".join([*lines, "Authorization: Token " + basic("token-c"), "", "{"]).encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        writer.transport.abort()
        return int(answer.split()[1])

    assert asyncio.run(status()) == 408
    assert world.crud.calls == []


def test_each_of_many_callers_at_once_is_itself(served: Any, world: Any) -> None:  # XT-06
    async def ask(client: httpx.AsyncClient, token: str, number: int) -> str:
        headers = {"Authorization": "Token " + basic(token), "X-Request-ID": str(number)}
        answer = await client.get(f"{CPO}/tariffs", headers=headers)
        assert answer.headers["x-request-id"] == str(number)
        return str(answer.headers["ocpi-to-party-id"])

    async def all_at_once() -> list[str]:
        async with httpx.AsyncClient(base_url=served[1], timeout=20, trust_env=False) as client:
            callers = ("token-c", "token-hub") * 20
            return await asyncio.gather(*(ask(client, token, number) for number, token in enumerate(callers)))

    assert asyncio.run(all_at_once()) == ["TNM", "HUB"] * 20
    assert {(caller.name, int(request.request_id) % 2) for caller, request in world.crud.seen} == {
        ("emsp", 0),
        ("hub", 1),
    }
