"""A connection is remembered with its user, as the authorizer's context names them."""

from chatbot import connections
from chatbot.connections import Connection
from functions.ws_connect import handler
from tests.unit.chat.world import USER, World


def test_connection_is_known_when_it_was_let_through(world: World) -> None:
    event = {
        "requestContext": {
            "connectionId": "ann",
            "requestId": "r",
            "authorizer": {"principalId": USER, "user_id": USER, "token_version": "3"},
        }
    }
    assert handler.handler(event, None) == {"statusCode": 200}
    assert connections.find("ann") == Connection("ann", USER, 3)
