"""What clients send to register and to sign in."""

from typing import Annotated

from pydantic import AfterValidator, Field

from chatbot import passwords
from chatbot.accounts import Email, FullName, Username
from chatbot.bodies import Body

type NewPassword = Annotated[str, AfterValidator(passwords.check_new)]
type OpaqueToken = Annotated[str, Field(min_length=1, max_length=256)]


class Registration(Body):
    email: Email
    username: Username
    full_name: FullName
    password: NewPassword


class Login(Body):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, AfterValidator(passwords.check_length)]


class RefreshToken(Body):
    refresh_token: OpaqueToken


class Address(Body):
    email: Email


class MailedToken(Body):
    token: OpaqueToken


class PasswordReset(Body):
    token: OpaqueToken
    password: NewPassword
