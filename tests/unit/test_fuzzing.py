"""What no list of examples thinks of: frames and cursors of any shape, made by hypothesis.

Whatever a client sends is either read as it was meant or refused with one clear error; nothing
else is raised, and what is refused is not told again.
"""

import base64
import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatbot.errors import BadRequest
from chatbot.paging import Page
from functions.ws_message import frames
from tests.unit.rest import ALICE, BOB, WORKSPACE_A, WORKSPACE_B

# The same examples in every run: a new one is found by raising the number, not by luck in CI.
fuzzed = settings(derandomize=True, deadline=None, max_examples=150)

IDS = st.uuids().map(str)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["chat", "open", "cancel", "resume", "approve", "ping"]),
    "chatbot_id": IDS,
    "conversation_id": IDS,
    "message_id": IDS,
    "client_message_id": TEXTS.filter(lambda text: len(text) <= 255),
    "content": TEXTS,
    "after_seq": st.integers(0, 2**31 - 1),
    "tool_use_id": TEXTS.filter(lambda text: len(text) <= 64),
    "approved": st.booleans(),
}
FRAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # needed and optional fields
    "chat": (("chatbot_id", "content"), ("conversation_id", "client_message_id")),
    "open": (("conversation_id",), ()),
    "cancel": (("message_id",), ()),
    "resume": (("message_id", "after_seq"), ()),
    "approve": (("message_id", "tool_use_id", "approved"), ()),
    "ping": ((), ()),
}


def read(event: dict[str, Any]) -> frames.Frame | None:
    """What `ws_message` makes of an event: the frame, or None where it answers `bad_request`."""
    try:
        value = frames.decode(event)
        frames.mark(value)
        frames.check_size(event)
        return frames.parse(value)
    except BadRequest as refusal:
        problem = refusal
    assert (problem.code, problem.status) == ("bad_request", 400)
    assert len(problem.detail) <= 300
    return None


@st.composite
def good_frames(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(FRAMES)))
    needed, optional = FRAMES[kind]
    names = (*needed, *(name for name in optional if draw(st.booleans())))
    return {"type": kind, **{name: draw(FIELDS[name]) for name in names}}


NEARLY = st.dictionaries(
    st.sampled_from(sorted(FIELDS)) | st.text(max_size=20), JSON | st.one_of(*FIELDS.values())
)
"""Objects that look like frames: known names beside others, values that belong and that do not."""


@fuzzed
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@example("\ud800")
@example('{"type": "ping"')
@example('{"type": "ping", "type": "pong"}')
@example('{"x": 1e999}')
@example('{"x": -Infinity}')
@example("[" * 30_000)
@example('{"a":' * 6_000)
@example("9" * 5_000)
def test_frame_is_refused_when_it_is_any_text(body: str) -> None:
    for encoded in (False, True):
        assert read({"body": body, "isBase64Encoded": encoded}) is None


@fuzzed
@given(st.binary())
@example(b"\xff\xfe{\x00}\x00")
@example(b"\xef\xbb\xbf{}")
@example(b"\xed\xa0\x80")
def test_frame_is_refused_when_it_is_any_bytes(data: bytes) -> None:
    body = base64.b64encode(data).decode()
    assert read({"body": body, "isBase64Encoded": True}) is None
    assert read({"body": body + "=", "isBase64Encoded": True}) is None


@fuzzed
@given(NEARLY)
@example({"type": "resume", "message_id": "0" * 36, "after_seq": 2**63})
@example({"type": ["chat"]})
@example({"type": "ping", "x" * 20_000: "y"})
def test_frame_is_read_or_refused_when_it_looks_like_one(value: dict[str, Any]) -> None:
    frame = read({"body": json.dumps(value)})
    if frame is not None:
        assert frame.type == value["type"]
        needed, optional = FRAMES[frame.type]
        assert {"type", *needed} <= value.keys() <= {"type", *needed, *optional}


