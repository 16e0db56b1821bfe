"""One call of a write on its way through the guard."""

from __future__ import annotations

from dataclasses import dataclass

from cams_mcp.confirmation import Caller
from cams_mcp.guard.delivery import Send
from cams_mcp.guard.policy import Service
from cams_mcp.operation import AnyOperation, Writable
from cams_mcp.store import BaseStore, Standing, Write
from cams_mcp.threads import in_thread


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write and the call that makes it.

    Attributes:
        send: sends the write.
        standing: the approval of the upload that it resumes, if any.
        size: bytes of its parameters, if it can be sent after the call has returned; None if it cannot.
    """

    request: Writable
    caller: Caller
    write: Write
    send: Send
    standing: Standing | None
    size: int | None


async def build_write(
    service: Service, store: BaseStore, operation: AnyOperation, request: Writable, caller: Caller
) -> tuple[Write, int]:
    """The write as the store records it, and the size of its parameters in bytes."""
    identity = await service.identity()
    effect = operation.effect
    assert effect is not None, f"{operation.action} does not write"
    target = request.target()
    target_id = target[effect.target_argument]
    part, whole = request.contents(), request.part_of()

    def build() -> tuple[Write, int]:
        parameters = request.parameters()
        exactly = store.digest(caller.principal, identity, operation.action, parameters)
        part_digest, whole_digest = (
            store.digest(operation.action, target_id, contents) if contents else "" for contents in (part, whole)
        )
        write = Write(
            operation=operation.action,
            principal=caller.principal,
            client=caller.client,
            binding=exactly,
            list_digest=whole_digest or part_digest,
            part_digest=part_digest if whole_digest else "",
            target=target,
            counts=request.counts(),
            effect=effect,
        )
        return write, sum(map(len, parameters.values()))

    return await in_thread(build)
