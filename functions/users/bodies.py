"""What clients send of accounts."""

from typing import Annotated

from pydantic import AfterValidator

from chatbot import passwords
from chatbot.accounts import Email, FullName, Username
from chatbot.bodies import Body

type NewPassword = Annotated[str, AfterValidator(passwords.check_new)]


class AccountPatch(Body):
    username: Username = ""
    full_name: FullName = ""


class PasswordChange(Body):
    current_password: Annotated[str, AfterValidator(passwords.check_length)]
    new_password: NewPassword


class NewUser(Body):
    email: Email
    username: Username
    full_name: FullName
    password: NewPassword
    is_admin: bool = False


class UserPatch(Body):
    username: Username = ""
    full_name: FullName = ""
    is_active: bool = True
    is_admin: bool = False
