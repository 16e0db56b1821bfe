from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from support import serving

from cams_mcp.api.credentials import HOW_TO_SET, TRIED, AccessKey, ExplicitKey, OfficialChain
from cams_mcp.errors import ConfigurationError, MissingCredentials

# The chain reads the environment when it is imported, so every look-up has a process of its own.
LOOK_UP = """
import json, sys
import anyio
from cams_mcp.api.credentials import OfficialChain
from cams_mcp.errors import CamsMcpError

async def look_up(times):
    chain, found = OfficialChain(), []
    async def one():
        key = await chain()
        found.append([key.id, key.secret, key.security_token])
    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(one)
    return found

async def one_by_one():
    chain, said = OfficialChain(), []
    for _ in range(2):
        try:
            await chain()
        except CamsMcpError as error:
            said.append([type(error).__name__, str(error)])
    return said

times = int(sys.argv[1])
print(json.dumps(anyio.run(look_up, times) if times else anyio.run(one_by_one)))
"""


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    # The metadata service is another machine's address, and where it answers it gives that machine's role.
    alone = {"HOME": str(home), "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "NO_PROXY": "*"}
    return subprocess.run(
        [sys.executable, "-c", LOOK_UP, *arguments],
        env=kept | alone | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def keys(home: Path, times: int = 1, **environment: str) -> list[list[str | None]]:
    done = run(home, str(times), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def errors(home: Path, **environment: str) -> list[list[str]]:
    """What two look-ups in a row said."""
    done = run(home, "0", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert len(said) == 2
    return said


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)


def cli_profile(**profile: str) -> str:
    return json.dumps({"current": "default", "profiles": [{"name": "default", "mode": "AK", **profile}]})


# Nothing usable.


def test_without_any_key_the_error_says_what_was_tried_and_what_to_set(tmp_path: Path) -> None:
    for kind, text in errors(tmp_path):
        assert kind == "MissingCredentials"
        assert TRIED in text
        assert HOW_TO_SET in text


@pytest.mark.parametrize(
    "words",
    [
        "--access-key-id",
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "OIDC",
        "~/.aliyun/config.json",
        "~/.alibabacloud/credentials.ini",
        "ECS",
        "ALIBABA_CLOUD_CREDENTIALS_URI",
        "aliyun configure",
        "--sandbox",
    ],
)
def test_the_way_out_of_missing_credentials_is_told(words: str) -> None:
    assert words in TRIED + HOW_TO_SET


@pytest.mark.parametrize(
    "environment",
    [
        {"ALIBABA_CLOUD_ACCESS_KEY_ID": "only-an-id"},
        {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "only-a-secret"},
        {"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""},
        {"ALIBABA_CLOUD_CREDENTIALS_URI": "http://127.0.0.1:1/credentials"},
        {"ALIBABA_CLOUD_CREDENTIALS_URI": "not a uri"},
        {"ALIBABA_CLOUD_CREDENTIALS_FILE": "missing.ini"},
        {"ALIBABA_CLOUD_PROFILE": "missing"},
    ],
)
def test_half_a_configuration_is_no_key_and_not_repeated(tmp_path: Path, environment: dict[str, str]) -> None:
    for kind, text in errors(tmp_path, **environment):
        assert kind == "MissingCredentials"
        assert "only-a" not in text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"current": "other"}', cli_profile(access_key_id="half")])
def test_a_broken_profile_file_is_no_key_and_no_traceback(tmp_path: Path, content: str) -> None:
    write(tmp_path / ".aliyun" / "config.json", content)

    assert {kind for kind, _ in errors(tmp_path)} == {"MissingCredentials"}


@pytest.mark.parametrize("secret", ["made up", "made-up\n", "mäde-up", "made\u200bup"])
def test_a_key_with_characters_no_key_has_is_refused_without_repeating_it(tmp_path: Path, secret: str) -> None:
    said = errors(tmp_path, ALIBABA_CLOUD_ACCESS_KEY_ID="LTAI-example", ALIBABA_CLOUD_ACCESS_KEY_SECRET=secret)

    for kind, text in said:
        assert kind == "ConfigurationError"
        assert secret.strip() not in text


@pytest.mark.parametrize("wrong", ["", " ", "with space", "line\n", "\tTab", "é", "\x00"])
@pytest.mark.parametrize("part", ["id", "secret", "security_token"])
def test_an_access_key_has_only_visible_ascii_characters(part: str, wrong: str) -> None:
    parts = {"id": "LTAI-example", "secret": "made-up", "security_token": "token"} | {part: wrong}
    with pytest.raises(ConfigurationError) as caught:
        AccessKey(**parts)

    assert part.replace("_", " ") in str(caught.value)
    assert "made-up" not in str(caught.value)


# Keys, from where they may be.


async def test_an_explicit_key_is_given_as_it_is() -> None:
    key = AccessKey("LTAI-example", "made-up", "token")

    assert await ExplicitKey(key)() is key


def test_the_environment_gives_a_key(tmp_path: Path) -> None:
    environment = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "from-env", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "made-up"}

    assert keys(tmp_path, **environment) == [["from-env", "made-up", None]]
    assert keys(tmp_path, **environment, ALIBABA_CLOUD_SECURITY_TOKEN="token") == [["from-env", "made-up", "token"]]


def test_the_command_line_tools_profile_gives_a_key(tmp_path: Path) -> None:
    write(tmp_path / ".aliyun" / "config.json", cli_profile(access_key_id="from-cli", access_key_secret="made-up"))

    assert keys(tmp_path) == [["from-cli", "made-up", None]]


def test_the_credentials_file_gives_a_key(tmp_path: Path) -> None:
    write(
        tmp_path / ".alibabacloud" / "credentials.ini",
        "[default]\nenable = true\ntype = access_key\naccess_key_id = from-ini\naccess_key_secret = made-up\n",
    )

    assert keys(tmp_path) == [["from-ini", "made-up", None]]


def test_the_environment_goes_before_the_profile(tmp_path: Path) -> None:
    write(tmp_path / ".aliyun" / "config.json", cli_profile(access_key_id="from-cli", access_key_secret="made-up"))
    environment = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "from-env", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "made-up"}

    assert keys(tmp_path, **environment) == [["from-env", "made-up", None]]


class KeyServer:
    """What answers at a credentials URI: temporary keys, another one every time."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.asked += 1
        document = {
            "Code": "Success",
            "AccessKeyId": f"STS.example{self.asked}",
            "AccessKeySecret": "made-up",
            "SecurityToken": "token",
            "Expiration": "2999-01-01T00:00:00Z",
        }
        body = json.dumps(document).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


def test_look_ups_at_the_same_time_ask_once(tmp_path: Path) -> None:
    server = KeyServer()
    with serving(server) as url:
        found = keys(tmp_path, times=8, ALIBABA_CLOUD_CREDENTIALS_URI=f"{url}/credentials")

    assert found == [["STS.example1", "made-up", "token"]] * 8
    assert server.asked == 1


IDENTITIES = """
import json, os, pathlib, sys
import alibabacloud_credentials.provider as provider
from alibabacloud_credentials.provider.refreshable import Credentials
import anyio
from cams_mcp.api.credentials import OfficialChain

origin, token = sys.argv[1], sys.argv[2] or None
config = pathlib.Path.home() / ".aliyun" / "config.json"
ini = pathlib.Path.home() / ".alibabacloud" / "credentials.ini"
config.parent.mkdir(); ini.parent.mkdir()

def use(role, sts):
    profiles = [{"name": name, "mode": "RamRoleArn", "ram_role_arn": name, "sts_token": sts} for name in ("a", "b")]
    config.write_text(json.dumps({"current": role, "profiles": profiles}))
    ini.write_text(f"[default]\\nrole_arn = {role}")
    os.environ["ALIBABA_CLOUD_ROLE_ARN"] = role

found = []
for number, role in (("A", "a"), ("B", "a"), ("B", "b")):
    class Chain:
        def get_credentials(self):
            return Credentials(access_key_id="STS." + number, access_key_secret="s", security_token=token,
                               provider_name="default/" + origin)
    provider.DefaultCredentialsProvider = Chain
    use(role, number)
    found.append(anyio.run(OfficialChain()).identity)
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("origin", "token", "stays"),
    [
        ("ecs_ram_role", "t", True),
        ("oidc_role_arn", "t", True),
        ("cli_profile/ram_role_arn", "t", True),
        ("profile/ram_role_arn", "t", True),
        ("env", "t", False),
        ("cli_profile/static_sts", "t", False),
        ("cli_profile/static_ak", "", False),
    ],
)
def test_an_approval_outlives_a_key_only_if_the_chain_replaced_it_for_the_same_role(
    tmp_path: Path, origin: str, token: str, stays: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IDENTITIES, origin, token],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second, other_role = json.loads(done.stdout)

    assert (first == second) is stays
    assert other_role != first
    assert not stays or other_role != second
    assert (first == "STS.A") is not stays


