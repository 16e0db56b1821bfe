"""The public conformance suite (npm @modelcontextprotocol/conformance) against our HTTP server.

Every server scenario of the suite is in one of the tables below. Most of them call tools, prompts and resources of a
test server made for the suite (`test_simple_text`, `test://static-text`, ...); a server of real tools cannot pass
them. They are run all the same: whatever our server answers must be valid by the schema of the protocol version.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from support_peers import Server, listening, node_package, run

VERSIONS = ("2025-11-25", "2026-07-28")

APPLIES = {
    "2025-11-25": [
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "tools-list",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
    ],
    "2026-07-28": [
        "server-stateless",
        "tools-list",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
        "caching",
        "http-header-validation",
        "input-required-result-unsupported-methods",
    ],
}
"""What any server must pass."""

IF_DECLARED = {
    "logging-set-level": "logging",
    "prompts-list": "prompts",
    "resources-list": "resources",
    "sep-2164-resource-not-found": "resources",
    # Checks of `caching`.
    "sep-2549-prompts-list-caching-hints": "prompts",
    "sep-2549-resources-list-caching-hints": "resources",
    "sep-2549-resources-templates-list-caching-hints": "resources",
}
"""Scenarios and checks that apply to a server with this capability."""

NOT_APPLICABLE = {
    # Scenarios that the suite's own tools are needed for.
    "tools-call-simple-text": "calls test_simple_text",
    "tools-call-image": "calls test_image_content",
    "tools-call-audio": "calls test_audio_content",
    "tools-call-embedded-resource": "calls test_embedded_resource",
    "tools-call-mixed-content": "calls test_multiple_content_types",
    "tools-call-with-logging": "calls test_tool_with_logging",
    "tools-call-error": "calls test_error_handling",
    "tools-call-with-progress": "calls test_tool_with_progress",
    "tools-call-sampling": "calls test_sampling",
    "tools-call-elicitation": "calls test_elicitation",
    "json-schema-2020-12": "lists json_schema_2020_12_tool",
    "elicitation-sep1034-defaults": "calls test_elicitation_sep1034_defaults",
    "elicitation-sep1330-enums": "calls test_elicitation_sep1330_enums",
    "server-sse-polling": "calls test_reconnection; about resumable streams, which this server does not offer",
    "http-custom-header-server-validation": "needs a tool with x-mcp-header annotations",
    "input-required-result-basic-elicitation": "calls test_input_required_result_elicitation",
    "input-required-result-basic-sampling": "calls test_input_required_result_sampling",
    "input-required-result-basic-list-roots": "calls test_input_required_result_list_roots",
    "input-required-result-request-state": "calls test_input_required_result_request_state",
    "input-required-result-multiple-input-requests": "calls test_input_required_result_multiple_inputs",
    "input-required-result-multi-round": "calls test_input_required_result_multi_round",
    "input-required-result-missing-input-response": "calls test_input_required_result_elicitation",
    "input-required-result-result-type": "calls test_input_required_result_elicitation",
    "input-required-result-tampered-state": "calls test_input_required_result_tampered_state",
    "input-required-result-capability-check": "calls test_input_required_result_capabilities",
    "input-required-result-ignore-extra-params": "calls test_input_required_result_elicitation",
    "input-required-result-validate-input": "calls test_input_required_result_elicitation",
    # Checks of `server-stateless` that its own tools are needed for.
    "sep-2575-server-rejects-undeclared-capability": "calls test_missing_capability",
    "sep-2575-missing-capability-http-400": "calls test_missing_capability",
    "sep-2575-http-server-no-independent-requests-on-stream": "calls test_streaming_elicitation",
    "sep-2575-server-no-log-without-loglevel": "calls test_logging_tool",
    # The suite's own prompts and resources.
    "completion-complete": "completes an argument of test_prompt_with_arguments",
    "prompts-get-simple": "gets test_simple_prompt",
    "prompts-get-with-args": "gets test_prompt_with_arguments",
    "prompts-get-embedded-resource": "gets test_prompt_with_embedded_resource",
    "prompts-get-with-image": "gets test_prompt_with_image",
    "input-required-result-non-tool-request": "gets test_input_required_result_prompt",
    "resources-read-text": "reads test://static-text",
    "resources-read-binary": "reads test://static-binary",
    "resources-templates-read": "reads test://template/123/data",
    "resources-subscribe": "subscribes to test://watched-resource",
    "resources-unsubscribe": "subscribes to test://watched-resource",
}

EXTENSIONS = ("tasks-", "sep-2640-skills-")
"""Beginnings of scenarios of extensions that this server does not declare. A version's suite leaves them out."""

