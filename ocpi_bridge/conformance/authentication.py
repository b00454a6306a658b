"""Which tokens an Authorization header may mean (TR-02 to TR-07); whose they are is the directory's to say."""

import base64
import binascii
import re

from crud.caller import PresentedToken

# Literally "Token", one space, one word: other schemes are not OCPI's.
HEADER = re.compile(r"Token ([!-~]+)", re.ASCII)
TOKEN = re.compile(r"[!-~]{1,64}", re.ASCII)


def presented_tokens(authorization: str | None, *, raw_is_right: bool = False) -> tuple[PresentedToken, ...]:
    """The Base64-decoded reading first, then the raw one, without what no credentials token can equal (CR-30).
    `raw_is_right`: what is asked for may be of 2.1.1, which does not encode its tokens (TR-04)."""
    match = HEADER.fullmatch(authorization or "")
    if match is None:
        return ()
    readings = ((decoded(match[1]), False), (match[1], not raw_is_right))
    return tuple(PresentedToken(token=text, is_raw=is_raw) for text, is_raw in readings if TOKEN.fullmatch(text))


def decoded(text: str) -> str:
    """Empty when it is no Base64 of text. The specification's own example ends in a newline (TR-06, ER-01)."""
    try:
        return base64.b64decode(text, validate=True).decode().rstrip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
