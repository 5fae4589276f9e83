"""Of a closed connection nothing is left."""

from chatbot import connections
from functions.ws_disconnect import handler
from tests.unit.chat.world import World


def test_connection_follows_nothing_when_it_was_closed(world: World) -> None:
    ann, tablet = world.connect("ann"), world.connect("tablet")
    ack = world.chat(ann)
    world.send(tablet, {"type": "open", "conversation_id": ack["conversation_id"]})
    event = {"requestContext": {"connectionId": ann, "requestId": "r"}}
    assert handler.handler(event, None) == {"statusCode": 200}
    assert connections.find(ann) is None
    followers = connections.followers(ack["conversation_id"])
    assert [follower.connection_id for follower in followers] == [tablet]
    assert handler.handler(event, None) == {"statusCode": 200}