@fuzzed
@given(good_frames(), st.booleans(), st.booleans())
def test_frame_comes_through_as_it_was_sent(
    value: dict[str, Any], ascii_only: bool, binary: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    body = base64.b64encode(text.encode()).decode() if binary else text
    event = {"body": body, "isBase64Encoded": binary}
    frame = read(event)
    if len(text.encode()) > frames.MAX_BYTES or len(value.get("content", "")) > 24_000:
        assert frame is None
    else:
        assert frame is not None
        assert frame.model_dump(exclude_unset=True) == value


@fuzzed
@given(good_frames(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_frame_is_refused_when_it_has_one_field_more(value: dict[str, Any], name: str) -> None:
    needed, optional = FRAMES[value["type"]]
    if name in {"type", *needed, *optional}:
        return
    assert read({"body": json.dumps(value | {name: None})}) is None


@fuzzed
@given(good_frames(), st.data())
def test_refusal_does_not_tell_a_value_again_when_it_is_wrong(
    value: dict[str, Any], data: st.DataObject
) -> None:
    """Details are logged by clients and shown on screens: none holds what a field held."""
    planted = "planted-5bd1e995"
    name = data.draw(st.sampled_from([name for name in value if name not in ("content", "type")]
                                     or ["type"]))  # fmt: skip
    wrong = value | {name: {"text": planted}}
    with pytest.raises(BadRequest) as refusal:
        frames.parse(wrong)
    assert planted not in refusal.value.detail


# --- Cursors -------------------------------------------------------------------------------------

LIST = (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_A}/chatbots")
OTHERS = [
    (BOB.user_id, LIST[1]),
    (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_B}/chatbots"),
    (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_A}/roles"),
]
FINGERPRINT = Page.from_query({}, *LIST).fingerprint
ALPHABET = string.ascii_letters + string.digits + "-_"
# As PostgreSQL prints them: to the microsecond, in UTC.
TIMES = st.datetimes().map(lambda time: time.isoformat() + "+00:00")
ROWS = st.fixed_dictionaries({"id": IDS, "created_at": TIMES})


def cursor_after(row: dict[str, str], *identity: str) -> str:
    page = Page.from_query({}, *identity)
    return str(page.answer({"items": [row], "more": True})["next_cursor"])


def after(cursor: str, *identity: str) -> tuple[str, str] | None:
    """Where the page of a cursor starts, or None where the answer is a 400."""
    try:
        return Page.from_query({"cursor": cursor}, *identity).after
    except BadRequest as refusal:
        problem = refusal
    assert problem.status == 400
    assert problem.detail == "the cursor is damaged or belongs to another list"
    return None


@fuzzed
@given(ROWS)
def test_cursor_leads_to_the_row_that_it_was_made_after(row: dict[str, str]) -> None:
    cursor = cursor_after(row, *LIST)
    assert set(cursor) <= set(ALPHABET)
    assert after(cursor, *LIST) == (row["created_at"], row["id"])


@fuzzed
@given(ROWS, st.sampled_from(OTHERS))
def test_cursor_is_refused_when_it_is_of_another_tenant_user_or_list(
    row: dict[str, str], other: tuple[str, str]
) -> None:
    assert after(cursor_after(row, *other), *LIST) is None
    assert after(cursor_after(row, *LIST), *other) is None


@fuzzed
@given(ROWS, st.data())
def test_cursor_is_refused_when_it_is_cut(row: dict[str, str], data: st.DataObject) -> None:
    cursor = cursor_after(row, *LIST)
    length = data.draw(st.integers(0, len(cursor) - 1))
    assert after(cursor[:length], *LIST) is None
    assert after(cursor[length + 1 :], *LIST) is None


@fuzzed
@given(ROWS, st.data())
def test_cursor_stays_a_sort_key_of_its_list_when_a_character_is_changed(
    row: dict[str, str], data: st.DataObject
) -> None:
    """It carries no authority, so a changed one may lead elsewhere in the list, never outside."""
    cursor = cursor_after(row, *LIST)
    place = data.draw(st.integers(0, len(cursor) - 1))
    changed = cursor[:place] + data.draw(st.sampled_from(ALPHABET)) + cursor[place + 1 :]
    found = after(changed, *LIST)
    if found is not None:
        assert after(cursor_after({"created_at": found[0], "id": found[1]}, *LIST), *LIST) == found
        assert all(after(changed, *other) is None for other in OTHERS)


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


FORGED: list[Callable[[Any, Any], object]] = [
    lambda one, two: [one, two, FINGERPRINT],
    lambda one, two: [one, two],
    lambda one, two: [one, two, FINGERPRINT, FINGERPRINT],
    lambda one, two: {"created_at": one, "id": two, "fingerprint": FINGERPRINT},
    lambda one, _: one,
]


@fuzzed
@given(JSON, JSON, st.sampled_from(FORGED))
@example("2026-02-30T00:00:00Z", "0190c000-0000-7000-8000-00000000000c", FORGED[0])
@example("2026-01-01T00:00:00Z\n", "0190c000-0000-7000-8000-00000000000c", FORGED[0])
@example("2026-01-01T00:00:00Z", "0190C000-0000-7000-8000-00000000000C", FORGED[0])
@example("infinity", "' OR 1=1 --", FORGED[0])
def test_cursor_is_refused_when_it_is_forged_of_anything_else(
    one: object, two: object, forge: Callable[[Any, Any], object]
) -> None:
    assert after(packed(forge(one, two)), *LIST) is None


@fuzzed
@given(st.text())
@example(FINGERPRINT)
@example("=" * 5)
def test_cursor_is_refused_when_it_is_any_text(cursor: str) -> None:
    assert after(cursor, *LIST) is None


@fuzzed
@given(
    st.dictionaries(st.sampled_from(["limit", "all", "rating", "q"]), st.text(), max_size=3), ROWS
)
def test_cursor_is_refused_when_the_filters_are_others(
    filters: dict[str, str], row: dict[str, str]
) -> None:
    filters.pop("limit", None)
    cursor = cursor_after(row, *LIST)
    if filters:
        with pytest.raises(BadRequest):
            Page.from_query({"cursor": cursor, **filters}, *LIST)
