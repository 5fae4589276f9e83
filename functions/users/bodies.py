"""What clients send of their accounts."""

from typing import Annotated

from pydantic import AfterValidator, Field

from chatbot import passwords
from chatbot.bodies import Body


class AccountPatch(Body):
    username: Annotated[str, Field(min_length=1, max_length=64)] = ""
    full_name: Annotated[str, Field(min_length=1, max_length=200)] = ""


class PasswordChange(Body):
    current_password: Annotated[str, AfterValidator(passwords.check_length)]
    new_password: Annotated[str, AfterValidator(passwords.check_new)]
