"""What is checked: each rule by its id in docs/ocpi-conformance.md, how strict it is, and what is due."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """INFO is worth knowing, and no deviation: what the specification leaves open, or peers do not all do."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    INFO = "INFO"


class Rule(NamedTuple):
    level: Level
    due: str


MUST, SHOULD, INFO = Level.MUST, Level.SHOULD, Level.INFO

RULES: dict[str, Rule] = {
    # ---- transport ---------------------------------------------------------------------------------------------------
    "TR-01": Rule(INFO, "https; plain http only where we test"),
    "TR-03": Rule(MUST, "the token in Base64 is accepted"),
    "TR-04": Rule(MUST, "the token as it is, without Base64, is accepted"),
    "TR-07": Rule(MUST, "HTTP 401 to a missing or unknown token"),
    "TR-08": Rule(INFO, "a token of a registration, not a token A, to read the modules"),
    "TR-13": Rule(MUST, "a JSON object with status_code (an integer of 4 digits) and timestamp (a DateTime)"),
    "TR-15": Rule(MUST, "data is an array in lists, one object elsewhere"),
    "TR-19": Rule(
        MUST, "no HTTP error for a valid request: HTTP 200 with an OCPI code, or 404 for what does not exist"
    ),
    "TR-20": Rule(SHOULD, "HTTP 404 to an object that does not exist"),
    "TR-25": Rule(MUST, "1000 for success"),
    "TR-26": Rule(MUST, "an OCPI code 2xxx beside a refusal"),
    "TR-31": Rule(INFO, "routes with and without the trailing slash, without a redirect"),
    "ID-01": Rule(MUST, "X-Request-ID of the request is in the answer"),
    "ID-02": Rule(MUST, "X-Correlation-ID of the request is in the answer"),
    "RT-02": Rule(MUST, "no routing headers on versions and credentials"),
    "RT-03": Rule(MUST, "routing headers of the answer: to = the asking party, from = the answering one"),
    "RT-11": Rule(MUST, "only objects of the party in the OCPI-to headers"),
    "RT-15": Rule(INFO, "routing headers in answers of functional modules"),
    # ---- data types --------------------------------------------------------------------------------------------------
    "TY-01": Rule(MUST, "a DateTime in UTC with Z, at most three fraction digits"),
    "TY-04": Rule(MUST, "printable ASCII, found whatever its case"),
    "TY-05": Rule(MUST, "a string of printable characters"),
    "TY-06": Rule(MUST, "no longer than its field allows"),
    "TY-08": Rule(MUST, "a JSON number with at most 4 decimals, integers and booleans as such"),
    "TY-10": Rule(MUST, "optional fields left out instead of null or an empty string"),
    "TY-12": Rule(MUST, "an absolute URL of at most 255 characters"),
    "TY-14": Rule(MUST, "a language of two letters, plain text"),
    "TY-15": Rule(MUST, "coordinates as strings with 5 to 7 decimals (2.1.1: 6)"),
    "TY-16": Rule(INFO, "no fields but those of the specification, unless agreed"),
    "TY-17": Rule(MUST, "a value of the enum"),
    "TY-18": Rule(MUST, "entries that are objects"),
    # ---- lists -------------------------------------------------------------------------------------------------------
    "PG-02": Rule(MUST, "date_from inclusive and date_to exclusive, on last_updated"),
    "PG-03": Rule(MUST, "offset is applied; beyond the end the list is empty, and no error"),
    "PG-04": Rule(MUST, "at most limit objects"),
    "PG-05": Rule(MUST, "X-Total-Count: all objects that match, whatever offset and limit"),
    "PG-06": Rule(MUST, "X-Limit: the server's own upper limit"),
    "PG-07": Rule(MUST, 'Link: <absolute URL>; rel="next" on every page but the last, none there'),
    "PG-08": Rule(MUST, "the next link keeps date_from, date_to and the limit"),
    "PG-10": Rule(SHOULD, "one order, whatever the size of the pages"),
    "PG-11": Rule(MUST, "the same URL gives the same page while nothing changed"),
    "PG-12": Rule(MUST, "next links that lead to an end"),
    "PG-15": Rule(MUST, "the list of a module that we are the receiver of can be read"),
    "PG-17": Rule(INFO, "HTTP 200 with 2001 to a parameter that cannot be read"),
    # ---- versions and credentials ------------------------------------------------------------------------------------
    "VE-01": Rule(MUST, "each version once, with its absolute https URL"),
    "VE-02": Rule(
        MUST, "version and endpoints, each with identifier, role (not in 2.1.1) and a URL that can be called"
    ),
    "VE-03": Rule(MUST, "credentials among the endpoints"),
    "VE-06": Rule(INFO, "modules of the specification, unless agreed"),
    "CR-11": Rule(MUST, "our credentials object, with the token that we use"),
    "CR-30": Rule(MUST, "a token of at most 64 printable ASCII characters without spaces"),
    "CR-31": Rule(MUST, "roles: at least one, each once, complete"),
    "CR-32": Rule(MUST, "business_details, party_id and country_code beside token and url"),
    # ---- locations ---------------------------------------------------------------------------------------------------
    "LO-01": Rule(
        MUST, "a Location, an EVSE and a Connector can each be read by their ids, and are what the list says"
    ),
    "LO-02": Rule(MUST, "404 to an id that does not exist, never a server error"),
    "LO-04": Rule(MUST, "a Location is as new as its newest EVSE, an EVSE as its newest Connector"),
    "LO-20": Rule(MUST, "the required fields of a Location; country is alpha-3"),
    "LO-21": Rule(MUST, "ids that are unique, whatever their case"),
    "LO-23": Rule(MUST, "an IANA time zone"),
    "LO-26": Rule(MUST, "publish_allowed_to only with publish false"),
    "LO-27": Rule(MUST, "uid, visual_number or group_id; type with uid, issuer with visual_number"),
    "LO-40": Rule(MUST, "the required fields of an EVSE, one Connector at least"),
    "LO-47": Rule(MUST, "the required fields of a Connector"),
    "LO-52": Rule(MUST, "an energy mix whose sources add up to 100 percent"),
    "LO-70": Rule(MUST, "twentyfourseven, or regular_hours with entries"),
    "LO-71": Rule(MUST, "weekday 1 to 7, HH:MM of 24 hours"),
    "LO-72": Rule(MUST, "period_end after period_begin"),
    "LO-73": Rule(MUST, "exceptional periods with their begin and end"),
    # ---- tariffs, sessions, CDRs, tokens, hub ------------------------------------------------------------------------
    "TA-01": Rule(MUST, "every tariff that is referred to is in the list of tariffs"),
    "TA-10": Rule(MUST, "the required fields of a Tariff, one element at least"),
    "TA-11": Rule(MUST, "the required fields of an element and its price components"),
    "TC-28": Rule(MUST, "the same total_cost in a completed Session and its CDR"),
    "SE-01": Rule(INFO, "2001 to a list of sessions without date_from"),
    "SE-08": Rule(MUST, "the required fields of a Session"),
    "SE-09": Rule(MUST, "ids that are unique, whatever their case"),
    "SE-18": Rule(MUST, "ENERGY in kWh, its sum not above the session's kwh"),
    "SE-21": Rule(MUST, "no CURRENT, ENERGY_EXPORT, ENERGY_IMPORT, POWER, STATE_OF_CHARGE in a CDR"),
    "SE-24": Rule(MUST, "end_date_time in a session that is COMPLETED"),
    "CD-07": Rule(MUST, "credit together with credit_reference_id"),
    "CD-09": Rule(MUST, "ids that are unique, whatever their case"),
    "CD-11": Rule(MUST, "the required fields of a CDR, one charging period at least"),
    "CD-14": Rule(MUST, "the required fields of a CdrLocation"),
    "CD-17": Rule(MUST, "periods in order, the first from the CDR's start, none from after its end"),
    "CD-18": Rule(MUST, "total_energy, total_time, total_parking_time: the sums of the periods"),
    "CD-20": Rule(MUST, "the tariff of each period in the CDR's tariffs"),
    "CD-23": Rule(MUST, "a Price with excl_vat"),
    "CD-28": Rule(MUST, "the required fields of signed data"),
    "TK-06": Rule(MUST, "the required fields of a Token"),
    "TK-08": Rule(MUST, "each token once: party, uid and type, whatever their case"),
    "HC-02": Rule(MUST, "the required fields of a ClientInfo"),
    # ---- 2.1.1 -------------------------------------------------------------------------------------------------------
    "V1-06": Rule(MUST, "the required fields of a 2.1.1 Location"),
    "V1-07": Rule(MUST, "the required fields of a 2.1.1 Connector"),
    "V1-09": Rule(MUST, "the required fields of a 2.1.1 Session"),
    "V1-10": Rule(MUST, "the required fields of a 2.1.1 CDR"),
    "V1-11": Rule(MUST, "the required fields of a 2.1.1 Tariff"),
    "V1-14": Rule(MUST, "the required fields of a 2.1.1 Token"),
}

