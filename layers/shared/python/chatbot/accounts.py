"""Fields of accounts, as several resources' bodies take them."""

from typing import Annotated

from pydantic import Field

# https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address, with a dot in the domain.
# ASCII only: SES takes no other (domains in Punycode), and PostgreSQL's lower() makes one address
# of letters that mail takes for different ones.
_EMAIL = r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$"

type Email = Annotated[str, Field(max_length=254, pattern=_EMAIL)]
type Username = Annotated[str, Field(min_length=1, max_length=64)]
type FullName = Annotated[str, Field(min_length=1, max_length=200)]
