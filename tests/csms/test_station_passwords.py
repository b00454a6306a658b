import pytest

from csms.passwords import hash_password, verify

KEY = "00ff11EE22dd33cc44bb55aa66997788"


@pytest.mark.parametrize(
    ("presented", "right"),
    [
        (KEY.encode(), True),
        (KEY.encode().hex().encode(), True),
        (KEY.encode().hex().upper().encode(), True),
        (b"", False),
        (KEY[:-1].encode(), False),
        (b"\xff\xfe", False),
        ("é".encode(), False),
    ],
)
def test_a_password_is_recognised_as_text_and_as_hex(presented: bytes, right: bool) -> None:
    assert verify(presented, hash_password(KEY)) is right


@pytest.mark.parametrize("stored", [KEY.lower(), KEY.upper()])
def test_a_key_given_in_hex_is_recognised_as_its_raw_bytes(stored: str) -> None:
    raw = bytes.fromhex(KEY)
    assert verify(raw, hash_password(stored))
    with pytest.raises(UnicodeDecodeError):
        raw.decode()


def test_the_same_password_is_stored_differently_each_time() -> None:
    assert hash_password(KEY) != hash_password(KEY)
    assert KEY not in hash_password(KEY)
    assert verify(b"\xff\x00", hash_password(b"\xff\x00"))


@pytest.mark.parametrize("stored", ["", "plain", "blake2b$zz$00", "blake2b$00$00", "md5$" + "00" * 16 + "$00"])
def test_an_unreadable_hash_lets_nobody_in(stored: str) -> None:
    assert not verify(b"plain", stored)
