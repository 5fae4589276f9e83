"""The models that the environment allows, with what `models.json` knows of them."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chatbot.settings import settings


class Model(NamedTuple):
    """A model of Amazon Bedrock. Prices are decimal strings in USD for a million tokens.

    `max_tokens` is the longest answer, `context_tokens` what question and answer may have together.
    A prefix of `cache_minimum_tokens` or more can be cached (0: none can). Models that
    `takes_top_p_alone` refuse a temperature beside it. `called` is the name that Bedrock is called
    by: the id, or the ARN of an application inference profile.

    Source: the Amazon Bedrock pricing page (us-east-1, on demand), its page on prompt caching, and
    the providers' model cards. Where no price of cache writes is given, they cost as input does.
    """

    model_id: str
    name: str
    input_price: str
    output_price: str
    cache_read_price: str
    cache_write_price: str
    max_tokens: int
    context_tokens: int
    cache_minimum_tokens: int
    takes_top_p_alone: bool
    called: str


@cache
def allowed_models() -> dict[str, Model]:
    """The allowed models by id, in the order of the setting.

    An id may be that of a cross-region inference profile: the model's with a prefix, `eu.` say.
    Raises `LookupError` for an id that `models.json` lacks: its limits and price are not known.
    """
    text = Path(__file__).with_name("models.json").read_text(encoding="utf-8")
    known = {row["model_id"]: row for row in json.loads(text)}
    profiles = dict(pair.split("=", 1) for pair in settings().bedrock_inference_profiles)
    models = {}
    for model_id in settings().bedrock_model_ids:
        row = known.get(model_id) or known.get(model_id.partition(".")[2])
        if row is None:
            raise LookupError(f"models.json lacks {model_id}")
        called = profiles.get(model_id, model_id)
        models[model_id] = Model(**{**row, "model_id": model_id, "called": called})
    return models
