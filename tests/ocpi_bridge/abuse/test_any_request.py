"""Whatever is sent to whichever route with whosever token: it is answered in OCPI's envelope, tells nobody what is another's,
and everybody is served as before."""

import json
import re
import time
from collections import Counter

import httpx
import pytest

from tests.ocpi_bridge.abuse.requests import (
    SOUND,
    SOUND_211,
    Asked,
    address,
    content,
    described,
    drawn,
    schematic,
    spoilt,
)
from tests.ocpi_bridge.abuse.rig import PARTNERS, Rig

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

OPEN_TO_A = re.compile(r"/versions|/2\.[0-9.]+|/cpo/2\.[0-9.]+/credentials")
LEAVES = re.compile(r"DELETE .*/credentials")  # a partner may; then its requests are a stranger's


def judged(rig: Rig, who: str, answer: httpx.Response, asked: object) -> int:
    """The OCPI code of a sound answer: no failure of ours, and no word of what is somebody else's."""
    told = f"{who}: {asked}: HTTP {answer.status_code} {answer.text[:500]}"
    assert answer.status_code in (200, 201, 400, 401, 404, 405, 413), told
    envelope = answer.json()
    assert {"status_code", "timestamp"} <= envelope.keys() <= {"status_code", "status_message", "timestamp", "data"}, (
        told
    )
    assert 1000 <= envelope["status_code"] < 3000 or envelope["status_code"] == 3001, told
    assert not [secret for secret in rig.secrets(besides=who) if secret in answer.text], told
    assert "x-request-id" in answer.headers or "/2.1.1" in answer.url.path, told  # V1-03
    return int(envelope["status_code"])


@only_sqlite
@pytest.mark.parametrize("who", ["nobody", "garbage", "a", *PARTNERS])
async def test_every_route_answers_every_token_in_the_envelope(
    rig: Rig, who: str
) -> None:  # TR-07, TR-08, TR-13, XT-06
    reached = set()
    async with rig.client(who) as client:
        for case in schematic():
            reached.add((case.method, case.path))
            if LEAVES.fullmatch(f"{case.method} {case.path}"):
                continue
            sent = case.as_transport_kwargs(base_url=f"{rig.url}/ocpi")
            body = {name: sent[name] for name in ("json", "data") if name in sent}
            if isinstance(body.get("data"), bytes | str):
                body["content"] = body.pop("data")
            answer = await client.request(sent["method"], sent["url"], params=sent["params"], **body)
            judged(rig, who, answer, f"{sent['method']} {sent['url']} {body}")
            open_to_all = who in ("a", *PARTNERS) and OPEN_TO_A.fullmatch(case.path) is not None
            may = open_to_all or (who in PARTNERS and PARTNERS[who][-1] in case.path)
            assert (answer.status_code == 401) is not may, f"{case.method} {case.path}"
    assert reached == set(described())
    await rig.is_well()


async def test_what_is_almost_right_is_refused_or_done_and_never_a_failure(rig: Rig) -> None:  # TR-18, TR-19
    codes: Counter[int] = Counter()
    for who in ("one", "hub", "old"):
        async with rig.client(who) as client:
            for asked in drawn(spoilt(SOUND_211 if who == "old" else SOUND), 80):
                codes[judged(rig, who, await sent(client, asked), asked)] += 1
    assert codes[1000] > 5, codes  # some do get through
    assert codes[2001] > 50, codes
    await rig.is_well()


async def sent(client: httpx.AsyncClient, asked: Asked) -> httpx.Response:
    return await client.request(
        asked.method,
        f"/cpo/{asked.version}/{address(asked)}",
        headers={name: value.encode("latin-1") for name, value in asked.headers.items()},
        content=content(asked) if asked.body is not None else None,
    )


ANOTHERS = [
    Asked(method="GET", path="tokens/DE/TNM/CARD-of-one"),
    Asked(
        method="PATCH", path="tokens/DE/TNM/CARD-of-one", body={"valid": False, "last_updated": "2030-01-01T00:00:00Z"}
    ),
    Asked(
        method="POST",
        path="commands/STOP_SESSION",
        body={"response_url": "http://127.0.0.1:1/", "session_id": "session-of-one"},
    ),
    Asked(
        method="GET",
        path="chargingprofiles/session-of-one",
        query={"duration": 60, "response_url": "http://127.0.0.1:1/"},
    ),
    Asked(
        method="GET",
        path="sessions",
        query={"date_from": "2020-01-01T00:00:00Z"},
        headers={"OCPI-from-country-code": "DE", "OCPI-from-party-id": "TNM"},
    ),
    Asked(method="GET", path="cdrs", headers={"OCPI-from-country-code": "DE", "OCPI-from-party-id": "TNM"}),
]


@only_sqlite
async def test_another_partners_things_are_not_there(rig: Rig) -> None:  # PG-19, TR-23, XT-06
    for who in ("two", "hub"):
        async with rig.client(who) as client:
            for asked in ANOTHERS:
                judged(rig, who, await sent(client, asked), asked)
    async with rig.client("one") as client:
        card = (await client.get("/cpo/2.2.1/tokens/DE/TNM/CARD-of-one")).json()["data"]
    assert card["valid"] is True
    await rig.is_well()


# Each of them is a megabyte at most, and some took half a minute of everybody's time.
CROWDS = {
    "roles": {"token": "t", "url": "http://127.0.0.1:1/v", "roles": [{}] * 200_000},
    "numbers": {"token": "t", "url": "http://127.0.0.1:1/v", "roles": [1] * 300_000},
    "fields": {f"field{number}": number for number in range(40_000)},
    "lists": [[]] * 200_000,
    "text": "x" * 1_000_000,
}


PLACES = [("PUT", "credentials"), ("PUT", "tokens/DE/TNM/CARD-of-one"), ("POST", "commands/START_SESSION")]


@pytest.mark.alone
@only_sqlite
async def test_a_crowded_body_costs_nobody_any_time(rig: Rig) -> None:
    async with rig.client("one") as client:
        for crowd, body in CROWDS.items():
            for method, path in PLACES:
                content = json.dumps(body).encode()
                began = time.process_time()
                answer = await client.request(method, f"/cpo/2.2.1/{path}", content=content)
                assert time.process_time() - began < 1.0, f"{method} {path} {crowd}"
                judged(rig, "one", answer, f"{method} {path} {crowd}")
                assert len(answer.content) < 20_000
    await rig.is_well()
