"""What the routes of chatbots answer."""

from typing import Annotated, Any, NotRequired

from pydantic import Field

from chatbot.answers import Id, Money, Resource, Shape

type Share = Annotated[float, Field(ge=0, le=1)]


class ChatbotKnowledge(Shape):
    """Where the chatbot searches: in some sources, or in all where none is named."""

    enabled: bool
    top_k: Annotated[int, Field(ge=1, le=20)]
    source_ids: NotRequired[list[Id]]


class Chatbot(Resource):
    """An assistant. `system_prompt` is a Jinja2 template of user, workspace, chatbot and now."""

    name: str
    description: str
    system_prompt: str
    model_id: str
    temperature: Share
    top_p: NotRequired[Share]
    max_tokens: Annotated[int, Field(ge=1)]
    tools: list[str]
    max_tool_rounds: Annotated[int, Field(ge=1, le=10)]
    knowledge: ChatbotKnowledge
    guardrail_enabled: bool
    is_active: bool


class Model(Shape):
    """A model that the environment allows. Prices are for a million tokens."""

    model_id: str
    name: str
    input_price: Money
    output_price: Money
    max_tokens: Annotated[int, Field(ge=1)]


ANSWERS: dict[str, Any] = {
    "index": Chatbot,
    "create": Chatbot,
    "read": Chatbot,
    "update": Chatbot,
    "models": Model,
}
