"""The job that every peer does; see support_peers.py. What differs between the peers is in their own programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

JOB: dict[str, Any] = json.loads(sys.argv[1])
SERVER: dict[str, Any] = JOB["server"]


class Person:
    """Refuses the first question and confirms the second one."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def answer(self, question: str) -> tuple[str, dict[str, Any] | None]:
        self.questions.append(question)
        return ("decline", None) if len(self.questions) == 1 else ("accept", {"confirm": True})


class Script:
    """A scripted model: which tool it calls next, given the results so far. It ends after the confirmed write.

    With a client that cannot ask, it leaves the first preview alone and confirms the second one with its token.
    """

    def __init__(self) -> None:
        self.offered: list[str] = []

    def next(self, results: list[str], offered: list[str]) -> tuple[str, dict[str, Any]] | None:
        self.offered = offered
        steps = [
            (JOB["read"]["name"], JOB["read"]["arguments"]),
            (JOB["write"], JOB["refused"]),
            (JOB["write"], JOB["confirmed"]),
        ]
        if len(results) < len(steps):
            return steps[len(results)]
        if not JOB["asks"] and len(results) == len(steps):
            token = json.loads(results[-1])["confirmation_token"]
            return JOB["write"], JOB["confirmed"] | {"confirmation_token": token}
        return None


def report(tools: list[str], results: list[str], person: Person, **more: Any) -> None:
    """Print what the peer saw. `results` are the texts of the tools' results, in order."""
    print(
        json.dumps(
            {
                "tools": tools,
                "read": json.loads(results[0]),
                "questions": person.questions,
                "refused": results[1],
                "confirmed": json.loads(results[-1]),
                **more,
            }
        )
    )


async def play(script: Script, call: Callable[[str, dict[str, Any]], Awaitable[str]], tools: list[str]) -> list[str]:
    """Do what the script says without an agent; gives the results."""
    results: list[str] = []
    while step := script.next(results, tools):
        results.append(await call(*step))
    return results
