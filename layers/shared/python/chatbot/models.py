"""The models that the environment allows, with what `models.json` knows of them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chatbot.settings import settings


@dataclass(frozen=True, slots=True)
class Model:
    """A model of Amazon Bedrock. Prices are decimal strings in USD for a million tokens.

    Source: the Amazon Bedrock pricing page and the providers' model cards (longest answer).
    """

    model_id: str
    name: str
    input_price: str
    output_price: str
    max_tokens: int


@cache
def allowed_models() -> dict[str, Model]:
    """The allowed models by id, in the order of the setting.

    An id may be an inference profile's: the model's with a region's prefix, `eu.` say. Raises
    `LookupError` for an id that `models.json` lacks: its limits and its price are not known.
    """
    text = Path(__file__).with_name("models.json").read_text(encoding="utf-8")
    known = {row["model_id"]: row for row in json.loads(text)}
    models = {}
    for model_id in settings().bedrock_model_ids:
        row = known.get(model_id) or known.get(model_id.partition(".")[2])
        if row is None:
            raise LookupError(f"models.json lacks {model_id}")
        models[model_id] = Model(**{**row, "model_id": model_id})
    return models
