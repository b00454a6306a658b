"""A platform that answers our questions with nonsense is told that it cannot be used, and its invitation stays good."""

from typing import Any

import pytest

from tests.ocpi_bridge.abuse.rig import Rig
from tests.ocpi_bridge.our_door import odd_partner

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

SOUND = [{"version": "2.2.1", "url": "{base}/2.2.1"}]
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
VERSIONS = [
    *("no JSON", {}, [], [[]], 5, DEEP, {"version": "2.2.1"}, [None, 5, "2.2.1", {}]),
    *([{"version": 2.21, "url": 5}], [{"version": "2.2.1"}], [{"version": "2.2.1", "url": None}]),
    *([{"version": "2.2.1", "url": "http://["}], [{"version": ["2.2.1"], "url": {}}], [{"version": "9"}] * 1_000),
]
DETAILS = [
    *("no JSON", [], [[]], 5, DEEP, {}, {"endpoints": None}, {"endpoints": {}}, {"endpoints": "x"}),
    *({"endpoints": [None, 5, "x", [], {}]}, {"endpoints": [{"identifier": {}, "role": [], "url": 5}]}),
    {"version": "2.2.1", "endpoints": [{"identifier": "tokens", "role": "SENDER"}] * 1_000},
    {"version": "2.2.1", "endpoints": [{"identifier": "x" * 100_000, "role": "SENDER", "url": "{base}/x"}]},
]


@only_sqlite
async def test_nonsense_is_300x_in_time_and_harms_nobody(rig: Rig) -> None:  # CR-06, TY-18, XT-05
    wrong = [{"/versions": versions} for versions in VERSIONS]
    wrong += [{"/versions": SOUND, "/2.2.1": details} for details in DETAILS]
    role = {"role": "EMSP", "country_code": "AT", "party_id": "ODD", "business_details": {"name": "odd"}}
    async with rig.client("a") as client:
        for answers in wrong:
            async with odd_partner(answers) as base:
                body = {"token": "out", "url": f"{base}/versions", "roles": [role]}
                told = (await client.post("/cpo/2.2.1/credentials", json=body)).json()
            assert told["status_code"] in (3001, 3002, 3003), (str(answers)[:300], told)
            assert len(told["status_message"]) < 1_000
        assert (await client.get("/versions")).status_code == 200  # it may try again (CR-26)
    await rig.is_well()
