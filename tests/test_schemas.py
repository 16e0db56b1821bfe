from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from support import ERAS, VALID_ARGUMENTS, mcp_client, yes

from cams_mcp.operation import AnyOperation
from cams_mcp.operations import OPERATIONS
from cams_mcp.sandbox import Sandbox
from cams_mcp.tools.schemas import make_tool

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
EACH_READ = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if not each.writes], ids=lambda operation: operation.name
)
EACH_WRITE = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.writes], ids=lambda operation: operation.name
)
NOT_FLAT = {"$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "if"}


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema inside `schema`, itself included. Names of properties are no keywords."""
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(node for each in inner for node in nodes(each))]


def both(operation: AnyOperation) -> tuple[dict[str, Any], dict[str, Any]]:
    tool = make_tool(operation)
    assert tool.output_schema is not None
    return tool.input_schema, tool.output_schema


@EACH
def test_schemas_are_valid_json_schema_2020_12(operation: AnyOperation) -> None:
    for schema in both(operation):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"


@EACH
def test_schemas_are_flat_with_one_type_for_every_value(operation: AnyOperation) -> None:
    for schema in both(operation):
        for node in nodes(schema):
            assert not NOT_FLAT & set(node)
            assert node["type"] in ("object", "array", "string", "integer", "boolean")
            assert ("properties" in node) == (node["type"] == "object")
            assert ("items" in node) == (node["type"] == "array")


@EACH
def test_what_is_required_exists_and_what_has_a_default_is_not_required(operation: AnyOperation) -> None:
    for schema in both(operation):
        for node in nodes(schema):
            required = set(node.get("required", ()))
            properties = node.get("properties", {})
            assert required <= set(properties)
            assert not [name for name in required if "default" in properties[name]]


@EACH
def test_every_argument_is_described_to_the_assistant(operation: AnyOperation) -> None:
    assert [name for name, node in both(operation)[0]["properties"].items() if not node.get("description")] == []


@EACH
def test_unknown_arguments_are_ruled_out_by_the_schema(operation: AnyOperation) -> None:
    given = both(operation)[0]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALID_ARGUMENTS[operation.name] | {"no_such_argument": 1}, given)


@EACH
def test_the_least_arguments_of_a_tool_fit_its_schema(operation: AnyOperation) -> None:
    given = both(operation)[0]
    jsonschema.validate(VALID_ARGUMENTS[operation.name], given)
    for name in given.get("required", ()):
        less = {key: value for key, value in VALID_ARGUMENTS[operation.name].items() if key != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(less, given)


@EACH
def test_names_are_ones_that_every_client_accepts(operation: AnyOperation) -> None:
    assert re.fullmatch(r"[a-z_]{1,64}", operation.name)
    for schema in both(operation):
        for node in nodes(schema):
            assert all(re.fullmatch(r"[a-z_]{1,64}", name) for name in node.get("properties", {}))


def fits(content: Any, operation: AnyOperation) -> None:
    """Assert that a result has the form its schema says, and nothing the schema does not say."""
    schema = both(operation)[1]
    closed = {"additionalProperties": False}
    jsonschema.Draft202012Validator(schema | closed).validate(content)
    rows = jsonschema.Draft202012Validator(schema["properties"].get("data", {}).get("items", {}) | closed)
    for row in content.get("data", []):
        rows.validate(row)


@pytest.mark.parametrize("mode", ERAS)
@EACH_READ
async def test_what_a_read_returns_fits_its_output_schema(sandbox: Sandbox, operation: AnyOperation, mode: str) -> None:
    size = operation.pages.arguments(100, 1) if operation.pages else {}
    async with mcp_client(sandbox, mode=mode) as client:
        result = await client.call_tool(operation.name, {**operation.example, **size})

    assert result.structured_content["data"]
    fits(result.structured_content, operation)


@pytest.mark.parametrize("mode", ERAS)
async def test_an_empty_list_fits_its_output_schema(sandbox: Sandbox, mode: str) -> None:
    (operation,) = [operation for operation in OPERATIONS if operation.name == "list_instance"]
    async with mcp_client(sandbox, mode=mode) as client:
        result = await client.call_tool("list_instance", {"instance_name": "no such instance"})

    assert result.structured_content["data"] == []
    fits(result.structured_content, operation)


@pytest.mark.parametrize("mode", ERAS)
@EACH_WRITE
async def test_a_preview_and_what_was_sent_after_it_fit_the_output_schema(
    sandbox: Sandbox, operation: AnyOperation, mode: str
) -> None:
    arguments = dict(operation.example)
    async with mcp_client(sandbox, mode=mode, confirm="token") as client:
        preview = await client.call_tool(operation.name, arguments)
        token = {"confirmation_token": preview.structured_content["confirmation_token"]}
        sent = await client.call_tool(operation.name, arguments | token)

    assert preview.structured_content["status"] == "confirmation_required"
    assert sent.structured_content["status"] == "sent"
    fits(preview.structured_content, operation)
    fits(sent.structured_content, operation)
    jsonschema.validate(arguments | token, both(operation)[0])


@pytest.mark.parametrize("mode", ERAS)
@EACH_WRITE
async def test_a_write_that_a_person_confirmed_fits_the_output_schema(
    sandbox: Sandbox, operation: AnyOperation, mode: str
) -> None:
    async with mcp_client(sandbox, mode=mode, elicitation_callback=yes()) as client:
        result = await client.call_tool(operation.name, dict(operation.example))

    assert result.structured_content["status"] == "sent"
    fits(result.structured_content, operation)


@pytest.mark.parametrize("mode", ERAS)
async def test_an_error_has_no_structured_content(sandbox: Sandbox, mode: str) -> None:
    async with mcp_client(sandbox, mode=mode) as client:
        result = await client.call_tool("list_instance", {"page_size": 0})

    assert result.is_error
    assert result.structured_content is None
