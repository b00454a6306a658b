"""What the operator's network file may say, as a JSON Schema: names, limits and words are those that roaming allows.

`problem` beside a rule is the sentence an operator reads when it is broken.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def text(limit: int, pattern: str | None = None, problem: str | None = None) -> Schema:
    rule: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": limit}
    if pattern is not None:
        rule |= {"pattern": pattern, "problem": problem}
    return rule


def one_of(*words: str) -> Schema:
    return {"enum": list(words)}


def list_of(items: Schema, *, at_least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": at_least}


def exactly(fields: Mapping[str, Schema], *required: str) -> Schema:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(required),
        "additionalProperties": False,
    }


FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
POSITIVE: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
DECIMAL: Schema = {
    "type": ["string", "integer"],
    "pattern": r"^[0-9]{1,12}(\.[0-9]{1,9})?$",
    "minimum": 0,
    "maximum": 10**12,
    "problem": 'must be a decimal number such as "0.25"',
}
# C0, C1 and what ends a path segment: an identity stands in a URL.
IDENTITY = text(48, r"^[^\x00-\x20\x7f-\xa0/?#]+$", "must be usable in a URL: no spaces, control characters, /, ? or #")
ID = text(36, r"^[\x20-\x7e]+$", "must be printable ASCII")
PASSWORD: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "problem": "must be text of 1 to 255 characters (in quotes)",
}
MOMENT = text(
    35,
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$",
    'must be a time with its zone, such as "2027-12-31T23:00:00Z"',
)
DATE = text(10, r"^\d{4}-\d\d-\d\d$", 'must be a date such as "2027-12-31"')
CLOCK = text(5, r"^([01]\d|2[0-3]):[0-5]\d$", 'must be a time of day such as "08:00"; the end of the day is "23:59"')
URL = text(255, r"^https?://\S+$", "must be a URL that begins with http:// or https://")
LANGUAGE = text(2, "^[a-z]{2}$", "must be a language of two letters such as nl")

PARTY = {
    "country_code": text(2, "^[A-Z]{2}$", "must be a country of two capital letters such as BE"),
    "party_id": text(3, "^[A-Z0-9]{3}$", "must be three capital letters or digits such as BEC"),
}
COORDINATES = exactly(
    {
        "latitude": text(
            10, r"^-?([0-8]?\d\.\d{5,7}|90\.0{5,7})$", 'must be a latitude with 5 to 7 decimals such as "51.047599"'
        ),
        "longitude": text(
            11,
            r"^-?((1[0-7]\d|\d{1,2})\.\d{5,7}|180\.0{5,7})$",
            'must be a longitude with 5 to 7 decimals such as "3.729944"',
        ),
    },
    "latitude",
    "longitude",
)
PLAIN_TEXT = text(512, r"^(?![\s\S]*<[A-Za-z/!])", "must be plain text of at most 512 characters, without markup")
DISPLAY_TEXT = exactly({"language": LANGUAGE, "text": PLAIN_TEXT}, "language", "text")
IMAGE = exactly(
    {
        "url": URL,
        "thumbnail": URL,
        "category": one_of("CHARGER", "ENTRANCE", "LOCATION", "NETWORK", "OPERATOR", "OTHER", "OWNER"),
        "type": text(4),
        "width": WHOLE,
        "height": WHOLE,
    },
    "url",
    "category",
    "type",
)
BUSINESS = exactly({"name": text(100), "website": URL, "logo": IMAGE}, "name")
PRICE = exactly({"excl_vat": DECIMAL, "incl_vat": DECIMAL}, "excl_vat")
ENERGY_MIX: Schema = {"type": "object", "required": ["is_green_energy"], "properties": {"is_green_energy": FLAG}}
TOKEN_TYPE = one_of("AD_HOC_USER", "APP_USER", "OTHER", "RFID")

# ---- tariffs --------------------------------------------------------------------------------------------------------

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
DECIMAL_LIMITS = ("min_kwh", "max_kwh", "min_current", "max_current", "min_power", "max_power")
DECIMALS = frozenset({*DECIMAL_LIMITS, "price", "vat", "excl_vat", "incl_vat"})  # the fields that are money or measures
RESTRICTIONS = exactly(
    {
        "start_time": CLOCK,
        "end_time": CLOCK,
        "start_date": DATE,
        "end_date": DATE,
        **dict.fromkeys(DECIMAL_LIMITS, DECIMAL),
        "min_duration": WHOLE,
        "max_duration": WHOLE,
        "day_of_week": list_of(one_of(*DAYS)),
        "reservation": one_of("RESERVATION", "RESERVATION_EXPIRES"),
    }
)
COMPONENT = exactly(
    {"type": one_of("ENERGY", "FLAT", "PARKING_TIME", "TIME"), "price": DECIMAL, "vat": DECIMAL, "step_size": POSITIVE},
    "type",
    "price",
    "step_size",
)
TARIFF_DETAILS = {
    "tariff_alt_text": list_of(DISPLAY_TEXT),
    "tariff_alt_url": URL,
    "min_price": PRICE,
    "max_price": PRICE,
    "start_date_time": MOMENT,
    "end_date_time": MOMENT,
    "energy_mix": ENERGY_MIX,
    "partners": list_of(text(100)),
}
TARIFF = exactly(
    {
        "id": ID,
        "party": exactly(PARTY, *PARTY),
        "currency": text(3, "^[A-Z]{3}$", "must be a currency of three capital letters such as EUR"),
        "type": one_of("AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN", "REGULAR"),
        "elements": list_of(
            exactly(
                {"price_components": list_of(COMPONENT, at_least=1), "restrictions": RESTRICTIONS}, "price_components"
            ),
            at_least=1,
        ),
        **TARIFF_DETAILS,
    },
    "id",
    "currency",
    "elements",
)

# ---- sites ----------------------------------------------------------------------------------------------------------

STANDARDS = (
    *("CHADEMO", "CHAOJI", *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKLMNO"), "GBT_AC", "GBT_DC"),
    *("IEC_60309_2_single_16", "IEC_60309_2_three_16", "IEC_60309_2_three_32", "IEC_60309_2_three_64"),
    *("IEC_62196_T1", "IEC_62196_T1_COMBO", "IEC_62196_T2", "IEC_62196_T2_COMBO", "IEC_62196_T3A", "IEC_62196_T3C"),
    *("NEMA_5_20", "NEMA_6_30", "NEMA_6_50", "NEMA_10_30", "NEMA_10_50", "NEMA_14_30", "NEMA_14_50"),
    *("PANTOGRAPH_BOTTOM_UP", "PANTOGRAPH_TOP_DOWN", "TESLA_R", "TESLA_S"),
)
CAPABILITIES = (
    *("CHARGING_PREFERENCES_CAPABLE", "CHARGING_PROFILE_CAPABLE", "CHIP_CARD_SUPPORT", "CONTACTLESS_CARD_SUPPORT"),
    *("CREDIT_CARD_PAYABLE", "DEBIT_CARD_PAYABLE", "PED_TERMINAL", "REMOTE_START_STOP_CAPABLE", "RESERVABLE"),
    *("RFID_READER", "START_SESSION_CONNECTOR_REQUIRED", "TOKEN_GROUP_CAPABLE", "UNLOCK_CAPABLE"),
)
PARKING_TYPES = ("ALONG_MOTORWAY", "ON_DRIVEWAY", "ON_STREET", "PARKING_GARAGE", "PARKING_LOT", "UNDERGROUND_GARAGE")
PARKING_RESTRICTIONS = ("CUSTOMERS", "DISABLED", "EV_ONLY", "MOTORCYCLES", "PLUGGED")
FACILITIES = (
    *("AIRPORT", "BIKE_SHARING", "BUS_STOP", "CAFE", "CARPOOL_PARKING", "FUEL_STATION", "HOTEL", "MALL"),
    *("METRO_STATION", "MUSEUM", "NATURE", "PARKING_LOT", "RECREATION_AREA", "RESTAURANT", "SPORT", "SUPERMARKET"),
    *("TAXI_STAND", "TRAIN_STATION", "TRAM_STOP", "WIFI"),
)
PERIOD = exactly({"period_begin": MOMENT, "period_end": MOMENT}, "period_begin", "period_end")
OPENING_TIMES = exactly(
    {
        "twentyfourseven": FLAG,
        "regular_hours": list_of(
            exactly(
                {
                    "weekday": {"type": "integer", "minimum": 1, "maximum": 7},
                    "period_begin": CLOCK,
                    "period_end": CLOCK,
                },
                "weekday",
                "period_begin",
                "period_end",
            )
        ),
        "exceptional_openings": list_of(PERIOD),
        "exceptional_closings": list_of(PERIOD),
    },
    "twentyfourseven",
)
PUBLISH_TOKEN = exactly(
    {"uid": ID, "type": TOKEN_TYPE, "visual_number": text(64), "issuer": text(64), "group_id": text(36)}
)
CONNECTOR = exactly(
    {
        "id": ID,
        "standard": one_of(*STANDARDS),
        "format": one_of("CABLE", "SOCKET"),
        "power_type": one_of("AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"),
        "max_voltage": POSITIVE,
        "max_amperage": POSITIVE,
        "max_electric_power": POSITIVE,
        "tariff_ids": list_of(ID),
    },
    "id",
    "standard",
    "format",
    "power_type",
    "max_voltage",
    "max_amperage",
)
EVSE_DETAILS = {
    "capabilities": list_of(one_of(*CAPABILITIES)),
    "floor_level": text(4),
    "coordinates": COORDINATES,
    "physical_reference": text(16),
    "directions": list_of(DISPLAY_TEXT),
    "parking_restrictions": list_of(one_of(*PARKING_RESTRICTIONS)),
    "images": list_of(IMAGE),
}
EVSE = exactly(
    {
        "evse": POSITIVE,
        "uid": ID,
        "evse_id": text(48, r"^[\x20-\x7e]+$", "must be printable ASCII"),
        "connectors": list_of(CONNECTOR, at_least=1),
        **EVSE_DETAILS,
    },
    "evse",
    "uid",
    "connectors",
)
STATION = exactly({"id": IDENTITY, "password": PASSWORD, "evses": list_of(EVSE)}, "id", "evses")
LOCATION_DETAILS = {
    "publish_allowed_to": list_of(PUBLISH_TOKEN),
    "related_locations": list_of(exactly({**COORDINATES["properties"], "name": DISPLAY_TEXT}, "latitude", "longitude")),
    "parking_type": one_of(*PARKING_TYPES),
    "directions": list_of(DISPLAY_TEXT),
    "operator": BUSINESS,
    "suboperator": BUSINESS,
    "owner": BUSINESS,
    "facilities": list_of(one_of(*FACILITIES)),
    "opening_times": OPENING_TIMES,
    "charging_when_closed": FLAG,
    "images": list_of(IMAGE),
    "energy_mix": ENERGY_MIX,
}
LOCATION = exactly(
    {
        "id": ID,
        "party": exactly(PARTY, *PARTY),
        "name": text(255),
        "address": text(255),
        "city": text(45),
        "postal_code": text(10),
        "state": text(45),
        "country": text(3, "^[A-Z]{3}$", "must be a country of three capital letters such as BEL"),
        "coordinates": COORDINATES,
        "time_zone": text(255),
        "publish": FLAG,
        "roaming": FLAG,
        "stations": list_of(STATION),
        **LOCATION_DETAILS,
    },
    "id",
    "address",
    "city",
    "country",
    "coordinates",
    "time_zone",
    "publish",
)

# ---- cards, and the whole -------------------------------------------------------------------------------------------

TOKEN = exactly(
    {
        "uid": ID,
        "type": TOKEN_TYPE,
        "party": exactly(PARTY, *PARTY),
        "contract_id": ID,
        "visual_number": text(64),
        "issuer": text(64),
        "group_id": ID,
        "valid": FLAG,
        "whitelist": one_of("ALLOWED", "ALLOWED_OFFLINE", "ALWAYS", "NEVER"),
        "expires": MOMENT,
        "exempt": FLAG,
        "language": LANGUAGE,
    },
    "uid",
    "contract_id",
    "valid",
)
NETWORK = exactly(
    {
        "parties": list_of(exactly({**PARTY, "name": text(100)}, *PARTY)),
        "tariffs": list_of(TARIFF),
        "locations": list_of(LOCATION),
        "tokens": list_of(TOKEN),
    }
)
