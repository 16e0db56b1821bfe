"""Remove the guard's checks one at a time and see that a test notices: python -m tests.mutations [NAME]

Each mutation is made in a copy of the project. Takes an hour on two cores; run it when the guard changes. A test of the
usual suite (test_mutations.py) fails if a mutation no longer applies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = (
    "test_guard.py",
    "test_store.py",
    "test_store_files.py",
    "test_store_contention.py",
    "test_store_redis.py",
    "test_store_ends.py",
    "test_guard_machine.py",
    "test_upload_resume.py",
    "test_upload_machine.py",
    "test_uploads.py",
)
SECONDS = 300

MUTATIONS: dict[str, tuple[str, str, str]] = {
    # The answer to a question
    "any reply is a yes": ("guard/guard.py", "if reply.is_yes:", "if True:"),
    "a missing reply is a yes": ("guard/guard.py", "if answered is not None and answered.reply is None:", "if False:"),
    "decline is not looked at": ("confirmation.py", 'self.action == "accept" and ', ""),
    "accept without a tick": ("confirmation.py", ' and self.content.get("confirm") is True', ""),
    "a tick need not be true": ("confirmation.py", '.get("confirm") is True', '.get("confirm") not in (None, False)'),
    "a question may wait for ever": (
        "guard/guard.py",
        "anyio.move_on_after(self._policy.ask_seconds)",
        "anyio.CancelScope()",
    ),
    "a no leaves the approval open": (
        "store/base.py",
        'step.append("declined", {**approval',
        'step.put_approval(token_hash(token), approval)\n                step.append("declined", {**approval',
    ),
    "a no is not recorded": ("guard/guard.py", "await self._decline(write, channel, approval, message)", "pass"),
    "a hang-up is not recorded": (
        "guard/guard.py",
        'await self._decline(write, channel, question.state, "the call ended before the user answered")',
        "pass",
    ),
    # The approval
    "an approval is good twice": (
        "store/sqlite.py",
        "DELETE FROM approvals WHERE token_hash = ? RETURNING binding, channel, issued, expires, seen_write, entry",
        "SELECT binding, channel, issued, expires, seen_write, entry FROM approvals WHERE token_hash = ?",
    ),
    "an approval is good twice in Redis": (
        "store/redis.py",
        "self._forget(key)\n        return _approval(row)",
        "return _approval(row)",
    ),
    "an approval fits any request": (
        "store/records.py",
        "if not hmac.compare_digest(self.binding, write.binding):",
        "if False:",
    ),
    "an approval fits any channel": ("store/records.py", "self.channel != channel or ", ""),
    "an approval never expires": ("store/records.py", "self.issued <= now < self.expires", "self.issued <= now"),
    "an approval from the future": ("store/records.py", "self.issued <= now < self.expires", "now < self.expires"),
    "a made-up token is good": (
        "store/rules.py",
        "if approval is None:\n        return no_approval()",
        "if approval is None:\n        return None",
    ),
    "the list may go out meanwhile": ("store/records.py", "if last_write > self.seen_write:", "if False:"),
    "the question is older than the approval": (
        "guard/guard.py",
        "earlier = await in_thread(lambda: self._store.earlier(write, self._policy.hold_seconds, standing))",
        'earlier = None if channel != "off" else await in_thread(lambda: self._store.earlier(write, 0.0))',
    ),
    "bound to no principal": (
        "guard/guard.py",
        "self._store.digest(caller.principal, identity,",
        'self._store.digest("", identity,',
    ),
    "bound to no endpoint and key": ("guard/guard.py", "caller.principal, identity,", 'caller.principal, "",'),
    "bound to no arguments": ("guard/guard.py", "operation.action, request.parameters())", "operation.action)"),
    "bound to users in any order": (
        "guard/guard.py",
        "operation.action, request.parameters())",
        "operation.action, request.target(), request.contents())",
    ),
    "tokens are stored as they are": (
        "store/records.py",
        'return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()',
        "return token",
    ),
    "digests have no salt": ("store/records.py", "return hmac.new(salt,", 'return hmac.new(b"",'),
    # Limits
    "any audience": (
        "guard/limits.py",
        "if policy.targets and write.target_id not in policy.targets:",
        "if False:",
    ),
    "any number in a call": ("guard/limits.py", "write.amount > policy.per_call", "False"),
    "one user more in a call": (
        "guard/limits.py",
        "write.amount > policy.per_call",
        "write.amount > policy.per_call + 1",
    ),
    "the day's limit only after asking": (
        "guard/guard.py",
        "self._store.check_limit(write, self._policy.per_day, standing)",
        "None",
    ),
    "the day's limit only before asking": (
        "store/rules.py",
        "problem = limit_problem(step, write, per_day, standing)\n    if problem",
        "problem = None\n    if problem",
    ),
    "one user more a day": (
        "store/records.py",
        "used + write.amount <= per_day",
        "used + write.amount <= per_day + 1",
    ),
    "unknown writes do not count": (
        "store/sqlite.py",
        "WHERE audience = ? AND outcome != 'refused' AND",
        "WHERE audience = ? AND outcome = 'sent' AND",
    ),
    "a blocked write is not recorded": (
        "guard/guard.py",
        'await in_thread(lambda: self._store.record("blocked", write, channel, problem.message))',
        "pass",
    ),
    # Repetitions
    "off repeats": ("store/base.py", "problem = held(earlier, write.effect, resumes=standing is not None)", "pass"),
    "the question does not tell of a repetition": ("guard/guard.py", "if earlier is not None:", "if False:"),
    "a repetition is told for ever": (
        "store/sqlite.py",
        "AND started > ? ORDER BY",
        "AND ? ORDER BY",
    ),
    "refused writes count as repetitions": (
        "store/sqlite.py",
        "OR part_digest IN ({marks})) AND outcome != 'refused'\"",
        'OR part_digest IN ({marks}))"',
    ),
    "the order of a list hides a repetition": (
        "operations/add_custom_audience_user.py",
        "return list_digest({person_hash(*person(user)) for user in self.users or []})",
        "return hash(tuple(person(user) for user in self.users or []))",
    ),
    # The record
    "sent without an entry in the ledger": (
        "store/rules.py",
        "number = step.enter(write, shown_id(step.salt, write.limit_key), entry)",
        "number = 0",
    ),
    "approved is not recorded": ("store/rules.py", "step.append(event, entry)\n", "\n"),
    "Redis does not look whether a read has changed": (
        "store/redis_database.py",
        "self._pipe.watch(PREFIX + key)",
        "self._pipe.watch(PREFIX + SALT)",
    ),
    "Redis repeats a step whose answer was lost": (
        "store/redis_database.py",
        "if isinstance(error.__context__, RedisError | OSError):",
        "if False:",
    ),
    "Redis takes what was just issued for the future's": ("store/redis.py", "if float(when) > time", "if True"),
    "refused writes count in Redis": ("store/redis.py", 'if outcome == "refused":', "if False:"),
    "an ambiguous write is recorded as sent": (
        "guard/delivery.py",
        'outcome: Outcome = "unknown"',
        'outcome: Outcome = "sent"',
    ),
    "the outcome is not recorded": (
        "guard/delivery.py",
        "lambda: store.finish(number, write, channel, outcome, request_id, reason, amount)",
        "lambda: None",
    ),
    "a step of the store can be cut short": (
        "threads.py",
        "run_sync(step, limiter=_limiter())",
        "run_sync(step, limiter=_limiter(), abandon_on_cancel=True)",
    ),
    "a cancelled call does not record its outcome": ("threads.py", ", shield=True)", ")"),
    "waiting steps take the threads of reads": ("threads.py", "run_sync(step, limiter=_limiter())", "run_sync(step)"),
    "a step does not know its deadline": ("threads.py", "with until(deadline):", "if True:"),
    "a write-ahead log is kept": ("store/database.py", '"PRAGMA journal_mode = DELETE"', '"PRAGMA journal_mode = WAL"'),
    "approvals of an older copy are good": ("store/database.py", '"DELETE FROM approvals"', '"SELECT 1"'),
    "an older copy in the same file goes unnoticed": (
        "store/database.py",
        "return last is None or ",
        "return True or ",
    ),
    "a step in a file that was taken away counts": ("store/database.py", "self._check_kept()\n            ", ""),
    "others may write to the directory": ("store/files.py", "found.st_mode & OTHERS_WRITE:", "False:"),
    "another user's file is used": ("store/files.py", "_owner_of(found) not in (None, _own_id()):", "False:"),
    "a link in place of the file is followed": ("store/files.py", "stat.S_ISLNK(found.st_mode)", "False"),
    "the trail can be changed": (
        "store/database.py",
        "BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END",
        "BEFORE UPDATE ON audit BEGIN SELECT 1; END",
    ),
    "the trail can be deleted": (
        "store/database.py",
        "BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END",
        "BEFORE DELETE ON audit BEGIN SELECT 1; END",
    ),
    "anybody can read the file": ("store/files.py", "os.O_RDWR, 0o600", "os.O_RDWR, 0o644"),
    # Who is asked, and what
    "asks clients that know addresses only": (
        "server/caller.py",
        "(elicitation.form is not None or elicitation.url is None)",
        "True",
    ),
    "asks clients that declared nothing": (
        "server/caller.py",
        "can_ask, modern = _can_ask(ctx),",
        "can_ask, modern = True,",
    ),
    "asks without a way back": ("server/caller.py", " and ctx.session.can_send_request else None", " else None"),
    "asks although two steps are set": (
        "guard/guard.py",
        'if token is None and self._policy.confirm == "auto":',
        "if token is None:",
    ),
    "an answer without a state is no second round": (
        "server/caller.py",
        "if params.request_state is None and params.input_responses is None:",
        "if params.request_state is None:",
    ),
    "a client's error is a yes": (
        "server/caller.py",
        'return Reply("failed")',
        'return Reply("accept", {"confirm": True})',
    ),
    "a missing audience is asked about": (
        "operations/audience/question.py",
        'if "audience" in found.answered and found.audience is None:',
        "if False:",
    ),
    "names are shown as they are": (
        "redaction.py",
        'name = _QUOTE.sub("\'", printable(name, longest * 2).translate(_FULL_WIDTH))',
        "pass",
    ),
    "ids are shown as they are": (
        "operations/audience/question.py",
        'return identifier if re.fullmatch(r"[0-9]{1,32}", identifier) else quoted(identifier)',
        "return identifier",
    ),
    "nothing tells a waiting client": ("server/caller.py", "group.start_soon(progress.report_waiting)", "pass"),
    "read-only hides the tool only": ("guard/limits.py", "if policy.read_only:", "if False:"),
    "a defect while sending hides that it was sent": (
        "guard/delivery.py",
        "raise AmbiguousWrite(",
        "raise RuntimeError if write else AmbiguousWrite(",
    ),
    "a question of a modern client waits for ten minutes": (
        "guard/guard.py",
        'APPROVAL_SECONDS if channel == "token" else self._policy.ask_seconds + (60 if caller.ask else 0)',
        "APPROVAL_SECONDS",
    ),
    "a question that is asked again stays open": (
        "store/base.py",
        "if replaces is not None else None",
        "if False else None",
    ),
    # What resumes
    "a resume is compared with nothing": (
        "store/base.py",
        " or step.overlapping(write, standing.write) is not None:",
        ":",
    ),
    "a resume is compared with later writes only": (
        "store/sqlite.py",
        "AND (id > ? OR entry != '' OR ended > (SELECT started FROM writes WHERE id = ?))",
        "AND (id > ? OR 0 * ?)",
    ),
    "a resume is compared with the last rest only": (
        "store/sqlite.py",
        "digests = [*write.digests, *(row[0] for row in rests)]",
        "digests = [*write.digests]",
    ),
    "a refusal makes an unknown batch a refused one": (
        "store/sqlite_journal.py",
        "doubted = max(doubted, (SELECT",
        "doubted = max(doubted, 0 * (SELECT",
    ),
    "a resume under off is compared with nothing": (
        "store/rules.py",
        "return step.overlapping(write, standing.write)",
        "return None",
    ),
    "a resume is compared by the whole list only": (
        "guard/guard.py",
        'part_digest=part_digest if whole_digest else "",',
        'part_digest="",',
    ),
    "a resume is compared by the rest only": (
        "guard/guard.py",
        "list_digest=whole_digest or part_digest,",
        "list_digest=part_digest,",
    ),
    "an approval to resume lasts for ever": ("store/base.py", "is_fresh = 0 <= step.now", "is_fresh = 0 * step.now"),
    "a resume makes the approval last longer": (
        "upload/service.py",
        'approved = channel != "resumed"',
        "approved = True",
    ),
    "a doubtful batch is sent again without a question": (
        "guard/guard.py",
        "if standing is None or standing.doubtful:",
        "if standing is None:",
    ),
    "a doubtful batch is sent again under off": (
        "guard/limits.py",
        'if channel == "off" and standing is not None and standing.doubtful:',
        "if False:",
    ),
    "approvals for a rest do not void each other": ("upload/requests.py", "return self._digest\n", "return 0\n"),
    "another upload is resumed": ("guard/guard.py", "if write.binding != standing.binding:", "if False:"),
    "the people of a run that was cut off count twice": (
        "store/sqlite.py",
        "users = max(0, users - ?)",
        "users = max(users, 0 * ?)",
    ),
    # Ends
    "a killed write has no end": (
        "store/rules.py",
        'step.append("unknown", {**entry, "reason": ENDED})',
        "pass",
    ),
    "a killed write ends again and again": (
        "store/sqlite.py",
        "self._execute(\"UPDATE writes SET entry = '', ended = ? WHERE id = ?\", (self.now, number))",
        "pass",
    ),
    "a write in flight is taken for a killed one": ("store/presence.py", "return path.exists()", "return False"),
    "a killed process is taken for a running one": (
        "store/presence.py",
        "path.unlink(missing_ok=True)\n        lock.close()\n        return False",
        "lock.close()\n        return True",
    ),
    "an unanswered question has no end": ("store/rules.py", 'step.append("expired", entry)', "pass"),
    # The client below
    "an ambiguous write is sent again": (
        "api/client.py",
        "if not operation.writes or error.not_executed:",
        "if True:",
    ),
}


def survives(name: str) -> bool:
    """Whether every test passes although the check is gone."""
    file, old, new = MUTATIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("cams_mcp", "tests"):
            shutil.copytree(
                ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", ".venvs", "node_modules")
            )
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "cams_mcp" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name}: {old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += [f"tests/{test}" for test in TESTS]
        env = os.environ | {"CAMS_MCP_TEST_THOROUGH": "1"}
        try:
            done = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main(names: list[str]) -> int:
    alive = 0
    for name in names or MUTATIONS:
        alive += (lives := survives(name))
        print("SURVIVED" if lives else "caught  ", name, flush=True)
    print(f"{alive} of {len(names or MUTATIONS)} mutations survived", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
