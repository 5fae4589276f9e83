import base64
import json

import pytest

from chatbot.errors import BadRequest, ValidationFailed
from chatbot.paging import Page
from tests.unit.rest import ALICE, BOB, WORKSPACE_A, WORKSPACE_B

LIST_A = (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_A}/chatbots")
ROW = {"id": "0190c000-0000-7000-8000-00000000000c", "created_at": "2026-11-24T10:00:00.5+00:00"}


def cursor_of(*identity: str, **query: str) -> str:
    page = Page.from_query(query, *identity)
    cursor = page.answer({"items": [ROW], "more": True})["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


def test_page_has_20_rows_from_the_newest_when_nothing_is_asked() -> None:
    page = Page.from_query({}, *LIST_A)
    assert (page.limit, page.after) == (20, None)
    assert page.params == {"limit": 20}


def test_next_page_starts_after_the_last_row_when_there_is_more() -> None:
    page = Page.from_query({"limit": "1", "cursor": cursor_of(*LIST_A)}, *LIST_A)
    assert page.after == (ROW["created_at"], ROW["id"])
    assert page.params == {"limit": 1, "after": ROW}


def test_cursor_is_null_when_the_list_ends() -> None:
    page = Page.from_query({}, *LIST_A)
    assert page.answer({"items": [ROW], "more": False}) == {"items": [ROW], "next_cursor": None}
    assert page.answer({"items": [], "more": False}) == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "limit", ["0", "101", "-1", "1.0", "1e1", "", "ten", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 5000]
)
def test_limit_is_refused_when_it_is_not_1_to_100(limit: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        Page.from_query({"limit": limit}, *LIST_A)
    assert refusal.value.errors[0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize(
    "other",
    [
        (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_B}/chatbots"),
        (ALICE.user_id, f"/api/v1/workspaces/{WORKSPACE_A}/conversations"),
        (BOB.user_id, LIST_A[1]),
    ],
)
def test_cursor_is_refused_when_it_is_of_another_list(other: tuple[str, str]) -> None:
    with pytest.raises(BadRequest):
        Page.from_query({"cursor": cursor_of(*other)}, *LIST_A)


def test_cursor_is_refused_when_the_filter_differs() -> None:
    cursor = cursor_of(*LIST_A, all="true")
    with pytest.raises(BadRequest):
        Page.from_query({"cursor": cursor}, *LIST_A)
    assert Page.from_query({"cursor": cursor, "all": "true", "limit": "5"}, *LIST_A).after


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


FINGERPRINT = Page.from_query({}, *LIST_A).fingerprint
DAMAGED = {
    "empty": "",
    "no base64": "%%%",
    "not ascii": "é",
    "no JSON": "AAAA",
    "too short": cursor_of(*LIST_A)[:-4],
    "no list": encoded({"created_at": 1}),
    "two values": encoded([ROW["created_at"], ROW["id"]]),
    "numbers": encoded([1, 2, FINGERPRINT]),
    "SQL as time": encoded(["now'; --", ROW["id"], FINGERPRINT]),
    "month 13": encoded(["2026-13-01T00:00:00Z", ROW["id"], FINGERPRINT]),
    "a time without zone": encoded(["2026-11-24T10:00:00", ROW["id"], FINGERPRINT]),
    "no UUID": encoded([ROW["created_at"], "HEAD", FINGERPRINT]),
    "deep": base64.urlsafe_b64encode(b"[" * 60_000).decode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_cursor_is_refused_when_it_is_damaged(name: str) -> None:
    with pytest.raises(BadRequest):
        Page.from_query({"cursor": DAMAGED[name]}, *LIST_A)
