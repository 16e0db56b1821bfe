from __future__ import annotations

import json

import mcp_types as types
import pytest
from support import ERAS
from support_process import Program

from cams_mcp.operations import OPERATIONS
from cams_mcp.tools.definitions import SNAPSHOT, load_catalog, render_snapshot

CORE = [
    "list_instance",
    "list_custom_audience",
    "list_message_campaign",
    "list_chat_group",
    "add_custom_audience_user",
]
MOST_BYTES = 2000
READS = {"readOnlyHint": True}
WRITES = {"readOnlyHint": False, "destructiveHint": True}


def test_the_snapshot_is_what_the_models_make() -> None:
    assert SNAPSHOT.read_text(encoding="utf-8") == render_snapshot(), "run python tests/generate.py"


def test_the_tools_stand_in_their_order_each_time() -> None:
    assert load_catalog().names == [operation.name for operation in OPERATIONS]
    assert load_catalog().names[: len(CORE)] == CORE


def test_every_tool_has_its_title_and_annotations() -> None:
    for operation, tool in zip(OPERATIONS, load_catalog(), strict=True):
        dumped = tool.model_dump(by_alias=True, exclude_none=True)
        assert dumped["title"] == operation.title
        assert dumped["annotations"] == (WRITES if operation.writes else READS)


def test_read_only_leaves_out_exactly_the_writes() -> None:
    reads = load_catalog(read_only=True)

    assert [tool.name for tool in reads] == [operation.name for operation in OPERATIONS if not operation.writes]
    assert list(reads) == [tool for tool in load_catalog() if tool.annotations and tool.annotations.read_only_hint]


@pytest.mark.parametrize("mode", ERAS)
def test_the_core_tools_stay_under_10000_bytes_on_the_wire(mode: str) -> None:
    with Program("serve") as program:
        program.connect(mode)
        program.start("tools/list")
        line = program.line()
        program.end_input()
        assert program.status() == 0

    tools = json.loads(line)["result"]["tools"]
    assert [tool["name"] for tool in tools] == load_catalog().names
    others = [tool for tool in tools if tool["name"] not in CORE]
    assert len(line) - len(json.dumps(others)) < 10_000


EACH_TOOL = pytest.mark.parametrize("tool", list(load_catalog(uploads=True)), ids=lambda tool: tool.name)


@EACH_TOOL
def test_each_tool_costs_an_assistant_at_most_2000_bytes(tool: types.Tool) -> None:
    definition = tool.model_dump(by_alias=True, exclude_none=True, mode="json")

    assert len(json.dumps(definition, ensure_ascii=False, separators=(",", ":")).encode()) <= MOST_BYTES
