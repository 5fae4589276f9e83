"""Two tenants: whatever one asks for by the other's ids is not there."""

from uuid import uuid4

import pytest

from tests.e2e.client import Tenant


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "Mine now"}),
        ("DELETE", "", None),
        ("GET", "/chatbots", None),
        ("POST", "/chatbots", {"name": "Intruder"}),
        ("GET", "/chatbots/{chatbot_id}", None),
        ("PATCH", "/chatbots/{chatbot_id}", {"name": "Mine now"}),
        ("DELETE", "/chatbots/{chatbot_id}", None),
        ("GET", "/sources", None),
        ("GET", "/jobs", None),
        ("GET", "/conversations", None),
        ("POST", "/conversations", {"chatbot_id": "{chatbot_id}"}),
        ("GET", "/conversations/{conversation_id}", None),
        ("PATCH", "/conversations/{conversation_id}", {"title": "Mine now"}),
        ("DELETE", "/conversations/{conversation_id}", None),
        ("GET", "/conversations/{conversation_id}/messages", None),
    ],
)
def test_rest_answers_404_when_the_row_is_another_workspaces(
    method: str, path: str, body: dict[str, str] | None, tenant: Tenant, other_tenant: Tenant
) -> None:
    conversation = other_tenant.rest.ok(
        "POST", f"{other_tenant.path}/conversations", {"chatbot_id": other_tenant.chatbot_id}
    )
    ids = {"chatbot_id": other_tenant.chatbot_id, "conversation_id": conversation["id"]}
    body = body and {name: text.format(**ids) for name, text in body.items()}
    theirs = tenant.rest(method, other_tenant.path + path.format(**ids), body)
    assert theirs.status_code == 404
    assert other_tenant.rest.ok("GET", other_tenant.path)["status"] == "active"
    if "{" in path:
        mine = tenant.rest(method, tenant.path + path.format(**ids), body)
        assert mine.status_code == 404
        before = other_tenant.rest("GET", other_tenant.path + path.format(**ids))
        assert before.status_code == 200


def test_websocket_answers_not_found_when_ids_are_another_tenants(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    with other_tenant.chat() as chat:
        turn = chat.start(other_tenant.chatbot_id, "[[words 300]] [[pace 20]]")
        theirs = turn.ack["conversation_id"]
        with tenant.chat() as intruder:
            for frame in (
                {"type": "chat", "chatbot_id": other_tenant.chatbot_id, "content": "x"},
                {
                    "type": "chat",
                    "chatbot_id": tenant.chatbot_id,
                    "conversation_id": theirs,
                    "content": "x",
                },
                {"type": "open", "conversation_id": theirs},
                {"type": "resume", "message_id": turn.message_id, "after_seq": 0},
                {"type": "cancel", "message_id": turn.message_id},
                {"type": "cancel", "message_id": str(uuid4())},
            ):
                intruder.send(frame)
                answer = intruder.receive()
                assert (answer["type"], answer["code"]) == ("error", "not_found"), frame
        chat.follow(turn)
    assert turn.check()["status"] == "completed"


def test_model_is_never_sent_the_others_words_when_both_chat_at_once(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    secrets = {id(t): f"secret-{uuid4().hex}" for t in (tenant, other_tenant)}
    for owner in (tenant, other_tenant):
        with owner.chat() as chat:
            first = chat.ask(owner.chatbot_id, f"Remember {secrets[id(owner)]}")
            again = chat.ask(
                owner.chatbot_id,
                "What should you remember of the other workspace?",
                conversation_id=first.ack["conversation_id"],
            )
        for other in (tenant, other_tenant):
            if other is not owner:
                assert secrets[id(other)] not in again.text
