from __future__ import annotations

import pytest

from cams_mcp.api.endpoint import Endpoint
from cams_mcp.errors import ConfigurationError
from cams_mcp.hosts import authority, is_loopback
from cams_mcp.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "http://cams.example.com",
        "http://cams.example.com:80",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:8080",
        "http://192.0.2.1",
        "http://[2001:db8::1]",
        "HTTP://cams.example.com",
    ],
)
def test_plain_http_to_another_machine_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ConfigurationError, match="plain http to another machine") as caught:
        Endpoint.parse(text)

    assert "personal data" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "ftp://cams.example.com",
        "file:///etc/hosts",
        "https://someone@cams.example.com",
        "https://someone:word@cams.example.com",
        "someone@cams.example.com",
        "http://cams.example.com@127.0.0.1",
        "https://cams.example.com/path",
        "cams.example.com/path",
        "https://cams.example.com/?a=b",
        "https://cams.example.com?a=b",
        "https://cams.example.com#part",
        "https://cams.example.com:port",
        "https://cams.example.com:70000",
        "https://cams.example.com:",
        "https://cams example.com",
        "https://-cams.example.com",
        "https://cams.example.com-",
        "https://[::1",
        "https://::1",
        "https://cams.example.com\\path",
        "https://cäms.example.com",
    ],
)
def test_what_is_not_a_host_or_url_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--endpoint") as caught:
        Endpoint.parse(text)

    assert "someone" not in str(caught.value)
    assert "https://host[:port]" in str(caught.value)


@pytest.mark.parametrize(
    "region",
    ["", "singapore", "ap southeast 1", "ap-southeast-1.example.com", "-ap", "AP-SOUTHEAST-1", "ap-1/..", "ap-"],
)
def test_what_is_not_a_region_is_refused(region: str) -> None:
    with pytest.raises(ConfigurationError, match="--region"):
        Endpoint.of_region(region)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("cams.ap-southeast-1.aliyuncs.com", "https://cams.ap-southeast-1.aliyuncs.com/"),
        ("cams.example.com:8443", "https://cams.example.com:8443/"),
        ("https://cams.example.com", "https://cams.example.com/"),
        ("https://cams.example.com/", "https://cams.example.com/"),
        ("HTTPS://cams.example.com", "https://cams.example.com/"),
        ("192.0.2.1", "https://192.0.2.1/"),
        ("localhost", "https://localhost/"),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("http://localhost:8080", "http://localhost:8080/"),
        ("http://LOCALHOST", "http://LOCALHOST/"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("http://127.9.8.7", "http://127.9.8.7/"),
        ("http://[::1]", "http://[::1]/"),
        ("http://[::1]:8080", "http://[::1]:8080/"),
    ],
)
def test_a_host_or_url_becomes_an_endpoint(text: str, url: str) -> None:
    endpoint = Endpoint.parse(text)

    assert endpoint.url == url
    assert Endpoint.parse(endpoint.url) == endpoint


@pytest.mark.parametrize("region", [Settings.region, "cn-hangzhou", "eu-central-1", "cn-shanghai-finance-1"])
def test_a_region_has_its_endpoint(region: str) -> None:
    assert Endpoint.of_region(region).url == f"https://cams.{region}.aliyuncs.com/"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("[::1]", "[::1]")],
)
def test_an_ipv6_address_has_brackets_in_a_url(host: str, expected: str) -> None:
    assert authority(host) == expected
