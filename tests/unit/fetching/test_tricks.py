"""No private address is ever connected to, whatever it is called: the tricks of tricks.json.

Each is tried as a base URL, as a base URL that came past the first check, and as a redirect of a
public server. What counts is that no connection was asked for, but to that public server.
"""

import json
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from chatbot import fetching
from chatbot.errors import BadInput, RetryLater
from chatbot.fetching import Client, Refused, check_url
from tests.unit.conftest import fresh_settings
from tests.unit.fetching.wire import HOME, PUBLIC, Wire, answer

TRICKS = json.loads(Path(__file__).with_name("tricks.json").read_text(encoding="utf-8"))
HOSTS = [host for hosts in TRICKS["hosts"].values() for host in hosts]
NAMES = TRICKS["names"]
URLS = TRICKS["urls"]
KEY = "s3cr3t"
# What a URL that leads nowhere may end with: never an answer.
ERRORS = (BadInput, Refused, RetryLater)


def client(url: str) -> Client:
    return Client(url, lambda: 60.0, headers={"PRIVATE-TOKEN": KEY}, params={"key": KEY})


def is_name(host: str) -> bool:
    return fetching.literal_address(host) is None


@pytest.mark.parametrize("host", [host for host in HOSTS if not is_name(host)])
def test_private_address_is_refused_at_once_in_any_notation(host: str) -> None:
    with pytest.raises(BadInput, match="private network"):
        check_url(f"http://{host}:8080/api")


def test_only_names_wait_for_their_resolution() -> None:
    unchecked = {host.lower().rstrip(".") for host in HOSTS if is_name(host) and host.isascii()}
    assert unchecked == {"localhost"}


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_connected_to_when_a_base_url_is_private(
    host: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "check_url", lambda _: None)
    with pytest.raises((BadInput, RetryLater)):
        client(f"http://{host}:{wire.port}").get("issues")
    assert wire.connected == []
    assert wire.accepted == 0


@pytest.mark.parametrize("host", HOSTS)
def test_redirect_to_a_private_address_is_not_followed(host: str, wire: Wire) -> None:
    location = host if host.isascii() else quote(host, safe="[]:%.")
    wire.serve = answer("HTTP/1.1 302 Found", f"Location: http://{location}:{wire.port}/latest")
    with pytest.raises(ERRORS):
        client(f"http://{HOME}").get("issues")
    assert {address for address, _ in wire.connected} == {PUBLIC}
    assert len(wire.requests) == wire.accepted == len(wire.connected)


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leads_to_a_private_address_is_not_connected_to(name: str, wire: Wire) -> None:
    wire.names["inside.example.org"] = [NAMES[name]]
    with pytest.raises(BadInput, match="private network"):
        client("http://inside.example.org").get("issues")
    assert wire.connected == []
    wire.serve = answer("HTTP/1.1 302 Found", "Location: http://inside.example.org/")
    with pytest.raises(Refused, match="private network"):
        client(f"http://{HOME}").get("issues")
    assert wire.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize("name", URLS)
def test_url_that_parsers_read_differently_leads_nowhere(name: str, wire: Wire) -> None:
    url = URLS[name]
    with pytest.raises(ERRORS):
        client(url).get("issues")
    with pytest.raises(ERRORS):
        client(f"http://{HOME}").get(url if "://" in url else f"http://{HOME}@{url}")
    assert wire.connected == []
    wire.serve = answer("HTTP/1.1 302 Found", f"Location: {url}")
    with pytest.raises(ERRORS):
        client(f"http://{HOME}").get("issues")
    assert {address for address, _ in wire.connected} == {PUBLIC}
    assert all(b"\r\nHost: home.example.org\r\n" in head for head in wire.requests)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example.com\\@home.example.org/page/2",
        "https://home.example.org@evil.example.com/page/2",
        "https://home.example.org:443@evil.example.com/page/2",
        "https://evil.example.com/page/2",
        "https://home.example.org.evil.example.com/page/2",
        "https://home.example.org%00.evil.example.com/page/2",
        "https://home.example.org:8443/page/2",
        "http://home.example.org/page/2",
    ],
)
def test_credentials_never_go_where_only_one_parser_sees_home(link: str, wire: Wire) -> None:
    wire.names["evil.example.com"] = [[PUBLIC]]
    with pytest.raises((BadInput, Refused)):
        client(f"https://{HOME}").get(link)
    assert wire.connected == []


def test_name_is_resolved_once_and_what_was_checked_is_connected_to(wire: Wire) -> None:
    wire.names[HOME] = [[PUBLIC], ["127.0.0.1"]]
    source = client(f"http://{HOME}")
    assert source.get("issues").json() == "home"
    assert wire.resolved == [HOME]
    assert wire.connected == [(PUBLIC, 80)]
    with pytest.raises(BadInput, match="private network"):  # the next connection: checked again
        source.get("issues")
    assert wire.resolved == [HOME, HOME]
    assert wire.connected == [(PUBLIC, 80)]
    assert wire.accepted == 1


def test_name_stays_in_the_header_when_the_address_is_connected_to(wire: Wire) -> None:
    client(f"http://{HOME}").get("issues")
    assert b"\r\nHost: home.example.org\r\n" in wire.requests[0]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_not_used(
    name: str, wire: Wire, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, f"http://127.0.0.1:{wire.port}")
    assert client(f"http://{HOME}").get("issues").json() == "home"
    assert wire.connected == [(PUBLIC, 80)]
    assert wire.requests[0].startswith(b"GET /issues?")


@pytest.mark.parametrize("home", [HOME, "10.1.2.3"])
def test_redirect_from_elsewhere_leads_to_no_allowed_network(
    home: str, wire: Wire, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("ALLOWED_PRIVATE_NETWORKS", "10.1.0.0/16,127.0.0.0/8")
    fresh_settings()
    wire.public = {PUBLIC, "10.1.2.3"}
    for host in (
        "10.1.2.4",
        "127.0.0.1",
        "localhost",
        f"{home}:8080" if home != HOME else "10.1.2.3",
    ):
        wire.serve = answer("HTTP/1.1 302 Found", f"Location: http://{host}/latest")
        wire.connected.clear()
        with pytest.raises(Refused, match="private network"):
            client(f"http://{home}").get("issues")
        assert len(wire.connected) == 1
    assert wire.accepted == 4

    def there_and_back(connection: socket.socket, head: bytes) -> None:
        to_home = answer("HTTP/1.1 302 Found", f"Location: http://{home}/moved")
        here = answer("HTTP/1.1 200 OK", body=b"1")
        (here if head.startswith(b"GET /moved") else to_home)(connection, head)

    wire.serve = there_and_back
    assert client(f"http://{home}").get("issues").json() == 1


def test_network_that_is_allowed_opens_no_other(
    wire: Wire, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("ALLOWED_PRIVATE_NETWORKS", "10.1.0.0/16")
    fresh_settings()
    with pytest.raises(RetryLater):
        client("http://10.1.2.3").get("issues")
    assert {address for address, _ in wire.connected} == {"10.1.2.3"}
    wire.connected.clear()
    for host in (*HOSTS, "10.2.0.1", "[::ffff:10.1.2.3]", "[64:ff9b::a01:203]"):
        with pytest.raises((BadInput, RetryLater)):
            client(f"http://{host}").get("issues")
    assert wire.connected == []
