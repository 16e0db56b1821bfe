"""JSON schemas of tools, built from the pydantic models, in a form that every client accepts.

Schemas are flat, without `$ref`, `$defs` or unions, which several clients reject. Optional values may be omitted.
"""

from __future__ import annotations

from typing import Any, cast

import mcp_types as types

from cams_mcp.models import Request, Result
from cams_mcp.operation import AnyTool

Schema = dict[str, Any]

TOKEN_ARGUMENT = "confirmation_token"  # noqa: S105 - an argument's name

WRITE_INPUT: Schema = {
    TOKEN_ARGUMENT: {"type": "string", "description": "From the preview, once the user confirms. Never invent it."}
}
WRITE_OUTPUT: Schema = {
    "status": {
        "type": "string",
        "enum": ["sent", "stopped", "awaiting_approval", "confirmation_required"],
        "description": "What became of the call.",
    },
    "approval_id": {"type": "string", "description": "Names the waiting write to the user."},
    "preview": {"type": "string", "description": "The question, for the user."},
    TOKEN_ARGUMENT: {"type": "string", "description": "Confirms the write in a second call."},
    "next": {"type": "string", "description": "What to do next."},
}


def input_schema(model: type[Request]) -> Schema:
    """The schema of a tool's arguments."""
    return _flat(model)


def output_schema(model: type[Result]) -> Schema:
    """The schema of a tool's structured content. Elements that are always present are required.

    It has names and types only. The tool's description says what an assistant must know about the result, and
    describing the same envelope five times would cost more context than all arguments combined. The models describe
    the elements, and the documentation is generated from the models.
    """
    schema = _without_descriptions(_flat(model))
    for node in schema["properties"].values():
        # A default tells a caller what it may omit. In a result it means nothing.
        node.pop("default", None)
    always = [
        name for name, field in model.model_fields.items() if field.get_default(call_default_factory=True) is not None
    ]
    return schema | ({"required": always} if always else {})


def described_output(model: type[Result]) -> Schema:
    """The same schema with every description, for the documentation."""
    return _flat(model, words=True)


def _without_descriptions(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_descriptions(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _without_descriptions(value) for key, value in cast("Schema", schema).items()}
    if isinstance(plain.get("description"), str):
        del plain["description"]
    return plain


def described_input(model: type[Request]) -> Schema:
    """The schema of a tool's arguments with every description, for the documentation."""
    return _flat(model, words=True)


def _flat(model: type[Request | Result], *, words: bool = False) -> Schema:
    raw = model.model_json_schema(by_alias=False)
    raw.pop("description", None)
    definitions = raw.pop("$defs", {})
    # The field that holds a nested object describes it. Only the documentation needs the object's own descriptions.
    return _flatten(raw, definitions if words else _without_descriptions(definitions))


def _flatten(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_flatten(item, definitions) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    schema = dict(cast("Schema", node))
    if "$ref" in schema:
        target = dict(definitions[schema.pop("$ref").rpartition("/")[2]])
        target.pop("additionalProperties", None)
        schema = target | schema
    if "anyOf" in schema:
        (only,) = [option for option in schema.pop("anyOf") if option != {"type": "null"}]
        return _flatten(only | schema, definitions)
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if schema.get("minLength") == 1:
        # "required" says enough, and twelve of these cost as much context as a field.
        del schema["minLength"]
    if not isinstance(schema.get("default"), int | str):
        schema.pop("default", None)
    if "properties" in schema:
        properties = {name: _flatten(value, definitions) for name, value in schema["properties"].items()}
        rest = {key: _flatten(value, definitions) for key, value in schema.items() if key != "properties"}
        return rest | {"properties": properties}
    return {key: _flatten(value, definitions) for key, value in schema.items()}


def make_tool(operation: AnyTool) -> types.Tool:
    """The definition of a tool that clients list."""
    request: type[Request] = operation.request
    writes = operation.writes
    given, result = input_schema(request), output_schema(operation.response)
    if writes:
        given = given | {"properties": given["properties"] | WRITE_INPUT}
        added = _without_descriptions(WRITE_OUTPUT)
        result = result | {"properties": added | result["properties"], "required": ["status"]}
    return types.Tool(
        name=operation.name,
        title=operation.title,
        description=request.__doc__,
        input_schema=given,
        output_schema=result,
        # The other hints do not apply to a read-only tool.
        annotations=types.ToolAnnotations(read_only_hint=not writes, destructive_hint=writes or None),
    )
