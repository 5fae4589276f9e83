"""Passwords: 12 to 72 bytes of UTF-8 (bcrypt reads no more), hashed with bcrypt at cost 12."""

import unicodedata

import bcrypt

MIN_BYTES = 12
MAX_BYTES = 72

_COST = 12
# Of a password that nobody has: an unknown address costs as much time as a wrong password.
_NOBODY = b"$2b$12$0QlqUgNKv0SMGicALYLiK.HCBtLhGMB3eiPEWmkPgZ/wmz9ib53/u"


def check_new(password: str) -> str:
    """The password itself. Raises `ValueError` where it is too short or too long."""
    if len(password.encode()) < MIN_BYTES:
        raise ValueError(f"a password has at least {MIN_BYTES} bytes of UTF-8")
    return check_length(password)


def check_length(password: str) -> str:
    """The password itself. Raises `ValueError` where bcrypt would not read it to its end."""
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"a password has at most {MAX_BYTES} bytes of UTF-8")
    return password


def hashed(password: str) -> str:
    """The salted hash to store."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_COST)).decode()


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password is the hash's; with None (nobody's) False, after as much work."""
    found = bcrypt.checkpw(password.encode(), (password_hash or "").encode() or _NOBODY)
    return found and password_hash is not None


def account_name(email: str) -> str:
    """What guesses at an account are counted under.

    It is one for all that PostgreSQL's `lower` makes one address of, which Python's does not: in
    many locales that of U+0130, a capital I with a dot, is an i. Otherwise every such letter would
    double the guesses.
    """
    letters = unicodedata.normalize("NFKD", email.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
