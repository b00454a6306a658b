"""Partners' tokens: read into our cards, shown back as their owner wrote them, and changed field by field by a PATCH."""

from collections.abc import Mapping
from typing import Any

from adapters.datatypes import Unreadable, moment, optional_text, present, printable, read_moment, text
from csms.tokens import TokenRecord, normalize

TYPES = frozenset({"AD_HOC_USER", "APP_USER", "OTHER", "RFID"})
WHITELISTS = frozenset({"ALLOWED", "ALLOWED_OFFLINE", "ALWAYS", "NEVER"})
PROFILES = frozenset({"CHEAP", "FAST", "GREEN", "REGULAR"})
REQUIRED = ("country_code", "party_id", "uid", "type", "contract_id", "issuer", "valid", "whitelist", "last_updated")
KEY = ("country_code", "party_id", "uid", "type")  # what a PATCH may not change (TK-01)
LENGTHS = {"uid": 36, "contract_id": 36, "visual_number": 64, "issuer": 64, "group_id": 36}
DETAILS = ("default_profile_type", "energy_contract")


def token_from_ocpi(body: Mapping[str, Any], owner: int) -> TokenRecord:
    """The card that `body` describes, owned by the partner `owner`. Raises Unreadable.

    Unknown fields are ignored, unknown words of optional fields dropped, null is absent (TY-11, TY-16, TY-17). Texts longer
    than the spec allows are kept whole; they are cut when sent on (TY-07).
    """
    for name in REQUIRED:
        if body.get(name) in (None, ""):
            raise Unreadable(name, "missing")
    uid = _words(body, "uid", 255)
    if not normalize(uid):
        raise Unreadable("uid", "nothing printable in it")
    if not isinstance(body["valid"], bool):
        raise Unreadable("valid", "not true or false")
    language = body.get("language")
    spoken = isinstance(language, str) and len(language) == 2 and printable(language)
    return TokenRecord(
        owner_id=owner,
        country_code=_exactly(body, "country_code", 2),
        party_id=_exactly(body, "party_id", 3),
        uid=uid,
        type=_word_of(body, "type", TYPES),
        contract_id=_words(body, "contract_id", 255),
        visual_number=optional_text(body.get("visual_number"), 255),
        issuer=_words(body, "issuer", 255),
        group_id=optional_text(body.get("group_id"), 255),
        valid=body["valid"],
        whitelist=_word_of(body, "whitelist", WHITELISTS),
        language=language if spoken else None,
        details=_details(body),
        last_updated=read_moment(body["last_updated"], "last_updated"),
    )


def overlong(record: TokenRecord) -> list[str]:
    """Which of its texts are longer than the specification lets them be (TY-07)."""
    return [name for name, limit in LENGTHS.items() if len(getattr(record, name) or "") > limit]


def token_to_ocpi(token: Any) -> dict[str, Any]:
    """Of a Token row."""
    details = token.details or {}
    return present(
        {
            "country_code": text(token.country_code, 2),
            "party_id": text(token.party_id, 3),
            "uid": text(token.uid, LENGTHS["uid"]),
            "type": token.type,
            "contract_id": text(token.contract_id, LENGTHS["contract_id"]),
            "visual_number": optional_text(token.visual_number, LENGTHS["visual_number"]),
            "issuer": text(token.issuer, LENGTHS["issuer"]),
            "group_id": optional_text(token.group_id, LENGTHS["group_id"]),
            "valid": bool(token.valid),
            "whitelist": token.whitelist,
            "language": token.language,
            "default_profile_type": details.get("default_profile_type"),
            "energy_contract": details.get("energy_contract"),
            "last_updated": moment(token.last_updated),
        }
    )


def patched(token: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """The stored token with the fields that `patch` names, and no other, replaced; null clears an optional one (TK-04).

    Raises Unreadable when the patch has no last_updated, clears what is required, or would make it another token.
    """
    if patch.get("last_updated") is None:
        raise Unreadable("last_updated", "a PATCH must carry it")
    stored = _stored(token)
    for name in KEY:
        if name in patch and str(patch[name]).casefold() != str(stored[name]).casefold():
            raise Unreadable(name, "differs from the token's")
    for name in REQUIRED:
        if name in patch and patch[name] is None:
            raise Unreadable(name, "cannot be cleared")
    return stored | {name: value for name, value in patch.items() if name not in KEY}


def _stored(token: Any) -> dict[str, Any]:
    """All that is kept of it, uncut."""
    kept = {name: getattr(token, name) for name in TokenRecord.__dataclass_fields__ if name != "details"}
    return kept | {name: (token.details or {}).get(name) for name in DETAILS}


def _details(body: Mapping[str, Any]) -> dict[str, Any]:
    profile = body.get("default_profile_type")
    contract = body.get("energy_contract")
    shaped = None
    if isinstance(contract, Mapping) and optional_text(contract.get("supplier_name"), 64):
        shaped = present(
            {
                "supplier_name": text(contract["supplier_name"], 64),
                "contract_id": optional_text(contract.get("contract_id"), 64),
            }
        )
    return present(
        {
            "default_profile_type": profile if isinstance(profile, str) and profile in PROFILES else None,
            "energy_contract": shaped,
        }
    )


def _words(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body[name]
    if not isinstance(value, str) or len(value) > limit:
        raise Unreadable(name, f"not a text of at most {limit} characters")
    if not printable(value):
        raise Unreadable(name, "holds control characters")
    return value


def _exactly(body: Mapping[str, Any], name: str, length: int) -> str:
    value = _words(body, name, length)
    if len(value) != length:
        raise Unreadable(name, f"not {length} characters")
    return value


def _word_of(body: Mapping[str, Any], name: str, allowed: frozenset[str]) -> str:
    word = _words(body, name, 40).upper()
    if word not in allowed:
        raise Unreadable(name, "not one of the spec's words")
    return word
