"""What is sent for each wish, to whom, and what comes again."""

import json
import re
from typing import Any

import pytest

from chatbot import aws, tokens
from functions.send_mail import handler as send_mail
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, WORKSPACE_A


class Ses:
    """SES's client: keeps the mails, or fails as it is told to."""

    class exceptions:  # noqa: N801 - botocore's name
        class BadRequestException(Exception):
            pass

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.failures: list[Exception] = []

    def send_email(self, **mail: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(mail)

    @property
    def texts(self) -> list[str]:
        return [mail["Content"]["Simple"]["Body"]["Text"]["Data"] for mail in self.sent]


@pytest.fixture
def ses(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Ses:
    fake, real = Ses(), aws.client
    monkeypatch.setattr(aws, "client", lambda name: fake if name == "sesv2" else real(name))
    return fake


def wish(kind: str, **about: Any) -> dict[str, Any]:
    return {"kind": kind, "request_id": "r", **about}


def serve(*wishes: dict[str, Any]) -> list[str]:
    """Calls the function with the wishes as messages `1`, `2`, ...; those that failed."""
    records = [
        {"messageId": str(number), "body": json.dumps(one)}
        for number, one in enumerate(wishes, start=1)
    ]
    answer = send_mail.handler({"Records": records}, None)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


INVITED = wish("invitation", workspace_id=WORKSPACE_A, invitation_id=ALICE.user_id, version=2)


@pytest.mark.parametrize(
    ("asked", "due", "page"),
    [
        (wish("verify_email", email="A@x.org"), {"email": "a@x.org", "token": True},
         "verify-email"),
        (wish("reset_password", email="A@x.org"), {"email": "a@x.org", "token": True},
         "reset-password"),
        (INVITED, {"email": "a@x.org", "workspace": "Acme"}, "invitation"),
    ],
)  # fmt: skip
def test_link_carries_the_token_whose_digest_is_stored(
    asked: dict[str, Any], due: dict[str, Any], page: str, database: FakeDatabase, ses: Ses
) -> None:
    database.answers = [due]
    assert serve(asked) == []
    [mail] = ses.sent
    assert mail["FromEmailAddress"] == "no-reply@chat.example.com"
    assert mail["Destination"] == {"ToAddresses": ["a@x.org"]}
    [token] = re.findall(rf"https://chat\.example\.com/{page}\?token=(\S+)", ses.texts[0])
    stored = database.asked[0]["params"]
    assert stored["token_hash"] == tokens.digest(token)
    assert token not in json.dumps(database.asked)


def test_known_address_is_told_so_without_a_token(database: FakeDatabase, ses: Ses) -> None:
    database.answers = [{"email": "a@x.org", "token": False}]
    assert serve(wish("verify_email", email="a@x.org")) == []
    assert "has an account already" in ses.texts[0]
    assert "token" not in ses.texts[0]


@pytest.mark.parametrize(
    "asked",
    [wish("verify_email", email="a@x.org"), wish("reset_password", email="a@x.org"), INVITED],
)
def test_nothing_is_sent_when_no_mail_is_due(
    asked: dict[str, Any], database: FakeDatabase, ses: Ses
) -> None:
    database.answers = [None]
    assert serve(asked) == []
    assert ses.sent == []


def test_invitation_names_the_message_so_that_a_repetition_is_told_from_a_duplicate(
    database: FakeDatabase, ses: Ses
) -> None:
    database.answers = [{"email": "a@x.org", "workspace": "Acme"}, None]
    assert serve(INVITED, INVITED) == []
    assert [asked["params"]["mail_id"] for asked in database.asked] == ["1", "2"]
    assert database.asked[0]["params"]["version"] == 2
    assert len(ses.sent) == 1


def test_name_of_a_workspace_stays_on_its_line(database: FakeDatabase, ses: Ses) -> None:
    name = "Acme\n\nYour account is locked, see\thttp://evil.example {link} {0.__class__}"
    database.answers = [{"email": "a@x.org", "workspace": name}]
    assert serve(INVITED) == []
    line = ses.texts[0].splitlines()[0]
    assert " ".join(name.split()) in line


def test_failed_mail_comes_again_and_the_others_are_sent(database: FakeDatabase, ses: Ses) -> None:
    database.answers = [{"email": f"{n}@x.org", "token": True} for n in range(3)]
    ses.failures = [RuntimeError("throttled")]
    one = wish("reset_password", email="a@x.org")
    assert serve(one, one, one) == ["1"]
    assert len(ses.sent) == 2


def test_address_that_ses_refuses_does_not_come_again(database: FakeDatabase, ses: Ses) -> None:
    database.answers = [{"email": "a..b@x.org", "token": True}]
    ses.failures = [Ses.exceptions.BadRequestException()]
    assert serve(wish("reset_password", email="a..b@x.org")) == []


def test_mails_to_one_address_are_limited_whoever_wishes_for_them(
    database: FakeDatabase, ses: Ses
) -> None:
    spellings = ["a@x.org", "A@X.org"] * 6
    database.answers = [{"email": email, "token": True} for email in spellings]
    database.answers.append({"email": "b@x.org", "token": True})
    wishes = [wish("reset_password", email="a@x.org")] * 13
    assert serve(*wishes) == []
    addressed = [mail["Destination"]["ToAddresses"][0].lower() for mail in ses.sent]
    assert addressed == ["a@x.org"] * 10 + ["b@x.org"]
