"""The RAM policy names what the tools need, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from support import mcp_client, yes

from cams_mcp.cli import cli
from cams_mcp.cli.ram_policy import ram_policy
from cams_mcp.operations import OPERATIONS
from cams_mcp.operations.list_page_ad_account import LIST_PAGE_AD_ACCOUNT
from cams_mcp.sandbox import Sandbox

INSTANCES = "acs:cams:*:*:instance/*"
READS = ["cams:ListCustomAudience", "cams:ListMessageCampaign", "cams:ListChatGroup"]


def printed(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, ["ram-policy", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def actions(policy: dict[str, list[dict[str, list[str]]]]) -> list[str]:
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def test_the_policy_is_printed_as_ram_takes_it() -> None:
    policy = printed()

    assert policy["Version"] == "1"
    assert policy["Statement"][0] == {"Effect": "Allow", "Action": ["cams:ListInstance"], "Resource": INSTANCES}
    (others,) = policy["Statement"][1:]
    assert (others["Effect"], others["Resource"]) == ("Allow", "*")
    assert set(others["Action"]) >= {*READS, "cams:AddCustomAudienceUser", "cams:ListPageAdAccount"}


def test_read_only_leaves_out_writing_and_what_its_question_looks_up() -> None:
    reads = [operation.ram_action for operation in OPERATIONS if not operation.writes]

    assert sorted(actions(printed("--read-only"))) == sorted(reads)
    assert set(reads) >= {"cams:ListInstance", *READS}


@pytest.mark.parametrize("read_only", [False, True])
def test_every_enabled_operation_is_allowed_once(read_only: bool) -> None:
    allowed = actions(ram_policy(read_only=read_only))

    assert len(allowed) == len(set(allowed))
    assert {operation.ram_action for operation in OPERATIONS if not (read_only and operation.writes)} <= set(allowed)


def test_an_operation_that_is_a_tool_and_looked_up_by_the_question_is_allowed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = set(actions(ram_policy(read_only=False)))
    monkeypatch.setattr("cams_mcp.cli.ram_policy.OPERATIONS", (LIST_PAGE_AD_ACCOUNT, *OPERATIONS))

    assert sorted(actions(ram_policy(read_only=False))) == sorted(expected)
    assert LIST_PAGE_AD_ACCOUNT.ram_action in actions(ram_policy(read_only=True))


async def test_the_policy_allows_exactly_what_all_tools_together_ask_of_the_service(sandbox: Sandbox) -> None:
    async with mcp_client(sandbox, elicitation_callback=yes()) as client:
        for operation in OPERATIONS:
            assert not (await client.call_tool(operation.name, dict(operation.example))).is_error

    assert {f"cams:{call.action}" for call in sandbox.calls} == set(actions(ram_policy(read_only=False)))
