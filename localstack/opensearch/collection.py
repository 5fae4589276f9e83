"""What a collection holds, and what it answers: indexes, bulk requests, searches."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from localstack.opensearch import queries

DELAY_SECONDS = 60.0
MOST_HITS = 10_000
_SPACES = {"faiss": {"l2", "innerproduct"}, "nmslib": {"l2", "innerproduct", "cosinesimil"}}
_NUMBERS = {"long", "integer", "date"}


class Refused(Exception):
    """An answer other than 200: status, the error's type and its reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason


@dataclass
class _Entry:
    source: dict[str, Any]
    shows_at: float
    gone_at: float = inf


class Collection:
    """Indexes by name. What is written shows after `delay_seconds` of `clock`, a deletion too."""

    def __init__(
        self, delay_seconds: float = DELAY_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._delay, self._clock = delay_seconds, clock
        self._mappings: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, dict[str, _Entry]] = {}

    def create(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT <index>."""
        if index in self._mappings:
            reason = f"index [{index}] already exists"
            raise Refused(400, "resource_already_exists_exception", reason)
        mapping = body["mappings"]
        for name, field in mapping["properties"].items():
            method = field.get("method")
            if method and method["space_type"] not in _SPACES[method["engine"]]:
                reason = f"[{name}] {method['engine']} has no space type {method['space_type']}"
                raise Refused(400, "mapper_parsing_exception", reason)
        self._mappings[index] = mapping
        self._entries[index] = {}
        return {"acknowledged": True, "shards_acknowledged": True, "index": index}

    def bulk(self, index: str, lines: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """POST <index>/_bulk: each line's own result, and whether one has an error."""
        self._known(index)
        items = []
        for line in lines:
            [(action, target)] = line.items()
            source = None if action == "delete" else next(lines)
            try:
                items.append({action: self._do(index, action, target, source)})
            except Refused as error:
                problem = {"type": error.kind, "reason": error.reason}
                items.append({action: {"status": error.status, "error": problem}})
        errors = any("error" in result for item in items for result in item.values())
        return {"took": 1, "errors": errors, "items": items}

    def _do(
        self, index: str, action: str, target: Mapping[str, Any], source: dict[str, Any] | None
    ) -> dict[str, Any]:
        if action == "delete":
            entry = self._entries[index].get(target["_id"])
            if entry is None or entry.gone_at < inf:
                return {"_id": target["_id"], "result": "not_found", "status": 404}
            entry.gone_at = self._clock() + self._delay
            return {"_id": target["_id"], "result": "deleted", "status": 200}
        if action != "index" or "_id" in target or source is None:
            reason = "Document ID is not supported in create/index operation request"
            raise Refused(400, "illegal_argument_exception", reason)
        self._check(self._mappings[index], source)
        made = f"1%3A0%3A{secrets.token_urlsafe(15)}"
        self._entries[index][made] = _Entry(source, self._clock() + self._delay)
        return {"_id": made, "result": "created", "status": 201}

    def _check(self, mapping: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        for name, value in source.items():
            field = mapping["properties"].get(name)
            if field is None:
                reason = f"mapping set to strict, dynamic introduction of [{name}] is not allowed"
                raise Refused(400, "strict_dynamic_mapping_exception", reason)
            if field["type"] == "knn_vector":
                fits = len(value) == field["dimension"]
            else:
                fits = value is None or isinstance(value, int if field["type"] in _NUMBERS else str)
            if not fits:
                raise Refused(400, "mapper_parsing_exception", f"failed to parse field [{name}]")

    def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST <index>/_search: by score, or as `sort` says, after `search_after`."""
        self._known(index)
        if body.get("size", 10) > MOST_HITS:
            raise Refused(400, "illegal_argument_exception", "Result window is too large")
        now = self._clock()
        entries = {
            key: entry.source
            for key, entry in self._entries[index].items()
            if entry.shows_at <= now < entry.gone_at
        }
        try:
            found = queries.scores(body["query"], entries)
        except queries.Unknown as error:
            raise Refused(400, "parsing_exception", str(error)) from error
        fields = [name for order in body.get("sort", []) for name in order]
        hits: list[dict[str, Any]] = []
        for key, score in found.items():
            shown = {name: entries[key][name] for name in body["_source"]}
            place = [entries[key][name] for name in fields]
            if fields and place <= body.get("search_after", []):
                continue
            hit = {"_id": key, "_score": None if fields else score, "_source": shown}
            hits.append(hit | ({"sort": place} if fields else {}))
        hits.sort(key=lambda hit: hit["sort"] if fields else -hit["_score"])
        shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
        return {
            "took": 1,
            "timed_out": False,
            "_shards": shards,
            "hits": {"hits": hits[: body.get("size", 10)]},
        }

    def _known(self, index: str) -> None:
        if index not in self._mappings:
            raise Refused(404, "index_not_found_exception", f"no such index [{index}]")
