"""Credentials in OCPI 2.1.1: of one party, in no role (2.1.1 credentials)."""

from collections.abc import Mapping
from typing import Any

from adapters.datatypes import present
from adapters.v211.tokens import Party

Body = Mapping[str, Any]

PARTY = ("country_code", "party_id", "business_details")


def credentials_to_211(credentials: Body, party: Party) -> dict[str, Any]:
    """Those of the role whose party this is, else of the first."""
    roles = credentials["roles"]
    mine = (role for role in roles if (role["country_code"], role["party_id"]) == party)
    role = next(mine, roles[0])
    return {"token": credentials["token"], "url": credentials["url"]} | {name: role[name] for name in PARTY}


def credentials_from_211(body: Body) -> dict[str, Any]:
    """Whoever speaks to a CPO in it is an eMSP (CR-32)."""
    role = {"role": "EMSP"} | present({name: body.get(name) for name in PARTY})
    return present({"token": body.get("token"), "url": body.get("url")}) | {"roles": [role]}
