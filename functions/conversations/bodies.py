"""What clients send of a conversation."""

from typing import Annotated

from pydantic import Field, StringConstraints

from chatbot.bodies import Body

type Id = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True
    ),
]
type Title = Annotated[str, Field(min_length=1, max_length=200)]


class NewConversation(Body):
    """Without a title the conversation gets one from its first message."""

    chatbot_id: Id
    title: Title | None = None


class ConversationPatch(Body):
    title: Title = ""
