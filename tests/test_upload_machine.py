"""Chance against uploads: stops, crashes, resumes and repeated lists, by several processes on one record.

The sandbox's own record says who was sent. A model of sets says who may be: each yes and each unattended run allows
each person of its list once, and a resume without a question only people that nobody sent since the upload stopped.

Another model says whom a call asks: an identical call joins the question that waits, gets the outcome of what was sent
less than ten minutes after its question, and after a no nobody is asked about the list for ten minutes.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from support import TARGET, client_of, examples, no_sleep, writes_that_arrived
from support_uploads import email

from cams_mcp.confirmation import Caller, ConfirmMode, Preview, Reply
from cams_mcp.errors import AmbiguousWrite, CamsMcpError, NotConfirmed, Recorded, StoreError
from cams_mcp.guard.guard import APPROVAL_SECONDS, Guard
from cams_mcp.guard.outcomes import RecordedResult
from cams_mcp.guard.policy import Policy
from cams_mcp.operations.add_custom_audience_user import ADD_CUSTOM_AUDIENCE_USER
from cams_mcp.sandbox import Sandbox, SandboxTransport
from cams_mcp.store import FILE_NAME, Store
from cams_mcp.store.pending import DECLINED_SECONDS, MOST_KEYS, MOST_WAITING
from cams_mcp.store.records import RESUME_SECONDS
from cams_mcp.threads import in_thread
from cams_mcp.tools.arguments import parse_arguments
from cams_mcp.upload.folders import Folders
from cams_mcp.upload.requests import UploadAudienceFileResponse
from cams_mcp.upload.runner import Limits
from cams_mcp.upload.service import UPLOAD_AUDIENCE_FILE, Uploads

pytestmark = pytest.mark.slow

BATCH = 10
LISTS = {
    "whole": range(35),
    "rest": range(10, 35),
    "end": range(20, 35),
    "overlapping": range(15, 40),
}
PROCESSES = (0, 1)
YES, NO = Reply("accept", {"confirm": True}), Reply("decline")
STOPS = ("reset", "lost", "contradiction", "timeout", "killed", "killed later", "surrogate")
names = st.sampled_from(sorted(LISTS))
processes = st.sampled_from(PROCESSES)
modes: st.SearchStrategy[str] = st.sampled_from(["yes", "yes", "no", "off"])
# Weighted towards what can be resumed without asking.
faults = st.sampled_from(["refused", "refused", ""]) | st.sampled_from(STOPS)
picks = st.integers(0, 5)
stops = st.tuples(faults, st.integers(1, 3))


class ProcessDied(BaseException):
    """In place of kill -9. The record of the process takes nothing any more, whatever still runs on the way up."""


def kill(store: Store) -> None:
    def gone() -> NoReturn:
        raise StoreError("the process was killed")

    store._database.transaction = gone  # noqa: SLF001 - no process can be killed within this one


class Way(SandboxTransport):
    """The way to the sandbox, on which one batch meets with something."""

    def __init__(self, sandbox: Sandbox, store: Store, stop: str, at: int) -> None:
        super().__init__(sandbox)
        self._store = store
        self._stop = stop
        self._left = at

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["x-acs-action"] != "AddCustomAudienceUser":
            return await super().handle_async_request(request)
        self._left -= 1
        if self._left or not self._stop:
            return await super().handle_async_request(request)
        if self._stop == "refused":
            return httpx.Response(403, json={"Code": "Forbidden.RAM", "Message": "no", "RequestId": "1"})
        if self._stop == "lost":
            raise httpx.ReadError("lost")
        if self._stop == "killed":
            kill(self._store)
            raise ProcessDied
        response = await super().handle_async_request(request)
        match self._stop:
            case "reset":
                raise httpx.ReadError("reset")
            case "killed later":
                kill(self._store)
                raise ProcessDied
            case "contradiction":
                return httpx.Response(400, json={"Success": True, "Code": "OK", "RequestId": "1"})
            case "timeout":
                return httpx.Response(200, json={"Code": "ServiceTimeout", "Success": False, "RequestId": "1"})
            case _:
                answer = b'{"Success": true, "Code": "O\\ud800K", "RequestId": "\\udfff", "Message": "\\u0000"}'
                return httpx.Response(200, content=answer, headers=dict(response.headers) | {"content-length": "83"})


@dataclass
class Upload:
    """An upload that got a job, as the model knows it.

    Attributes:
        since: how many writes the model had seen when its last run ended.
        approved: when it was approved last.
    """

    name: str
    since: int
    approved: float


Key = tuple[Any, ...]
"""What makes two calls identical: the file, the list, or the upload that is resumed and its last run."""


@dataclass
class Question:
    """A question as the model knows it.

    Attributes:
        lists: the people it is about, and the whole list that they belong to.
        asked: when.
        since: how many writes the model had seen by then.
        tokens: what approves it besides an answer.
    """

    key: Key
    lists: frozenset[frozenset[str]]
    asked: float
    since: int
    tokens: list[str] = field(default_factory=list[str])


@dataclass
class Shown:
    """A preview: its token and what it was for."""

    token: str
    name: str
    job: str | None
    people: frozenset[str]
    since: int


@dataclass
class Run:
    """What one call to one process came to."""

    outcome: Any
    asked: list[str] = field(default_factory=list[str])
    arrived: Counter[str] = field(default_factory=Counter[str])
    died: bool = False

    @property
    def repeats(self) -> bool:
        """Whether it only told what had become of an identical call."""
        told = isinstance(self.outcome, AmbiguousWrite) and "an identical call was approved" in str(self.outcome)
        return told or isinstance(self.outcome, RecordedResult | Recorded)

    @property
    def is_refused(self) -> bool:
        """Whether the ledger says that nothing was sent, and the caller knows."""
        if isinstance(self.outcome, UploadAudienceFileResponse):
            return self.outcome.ledger_outcome == "refused"
        return isinstance(self.outcome, CamsMcpError) and not isinstance(self.outcome, AmbiguousWrite)


def people_of(name: str) -> frozenset[str]:
    return frozenset(email(number) for number in LISTS[name])


class UploadMachine(RuleBasedStateMachine):
    previews = Bundle("previews")

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.clock = 1_800_000_000.0
        self.sandbox = Sandbox()
        self.stores = [self.open_store() for _ in PROCESSES]
        self.allowed: Counter[str] = Counter()
        self.uploads: dict[str, Upload] = {}
        self.waiting: dict[Key, Question] = {}
        self.spent: dict[Key, float] = {}
        """Until when an identical call gets the outcome."""
        self.noes: list[tuple[frozenset[frozenset[str]], float]] = []
        """What was declined, and until when nobody is asked about it."""
        self.writes: list[tuple[frozenset[str], frozenset[str]]] = []
        """(people of the run, people of its whole list) of every run that sent or may have sent somebody."""
        for name, numbers in LISTS.items():
            text = "\n".join(["email", *map(email, numbers)])
            (self.directory / f"{name}.csv").write_text(text, encoding="utf-8")

    def teardown(self) -> None:
        for store in getattr(self, "stores", []):
            store.close()
        if hasattr(self, "directory"):
            self.every_write_has_an_end()
            shutil.rmtree(self.directory, ignore_errors=True)

    def open_store(self) -> Store:
        return Store(self.directory / "state", now=lambda: self.clock)

    def run(
        self,
        process: int,
        mode: str,
        use: Callable[[Uploads, Guard, Caller], Any],
        stop: tuple[str, int],
        **policy: Any,
    ) -> Run:
        """One call, with a person who gives one answer, or unattended."""
        run, before = Run(None), self.people_that_arrived()

        async def ask(text: str) -> Reply:
            run.asked.append(text)
            return YES if mode == "yes" else NO

        async def call() -> Any:
            confirm: ConfirmMode = "off" if mode == "off" else "token" if mode == "token" else "auto"
            store = self.stores[process]
            async with client_of(self.sandbox, transport=Way(self.sandbox, store, *stop)) as service:
                guard = Guard(service, store, Policy(confirm=confirm, **policy))
                folders = Folders.of([self.directory])
                uploads = Uploads(folders.open, service, guard, store.journal, Limits(users=BATCH), sleep=no_sleep)
                return await use(uploads, guard, Caller(ask=ask))

        try:
            run.outcome = anyio.run(call)
        except CamsMcpError as error:
            run.outcome = error
        except ProcessDied:
            run.died = True
            self.restart(process)
        run.arrived = self.people_that_arrived() - before
        return run

    def upload(
        self,
        process: int,
        mode: str,
        name: str,
        stop: tuple[str, int],
        resume: str | None = None,
        token: str | None = None,
        **policy: Any,
    ) -> Run:
        given = TARGET | {"path": f"{name}.csv"} | ({"resume": resume} if resume else {})
        request = parse_arguments(UPLOAD_AUDIENCE_FILE, given)
        return self.run(
            process, mode, lambda uploads, _, caller: uploads.upload(request, caller, token=token), stop, **policy
        )

    def people_that_arrived(self) -> Counter[str]:
        calls = writes_that_arrived(self.sandbox)
        return Counter(user["Email"] for call in calls for user in json.loads(call.parameters["Users"]))

    # What waits, what was spent, what was declined

    def expected(self, key: Key, people: frozenset[str], whole: frozenset[str]) -> str:
        """What a call meets that nobody asks about, or "" if it asks."""
        self.waiting = {key: each for key, each in self.waiting.items() if self.clock < each.asked + APPROVAL_SECONDS}
        if self.clock < self.spent.get(key, 0):
            return "repeats"
        if any(self.clock < until and {people, whole} & lists for lists, until in self.noes):
            return "declined"
        others = [each for each in self.waiting if each != key]
        if self.question_of(key, people, whole) is None and len(others) >= MOST_WAITING:
            return "too many"
        return ""

    def question_of(self, key: Key, people: frozenset[str], whole: frozenset[str]) -> Question | None:
        """The question that such a call joins."""
        question = self.waiting.get(key)
        return None if question is None or self.went_since(people, whole, question.since) else question

    def asks(self, key: Key, people: frozenset[str], whole: frozenset[str]) -> Question:
        joined = self.question_of(key, people, whole)
        self.waiting[key] = joined or Question(key, frozenset({people, whole}), self.clock, len(self.writes))
        return self.waiting[key]

    def check_not_asked(self, run: Run, met: str) -> None:
        assert not run.asked
        assert not run.arrived
        assert run.repeats == (met == "repeats")
        assert run.repeats or isinstance(run.outcome, NotConfirmed)
        assert ("a person declined this write" in str(run.outcome)) == (met == "declined")
        assert ("already waiting" in str(run.outcome)) == (met == "too many")

    def answers(self, run: Run, mode: str, key: Key, people: frozenset[str], whole: frozenset[str]) -> bool:
        """Check whom a call asked, and enter the answer. Returns whether it was a yes."""
        met = self.expected(key, people, whole)
        if met:
            self.check_not_asked(run, met)
            return False
        assert len(run.asked) == 1
        question = self.asks(key, people, whole)
        del self.waiting[key]
        if mode == "no":
            assert not run.arrived
            self.noes.append((question.lists, self.clock + DECLINED_SECONDS))
            self.waiting = {key: each for key, each in self.waiting.items() if not each.lists & question.lists}
            return False
        self.spends(run, question)
        return True

    def spends(self, run: Run, question: Question) -> None:
        assert not run.repeats
        assert not isinstance(run.outcome, NotConfirmed)
        if run.died or not run.is_refused:
            self.spent[question.key] = question.asked + APPROVAL_SECONDS

    def shows(self, run: Run, name: str, job: str | None, people: frozenset[str]) -> Any:
        """Check a call that takes two steps, and enter its preview."""
        key, whole = self.key_of(name, job), people_of(name)
        met = self.expected(key, people, whole)
        if met:
            self.check_not_asked(run, met)
            return multiple()
        assert isinstance(run.outcome, Preview)
        question = self.asks(key, people, whole)
        question.tokens = [*question.tokens, run.outcome.token][-MOST_KEYS:]
        return Shown(run.outcome.token, name, job, people, len(self.writes))

    def key_of(self, name: str, job: str | None) -> Key:
        if job is None:
            return ("file", name)
        found = self.stores[0].journal.job(job)
        assert found is not None
        return ("rest", job, found.position, found.write)

    def went_since(self, people: frozenset[str], whole: frozenset[str], since: int) -> bool:
        """Whether the same list, or the same rest of it, was sent or may have been since then."""
        lists = {people, whole}
        return any({part, list_} & lists for part, list_ in self.writes[since:])

    def note(self, run: Run, people: frozenset[str], whole: frozenset[str], approved: bool) -> None:
        """Enter into the model what the store must have entered into the ledger."""
        if approved:
            self.allowed.update(people)
        doubt = run.died or "may have been applied" in str(run.outcome)
        doubt = doubt or (
            isinstance(run.outcome, UploadAudienceFileResponse) and run.outcome.ledger_outcome == "unknown"
        )
        if run.arrived or doubt:
            self.writes.append((people, whole))

    def find_new_job(self, name: str) -> None:
        for job in self.stores[0].journal.jobs():
            self.uploads.setdefault(job.id, Upload(name, len(self.writes), self.clock))

    def stopped_job(self, pick: int) -> str:
        """One of the uploads that have not sent all of their people."""
        jobs = [job for job in self.uploads if self.rest_of(job)[0]]
        if not jobs:
            self.begin(pick % 2, "yes", "whole", ("reset" if pick % 3 else "refused", 2))
            jobs = list(self.uploads)[-1:]
        return jobs[pick % len(jobs)]

    def rest_of(self, job: str) -> tuple[frozenset[str], bool]:
        """The people of a job that are not known to be sent, and whether some of them may have been."""
        found = self.stores[0].journal.job(job)
        assert found is not None
        people = [email(number) for number in LISTS[self.uploads[job].name]]
        return frozenset(people[found.sent :]), bool(found.position[1])

    @rule(process=processes, mode=modes, name=names, stop=stops)
    def begin(self, process: int, mode: str, name: str, stop: tuple[str, int]) -> None:
        people = people_of(name)
        run = self.upload(process, mode, name, stop)
        if mode == "off":
            assert not run.asked
            approved = not isinstance(run.outcome, NotConfirmed)
        else:
            approved = self.answers(run, mode, ("file", name), people, people)
        self.note(run, people, people, approved=approved)
        self.find_new_job(name)

    @rule(target=previews, process=processes, name=names)
    def preview(self, process: int, name: str) -> Any:
        return self.shows(self.upload(process, "token", name, ("", 1)), name, None, people_of(name))

    @rule(target=previews, pick=picks, process=processes)
    def preview_of_the_rest(self, pick: int, process: int) -> Any:
        job = self.stopped_job(pick)
        people, doubtful = self.rest_of(job)
        if not doubtful:
            return multiple()  # may be resumed without one
        name = self.uploads[job].name
        return self.shows(self.upload(process, "token", name, ("", 1), job), name, job, people)

    @rule(shown=previews, process=processes, stop=stops)
    def confirm(self, shown: Shown, process: int, stop: tuple[str, int]) -> None:
        if shown.job is not None and not self.rest_of(shown.job)[0]:
            return  # nothing is left to resume
        key, whole = self.key_of(shown.name, shown.job), people_of(shown.name)
        people = shown.people if shown.job is None else self.rest_of(shown.job)[0]
        met = self.expected(key, people, whole)
        run = self.upload(process, "token", shown.name, stop, shown.job, shown.token)
        if self.went_since(shown.people, whole, shown.since):
            assert not run.arrived
        approved = self.is_approved_by(shown.token, key, met, people, whole)
        if approved:
            self.spends(run, self.waiting.pop(key))
        elif met == "repeats":
            self.check_not_asked(run, met)
        else:
            assert isinstance(run.outcome, NotConfirmed)
            assert not run.arrived
        self.note(run, people, whole, approved=approved)
        if shown.job is None:
            self.find_new_job(shown.name)
        elif approved:
            self.uploads[shown.job] = Upload(shown.name, len(self.writes), self.clock)

    def is_approved_by(self, token: str, key: Key, met: str, people: frozenset[str], whole: frozenset[str]) -> bool:
        """Whether a token approves a write. One that does not is void."""
        found = next((each for each in self.waiting.values() if token in each.tokens), None)
        if met == "repeats" or found is None:
            return False
        if found.key == key and self.question_of(key, people, whole) is not None:
            return True
        found.tokens.remove(token)
        if found.key == key or not found.tokens:
            del self.waiting[found.key]
        return False

    @rule(process=processes, mode=modes, name=names, fault=faults)
    def call_the_tool(self, process: int, mode: str, name: str, fault: str) -> None:
        self.send(process, mode, people_of(name), fault)

    @rule(process=processes, mode=st.sampled_from(["yes", "yes", "off"]), pick=picks, whole=st.booleans())
    def call_the_tool_with_the_people_of_an_upload(self, process: int, mode: str, pick: int, *, whole: bool) -> None:
        job = self.stopped_job(pick)
        self.send(process, mode, people_of(self.uploads[job].name) if whole else self.rest_of(job)[0], "")

    def send(self, process: int, mode: str, people: frozenset[str], fault: str) -> None:
        given = TARGET | {"users": [{"email": person} for person in sorted(people)]}
        request = parse_arguments(ADD_CUSTOM_AUDIENCE_USER, given)
        run = self.run(
            process, mode, lambda _, guard, caller: guard.submit(ADD_CUSTOM_AUDIENCE_USER, request, caller), (fault, 1)
        )
        if mode == "off":
            approved = "Nothing was sent" not in str(run.outcome)
        else:
            approved = self.answers(run, mode, ("tool", people), people, people)
        self.note(run, people, people, approved=approved)

    @rule(pick=picks, process=processes, yes=st.booleans(), stop=stops, days=st.sampled_from([0, 0, 1]))
    def resume(self, pick: int, process: int, stop: tuple[str, int], days: int, *, yes: bool) -> None:
        job = self.stopped_job(pick)
        self.clock += days * RESUME_SECONDS
        self.go_on(job, process, "yes" if yes else "no", stop)

    @rule(pick=picks, process=processes, stop=stops)
    def resume_unattended(self, pick: int, process: int, stop: tuple[str, int]) -> None:
        self.go_on(self.stopped_job(pick), process, "off", stop)

    @rule(pick=picks, process=processes, mode=modes)
    def resume_read_only(self, pick: int, process: int, mode: str) -> None:
        self.go_on(self.stopped_job(pick), process, mode, ("", 1), read_only=True)

    def go_on(self, job: str, process: int, mode: str, stop: tuple[str, int], *, read_only: bool = False) -> None:
        upload = self.uploads[job]
        whole, (left, doubtful) = people_of(upload.name), self.rest_of(job)
        again = self.went_since(left, whole, upload.since)
        standing = not doubtful and not again and 0 <= self.clock - upload.approved < RESUME_SECONDS
        key = self.key_of(upload.name, job)
        run = self.upload(process, mode, upload.name, stop, job, read_only=read_only)
        if read_only:
            assert not run.asked
            assert not run.arrived
            return
        approved = False
        if mode == "off":
            assert not (run.arrived and (doubtful or again))
        elif standing:
            assert not run.asked
        else:
            approved = self.answers(run, mode, key, left, whole)
        self.note(run, left, whole, approved=approved)
        if run.died or isinstance(run.outcome, UploadAudienceFileResponse):
            # An unattended run counts as approved by the operator.
            since = self.clock if approved or mode == "off" else upload.approved
            self.uploads[job] = Upload(upload.name, len(self.writes), since)

    @rule(process=processes, name=names, pick=st.none() | picks)
    def call_while_another_program_holds_the_record(self, process: int, name: str, pick: int | None) -> None:
        job = None if pick is None else self.stopped_job(pick)
        name = name if job is None else self.uploads[job].name
        self.stores[0].digest("makes the file")
        with (
            closing(sqlite3.connect(self.directory / "state" / FILE_NAME)) as other,
            patch.dict(in_thread.__kwdefaults__, seconds=0.05),
        ):
            other.execute("BEGIN EXCLUSIVE")
            run = self.upload(process, "yes", name, ("", 1), job)
            other.rollback()
        assert isinstance(run.outcome, StoreError)
        assert not run.arrived

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.stores[process].close()
        self.stores[process] = self.open_store()

    @rule(seconds=st.sampled_from([1.0, 3600.0, RESUME_SECONDS - 7200]))
    def jump(self, seconds: float) -> None:
        self.clock += seconds

    @invariant()
    def nobody_arrives_more_often_than_somebody_allowed(self) -> None:
        if hasattr(self, "sandbox"):
            assert not self.people_that_arrived() - self.allowed

    def every_write_has_an_end(self) -> None:
        """Of processes that are all gone by now."""
        with closing(self.open_store()) as store:
            self.clock += 1e6
            events = Counter(entry["event"] for entry in store.audit())
        assert events["approved"] + events["resumed"] == events["sent"] + events["failed"] + events["unknown"]
        assert events["asked"] <= events["approved"] + events["declined"] + events["expired"] + events["blocked"]


TestUploads = UploadMachine.TestCase
TestUploads.settings = settings(
    max_examples=examples(80),
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
