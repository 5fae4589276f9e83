"""Embeddings that need no model: hashed words, so that similar texts are near and others far."""

import hashlib
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

DIMENSIONS = (256, 512, 1024)
# They stand in every text and say little of what it is about: a model weighs them so, too.
FUNCTION_WORDS = frozenset(
    Path(__file__).with_name("function_words.txt").read_text(encoding="utf-8").split()
)
_FUNCTION_WORD_WEIGHT = 0.1
_WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int, normalize: bool) -> list[float]:
    """A vector of that many numbers; of length 1 if normalized, never all zeros.

    Each word, its three-letter pieces and each pair of neighbours fall on two places with a sign,
    all by hash. Words weigh by the logarithm of how often they stand there.
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    weights: dict[str, float] = {}
    for word, count in Counter(words).items():
        weight = _weight(word)
        weights[f"w:{word}"] = weight * (1.0 + math.log(count))
        padded = f"^{word}$"
        for start in range(len(padded) - 2):
            trigram = f"t:{padded[start : start + 3]}"
            weights[trigram] = weights.get(trigram, 0.0) + 0.15 * weight
    for first, second in pairwise(words):
        weights[f"p:{first} {second}"] = 0.3 * min(_weight(first), _weight(second))
    vector = [0.0] * dimensions
    for feature, weight in (weights or {"empty": 1.0}).items():
        digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
        for half in (digest[:4], digest[4:]):
            number = int.from_bytes(half, "big")
            vector[(number >> 1) % dimensions] += weight if number & 1 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0] = length = 1.0
    return [value / length for value in vector] if normalize else vector


def _weight(word: str) -> float:
    return _FUNCTION_WORD_WEIGHT if word in FUNCTION_WORDS else 1.0