def test_an_explicit_temporary_key_is_known_by_its_id() -> None:
    assert AccessKey("STS.A", "s", "t").identity == "STS.A"


class Held:
    """A provider whose look-ups hang until they may end."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_end = threading.Event()
        self.breaks: BaseException | None = None

    def get_credentials(self) -> Held:
        self.asked += 1
        assert self.may_end.wait(20)
        if self.breaks is not None:
            raise self.breaks
        return self

    def get_access_key_id(self) -> str:
        return f"held-{self.asked}"

    def get_access_key_secret(self) -> str:
        return "made-up"

    def get_security_token(self) -> None:
        return None

    def get_provider_name(self) -> str:
        return "default/held"


def chain_over(provider: Held) -> OfficialChain:
    chain = OfficialChain()
    chain._provider = provider  # noqa: SLF001 - the official one reads the environment of this process
    return chain


async def test_a_look_up_that_hangs_holds_no_caller_and_is_shared_by_the_next_ones() -> None:
    provider = Held()
    chain = chain_over(provider)
    for _ in range(50):
        with anyio.move_on_after(0.01) as limit:
            await chain()
        assert limit.cancelled_caught
    found: list[AccessKey] = []

    async def look_up() -> None:
        found.append(await chain())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(look_up)
        await anyio.wait_all_tasks_blocked()
        provider.may_end.set()

    assert [key.id for key in found] == ["held-1"] * 3
    assert (await chain()).id == "held-2"
    assert provider.asked == 2


@pytest.mark.parametrize("breaks", [ValueError("someone's secret"), SystemExit(1), KeyError()])
async def test_however_a_look_up_ends_its_callers_hear_of_it(breaks: BaseException) -> None:
    provider = Held()
    provider.breaks = breaks
    provider.may_end.set()
    chain = chain_over(provider)
    for _ in range(2):
        with anyio.fail_after(20), pytest.raises(MissingCredentials) as caught:
            await chain()
        assert "someone" not in str(caught.value)
