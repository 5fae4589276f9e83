"""The queries of OpenSearch that the product uses: which entries match, and with what score."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

type Source = Mapping[str, Any]
type Entries = Mapping[str, Source]  # by their ids
type Scores = dict[str, float]

MOST_CLAUSES = 1024
_K1, _B = 1.2, 0.75


class Unknown(Exception):
    """A query that the stand-in, or OpenSearch, does not know."""


def scores(query: Mapping[str, Any], entries: Entries) -> Scores:
    """The entries that match, with their scores. Raises `Unknown`."""
    [(kind, body)] = query.items()
    if kind == "bool":
        return _bool(body, entries)
    if kind not in _LEAVES or len(body) != 1:
        raise Unknown(f"unknown query [{kind}]")
    [(name, value)] = body.items()
    return _LEAVES[kind](name, value, entries)


def _bool(body: Mapping[str, Any], entries: Entries) -> Scores:
    if not body.keys() <= {"must", "filter"}:
        raise Unknown(f"[bool] {sorted(body)}")
    total = dict.fromkeys(entries, 0.0)
    for occurrence, clauses in body.items():
        for clause in clauses if isinstance(clauses, list) else [clauses]:
            found = scores(clause, entries)
            weight = 1.0 if occurrence == "must" else 0.0
            total = {key: total[key] + weight * found[key] for key in total if key in found}
    return total


def _where(fits: Callable[[Any], bool], name: str, entries: Entries) -> Scores:
    return {key: 1.0 for key, source in entries.items() if fits(source.get(name))}


def _term(name: str, value: Any, entries: Entries) -> Scores:
    return _where(lambda held: held is not None and held == value, name, entries)


def _terms(name: str, values: Iterable[Any], entries: Entries) -> Scores:
    return _where(lambda held: held in values, name, entries)


def _range(name: str, bounds: Mapping[str, float], entries: Entries) -> Scores:
    least, most = bounds.get("gte", -math.inf), bounds.get("lte", math.inf)
    return _where(lambda held: held is not None and least <= held <= most, name, entries)


def _words(text: str) -> list[str]:
    """As an analyzer of English would, roughly: plurals are their singulars."""
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.casefold())]


def _match(name: str, text: str, entries: Entries) -> Scores:
    """BM25."""
    asked = {*_words(text)}
    if len(asked) > MOST_CLAUSES:
        raise Unknown("too_many_nested_clauses")
    held = {key: Counter(_words(source[name])) for key, source in entries.items()}
    mean = sum(count.total() for count in held.values()) / max(len(held), 1)
    found: Scores = {}
    for word in asked:
        having = [key for key, count in held.items() if word in count]
        worth = math.log(1 + (len(held) - len(having) + 0.5) / (len(having) + 0.5))
        for key in having:
            often = held[key][word]
            length = _K1 * (1 - _B + _B * held[key].total() / mean)
            found[key] = found.get(key, 0.0) + worth * often / (often + length)
    return found


def _knn(name: str, asked: Mapping[str, Any], entries: Entries) -> Scores:
    """The k nearest of those that the filter lets through, by inner product."""
    among = scores(asked["filter"], entries) if "filter" in asked else entries
    products = {key: math.sumprod(entries[key][name], asked["vector"]) for key in among}
    nearest = sorted(products, key=products.__getitem__, reverse=True)[: asked["k"]]
    return {
        key: 1 + products[key] if products[key] >= 0 else 1 / (1 - products[key]) for key in nearest
    }


_LEAVES: dict[str, Callable[[str, Any, Entries], Scores]] = {
    "term": _term,
    "terms": _terms,
    "range": _range,
    "match": _match,
    "knn": _knn,
}
