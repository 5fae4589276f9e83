"""What a wish for a mail leaves in the queue."""

import json

import boto3
import pytest
from moto import mock_aws

from chatbot import log, mail
from tests.unit.conftest import fresh_settings


def test_wish_is_a_message_with_the_request_and_no_token(environment: pytest.MonkeyPatch) -> None:
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="mail")["QueueUrl"]
        environment.setenv("MAIL_QUEUE_URL", url)
        fresh_settings()
        log.bind("request")
        mail.enqueue("reset_password", email="a@example.com")
        [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    wished = json.loads(message["Body"])
    expected = {"kind": "reset_password", "request_id": "request", "email": "a@example.com"}
    assert wished == expected