BROKEN = re.compile(r"[Ii]nternal error|-32603|[Tt]imed? ?out|fetch failed|ECONNRE(SET|FUSED)|socket hang up")
Checks = list[dict[str, Any]]


class Suite:
    """What the suite found, by protocol version and scenario, and what our server declares."""

    def __init__(self, found: dict[str, dict[str, Checks]], capabilities: dict[str, Any], names: list[str]) -> None:
        self.found = found
        self.names = names
        self._capabilities = capabilities

    def applies(self, name: str) -> bool:
        capability = IF_DECLARED.get(name)
        return name not in NOT_APPLICABLE and (capability is None or self._capabilities.get(capability) is not None)


def read_checks(folder: Path) -> dict[str, Checks]:
    scenarios = {}
    for path in folder.glob("server-*/checks.json"):
        name = re.sub(r"^server-(.*)-\d{4}-\d\d-\d\dT.*$", r"\1", path.parent.name)
        scenarios[name] = json.loads(path.read_text())
    return scenarios


async def declared_by(url: str) -> dict[str, Any]:
    async with Client(url) as client:
        return client.server_capabilities.model_dump()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    home = tmp_path_factory.mktemp("conformance")
    program = node_package("@modelcontextprotocol/conformance", "dist/index.js")
    listed = run([*program, "list", "--server"], home).stdout
    server = Server("sandbox.localhost", home)
    found = {}
    with listening([*server.command, "--sandbox", "--transport", "http", "--port", "0"], home) as url:
        capabilities = anyio.run(declared_by, url)
        for version in VERSIONS:
            options = ["--url", url, "--suite", "all", "--spec-version", version, "--output-dir", str(home / version)]
            run([*program, "server", *options], home)
            found[version] = read_checks(home / version)
    return Suite(found, capabilities, re.findall(r"^\s+- (\S+) \[", listed, re.MULTILINE))


def failed(checks: Checks) -> Checks:
    return [check for check in checks if check["status"] in {"FAILURE", "WARNING"}]


def told(checks: Checks) -> list[str]:
    return [f"{check['status']} {check['id']}: {check.get('errorMessage')}" for check in checks]


def test_every_scenario_of_the_suite_is_judged_here(suite: Suite) -> None:
    judged = {name for names in APPLIES.values() for name in names} | {*IF_DECLARED, *NOT_APPLICABLE}

    assert suite.names
    assert [name for name in suite.names if name not in judged and not name.startswith(EXTENSIONS)] == []


@pytest.mark.parametrize(
    ("version", "scenario"), [(version, scenario) for version in VERSIONS for scenario in APPLIES[version]]
)
def test_a_scenario_for_any_server_passes(suite: Suite, version: str, scenario: str) -> None:
    checks = [check for check in suite.found[version][scenario] if suite.applies(check["id"])]

    assert told(failed(checks)) == []
    assert any(check["status"] == "SUCCESS" and check["id"] != "wire-schema-valid" for check in checks)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_server_declares_works_as_the_suite_demands(suite: Suite, version: str) -> None:
    wanted = [name for name in suite.found[version] if name in IF_DECLARED]
    assert wanted

    found = [told(failed(suite.found[version][name])) for name in wanted if suite.applies(name)]

    assert [failures for failures in found if failures] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_answer_is_valid_whatever_the_suite_asks_for(suite: Suite, version: str) -> None:
    checks = [check for found in suite.found[version].values() for check in found]
    schema = [check for check in checks if check["id"] == "wire-schema-valid"]

    assert len(schema) > len(suite.found[version]) / 2
    assert told([check for check in schema if check["status"] != "SUCCESS"]) == []
    assert told([check for check in checks if BROKEN.search(check.get("errorMessage") or "")]) == []
