"""Embeddings that need no model: hashed words, so that similar texts are near and others far."""

import hashlib
import math
import re
from collections import Counter
from itertools import pairwise

DIMENSIONS = (256, 512, 1024)
_WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int, normalize: bool) -> list[float]:
    """A vector of that many numbers; of length 1 if normalized, never all zeros.

    Each word, its three-letter pieces and each pair of neighbours fall on two places with a sign,
    all by hash. Words weigh by the logarithm of how often they stand there.
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    pieces = Counter(words)
    weights = {f"w:{word}": 1.0 + math.log(count) for word, count in pieces.items()}
    for word in pieces:
        padded = f"^{word}$"
        for start in range(len(padded) - 2):
            trigram = f"t:{padded[start : start + 3]}"
            weights[trigram] = weights.get(trigram, 0.0) + 0.15
    for first, second in pairwise(words):
        weights[f"p:{first} {second}"] = 0.3
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
