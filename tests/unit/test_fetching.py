"""The HTTP client: waits it names, errors that hold no key. See also tests/unit/fetching."""

from email.utils import formatdate

import pytest
import requests
import responses

from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.fetching import Client, RateLimited, Refused, TooLarge, check_url, wait_seconds
from tests.unit.conftest import fresh_settings

URL = "https://api.example.org/v2"
KEY = "s3cr3t/+key"
NOW = 1_795_000_000


@pytest.fixture
def allowed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_PRIVATE_NETWORKS", "127.0.0.0/8")
    fresh_settings()


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr("chatbot.fetching.time.sleep", slept.append)
    return slept


def client(url: str = URL, left: float = 300.0) -> Client:
    return Client(
        url, lambda: left, headers={"PRIVATE-TOKEN": KEY}, params={"apiKey": KEY}, secrets=(KEY,)
    )


@pytest.mark.parametrize(
    "host", ["93.184.216.34", "1572395042", "[2606:4700::1111]", "gitlab.example.org", "localhost"]
)
def test_public_address_or_a_name_passes(host: str) -> None:
    check_url(f"https://{host}/api/v4")


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org", "file:///etc/passwd", "example.org", "https://", "https://a:b@example.org",
     "https://example.org:port", "https://example.org/?a=1", "https://example.org/#a", "http://[::1"],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        check_url(url)


@pytest.mark.usefixtures("allowed")
def test_only_the_network_that_is_named_is_allowed() -> None:
    check_url("http://127.0.0.1:9999/slack/api")
    check_url("http://127.9.9.9")
    for host in ("10.0.0.1", "[::1]", "169.254.169.254", "0.0.0.0"):  # noqa: S104
        with pytest.raises(BadInput):
            check_url(f"http://{host}")


@responses.activate
@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[::1", "http://0x7f.1/"])
def test_redirect_that_leads_nowhere_is_refused(location: str) -> None:
    responses.get(f"{URL}/a", status=302, headers={"Location": location})
    with pytest.raises(Refused):
        client().get("a")
    assert len(responses.calls) == 1


@responses.activate
def test_redirect_to_a_name_that_leads_inside_is_refused_and_not_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    responses.get(f"{URL}/a", status=302, headers={"Location": "https://inside.example.com/b"})
    refusal = BadInput("the server's name leads to an address of a private network")
    responses.get("https://inside.example.com/b", body=refusal)
    with pytest.raises(Refused, match="private network"):
        client().get("a")


@responses.activate
def test_credentials_stay_at_home_when_redirected() -> None:
    responses.get(f"{URL}/a", status=302, headers={"Location": "https://files.example.com/b"})
    responses.get("https://files.example.com/b", json=[1])
    assert client().get("a").json() == [1]
    first, second = (call.request for call in responses.calls)
    assert first.headers["PRIVATE-TOKEN"] == KEY
    assert "apiKey" in str(first.url)
    assert "PRIVATE-TOKEN" not in second.headers
    assert "apiKey" not in str(second.url)


def test_link_to_another_server_is_refused() -> None:
    with pytest.raises(Refused):
        client().get("https://elsewhere.example.com/page/2")


@responses.activate
def test_endless_redirects_are_refused() -> None:
    responses.get(f"{URL}/a", status=302, headers={"Location": f"{URL}/a"})
    with pytest.raises(Refused):
        client().get("a")


@responses.activate
@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_what_may_pass_is_tried_again(status: int, naps: list[float]) -> None:
    for _ in range(2):
        responses.get(f"{URL}/a", status=status)
    responses.get(f"{URL}/a", json={})
    assert client().get("a").json() == {}
    assert len(naps) == 2


@responses.activate
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, BadInput), (403, Refused), (400, Refused), (404, Gone), (410, Gone)],
)
def test_what_stays_wrong_is_not_tried_again(status: int, error: type[Exception]) -> None:
    responses.get(f"{URL}/a", status=status, body=f"no such key {KEY}")
    with pytest.raises(error) as raised:
        client().get("a")
    assert len(responses.calls) == 1
    assert KEY not in str(raised.value)
    assert "apiKey" not in str(raised.value)


@responses.activate
def test_error_of_the_connection_holds_no_key() -> None:
    responses.get(f"{URL}/a", body=requests.ConnectionError(f"Max retries: {URL}?{KEY}"))
    with pytest.raises(RetryLater) as raised:
        client().get("a")
    assert str(raised.value) == "ConnectionError at api.example.org/v2/a"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_key_is_redacted_in_any_form() -> None:
    text = client().redact(f"a {KEY} b s3cr3t%2F%2Bkey c")
    assert text == "a *** b *** c"


@responses.activate
def test_answer_that_is_too_large_is_cut_off() -> None:
    responses.get(f"{URL}/a", body=b"x" * 200_000)
    with pytest.raises(TooLarge):
        client().get("a", max_bytes=100_000)


@responses.activate
@pytest.mark.parametrize("body", ["<html>", "", '["a"', "[" * 200_000])
def test_answer_that_is_no_json_is_refused(body: str) -> None:
    responses.get(f"{URL}/a", body=body)
    with pytest.raises(Refused):
        client().get("a").json()


@responses.activate
def test_rate_limit_is_named_and_not_waited_for(naps: list[float]) -> None:
    responses.get(f"{URL}/a", status=429, headers={"Retry-After": "30"}, body="Retry later\n")
    with pytest.raises(RateLimited) as raised:
        client().get("a")
    assert raised.value.seconds == 30
    assert naps == []


@responses.activate
def test_rate_limit_is_waited_for_by_a_patient_request_if_there_is_time(naps: list[float]) -> None:
    responses.get(f"{URL}/a", status=429, headers={"Retry-After": "30"})
    responses.get(f"{URL}/a", json=1)
    assert client().get("a", patient=True).json() == 1
    assert naps == [30]
    responses.get(f"{URL}/b", status=429, headers={"Retry-After": "30"})
    with pytest.raises(RateLimited):
        client(left=40).get("b", patient=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "999999"}, 3600),
        ({"Retry-After": formatdate(NOW + 40, usegmt=True)}, 40),
        ({"X-RateLimit-Reset": str(NOW + 50)}, 50),
        ({"RateLimit-Reset": str(NOW + 50)}, 50),
        ({"RateLimit-Reset": "12"}, 1),
        ({"X-RateLimit-Reset": "2, 1419704"}, 2),
        ({"Date": formatdate(1000, usegmt=True), "X-RateLimit-Reset": "1045"}, 45),
        ({"Retry-After": "soon"}, 60),
        ({}, 60),
    ],
)
def test_wait_is_what_the_answer_asks_for(
    headers: dict[str, str], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.fetching.time.time", lambda: float(NOW))
    assert wait_seconds(headers) == seconds
