"""Real uploads, killed at random points and at every step of the journal, then resumed until they are done.

What the ambiguous batch means: a process that dies between sending a batch and entering its answer cannot know whether
it was applied. Such a batch is sent again only after a person says yes, never with --yes. So nobody is lost and nobody
invented; people of such a batch may be sent twice, which Meta counts once. No other batch is ever sent twice.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import AUDIENCE, TARGET, serving
from support_cli import PROGRAM, SECONDS, answering, environment
from support_uploads import batches_of, write_people

from cams_mcp.sandbox import SANDBOX_KEY, Sandbox, sandbox_app
from cams_mcp.store import Job, Store

PEOPLE = 300
KILLED = -signal.SIGKILL


class World:
    """A sandbox on loopback that can kill whoever sends it a batch; a file; a state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sandbox = Sandbox()
        self.url = ""
        self.wanted = write_people(directory / "people.csv", PEOPLE)
        self.kill_at = 0
        self.moment = ""
        self._process: subprocess.Popen[str] | None = None
        self._batches = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The sandbox, but at the batch `kill_at` of a run the sender is killed.

        It dies when the batch arrived and was not applied, or was applied and not answered, or was answered.
        """
        if dict(scope.get("headers", ())).get(b"x-acs-action") != b"AddCustomAudienceUser":
            await sandbox_app(self.sandbox)(scope, receive, send)
            return
        self._batches += 1
        now = self._batches == self.kill_at

        async def answer(message: Any) -> None:
            if now and self.moment == "applied":
                self._kill()
            await send(message)

        if now and self.moment == "arrived":
            self._kill()
            return
        await sandbox_app(self.sandbox)(scope, receive, answer)
        if now and self.moment == "answered":
            self._kill()

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def run(self, *more: str, kill_at: int = 0, moment: str = "", crash_at: str = "", answers_yes: bool = False) -> int:
        """Upload unattended, or with a person at a terminal who says yes; gives the exit status."""
        self._batches, self.kill_at, self.moment = 0, kill_at, moment
        ids = [TARGET["cust_space_id"], TARGET["page_id"], TARGET["ad_account_id"], AUDIENCE]
        names = ("--space", "--page", "--ad-account", "--audience")
        arguments = [
            *("upload", str(self.directory / "people.csv"), *more, "--batch-bytes", "2000"),
            *([] if answers_yes else ["--yes"]),
            *(part for pair in zip(names, ids, strict=True) for part in pair),
            *("--endpoint", self.url, "--access-key-id", SANDBOX_KEY.id, "--state-dir", str(self.directory / "state")),
        ]
        program = PROGRAM
        env = {"CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret}
        if crash_at:
            program = [sys.executable, str(Path(__file__).with_name("crashing_upload.py"))]
            env |= {"CRASH_AT": crash_at}
        with answering("y\n", until="[y/N]") as terminal:
            place: Any = terminal if answers_yes else subprocess.DEVNULL
            with subprocess.Popen(
                [*program, *arguments],
                env=environment(self.directory, env),
                stdin=place,
                stdout=subprocess.DEVNULL,
                stderr=place,
                text=True,
            ) as self._process:
                try:
                    return self._process.wait(SECONDS)
                finally:
                    self._process.kill()

    def job(self) -> Job | None:
        with closing(Store(self.directory / "state")) as store:
            jobs = store.journal.jobs()
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    def resume(self, **more: Any) -> int:
        """Resume the one upload there is. A person approves it where there is something to approve."""
        job = self.job()
        assert job is not None
        return self.run("--resume", job.id, answers_yes=bool(job.position[1]), **more)

    def check_done(self, doubtful: int) -> None:
        """Everybody arrived, nobody else did, and only doubtful people went twice."""
        job = self.job()
        assert job is not None
        assert (job.state, job.sent, job.total) == ("done", PEOPLE, PEOPLE)
        assert self.sandbox.people(AUDIENCE) == self.wanted
        batches = batches_of(self.sandbox)
        assert PEOPLE <= sum(size for size, _, _ in batches) <= PEOPLE + doubtful
        assert {total for _, _, total in batches} == {PEOPLE}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with serving(world) as world.url:
        yield world


@pytest.mark.parametrize("seed", range(4))
def test_an_upload_killed_again_and_again_arrives_whole(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    doubtful, kills = 0, 0

    def kill() -> dict[str, Any]:
        moment = ("arrived", "applied", "answered")[(seed + kills) % 3]
        return {"kill_at": chance.randint(1, 4), "moment": moment}

    status = world.run(**kill())
    while status == KILLED:
        kills += 1
        job = world.job()
        assert job is not None
        assert job.sent + sum(job.position[1:]) <= PEOPLE
        doubtful += job.position[1]
        # What is said to be sent was sent, whenever it died.
        assert sum(size for size, _, _ in batches_of(world.sandbox)) >= job.sent
        status = world.resume(**kill())

    assert status == 0
    assert kills >= 2
    world.check_done(doubtful)


STEPS = [
    f"{step}:{when}:{number}"
    for step, number in (("start", 1), ("before", 2), ("after", 2), ("end", 1))
    for when in ("before", "after")
]


@pytest.mark.parametrize("step", STEPS)
def test_an_upload_that_dies_at_any_step_of_the_journal_goes_on(world: World, step: str) -> None:
    assert world.run(crash_at=step) == KILLED
    job = world.job()
    arrived = sum(size for size, _, _ in batches_of(world.sandbox))
    if job is None:
        # Not even the job was entered, but that the list was approved is: it is not sent again without a word.
        assert arrived == 0
        assert world.run() != 0
        assert not batches_of(world.sandbox)
        assert world.run("--hold-hours", "0") == 0
        world.check_done(0)
        return
    sent, doubtful = job.position
    assert sent <= arrived <= sent + doubtful
    if step == "end:after:1":
        assert job.state == "done"
        assert world.resume() != 0
    else:
        assert world.resume() == 0
    world.check_done(doubtful)


def test_a_killed_upload_is_not_done_again_by_calling_it_again(world: World) -> None:
    assert world.run(kill_at=2, moment="answered") == KILLED
    before = batches_of(world.sandbox)
    assert world.run() != 0
    assert batches_of(world.sandbox) == before