# Under which id a class's missing fields are reported; a class that is not here is part of another, under whose id it goes.
REQUIRED: dict[str, str] = {
    "Credentials": "CR-31",
    "CredentialsRole": "CR-31",
    "Version": "VE-01",
    "VersionDetails": "VE-02",
    "Endpoint": "VE-02",
    "Location": "LO-20",
    "EVSE": "LO-40",
    "Connector": "LO-47",
    "EnergyMix": "LO-52",
    "Hours": "LO-70",
    "RegularHours": "LO-71",
    "ExceptionalPeriod": "LO-73",
    "GeoLocation": "TY-15",
    "DisplayText": "TY-14",
    "PublishTokenType": "LO-27",
    "Tariff": "TA-10",
    "TariffElement": "TA-11",
    "PriceComponent": "TA-11",
    "Session": "SE-08",
    "CDR": "CD-11",
    "CdrLocation": "CD-14",
    "Price": "CD-23",
    "SignedData": "CD-28",
    "Token": "TK-06",
    "ClientInfo": "HC-02",
}
REQUIRED_211 = REQUIRED | {
    "Credentials": "CR-32",
    "Location": "V1-06",
    "Connector": "V1-07",
    "Session": "V1-09",
    "CDR": "V1-10",
    "Tariff": "V1-11",
    "Token": "V1-14",
}

# Under which id two entries of a list that are one and the same are reported.
UNIQUE = {"locations": "LO-21", "sessions": "SE-09", "cdrs": "CD-09", "tariffs": "TA-10", "tokens": "TK-08"}
