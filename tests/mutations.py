"""Remove the guard's checks one at a time and see that a test notices: python -m tests.mutations [NAME]

Each mutation is made in a copy of the project. Takes a quarter of an hour; run it when the guard changes.
"""

from __future__ import annotations

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
    "test_guard_machine.py",
)
SECONDS = 300

MUTATIONS: dict[str, tuple[str, str, str]] = {
    # The answer to a question
    "any reply is a yes": ("guard.py", "if reply is not None and reply.is_yes:", "if True:"),
    "a missing reply is a yes": (
        "guard.py",
        "if reply is not None and reply.is_yes:",
        "if reply is None or reply.is_yes:",
    ),
    "decline is not looked at": ("confirmation.py", 'self.action == "accept" and ', ""),
    "accept without a tick": ("confirmation.py", ' and self.content.get("confirm") is True', ""),
    "a tick need not be true": ("confirmation.py", '.get("confirm") is True', '.get("confirm") not in (None, False)'),
    "a question may wait for ever": (
        "guard.py",
        "anyio.move_on_after(self._policy.ask_seconds)",
        "anyio.CancelScope()",
    ),
    "a no leaves the approval open": (
        "store/base.py",
        "step.take_approval(token_hash(token))\n            _append(",
        "_append(",
    ),
    "a no is not recorded": ("guard.py", "await self._decline(write, channel, approval, message)", "pass"),
    "a hang-up is not recorded": (
        "guard.py",
        'await self._decline(write, channel, approval, "the call ended before an answer came")',
        "pass",
    ),
    # The approval
    "an approval is good twice": (
        "store/sqlite.py",
        'self._execute("DELETE FROM approvals WHERE token_hash = ?", (key,))\n',
        "\n",
    ),
    "an approval is good twice in Redis": (
        "store/redis.py",
        "self._forget(key)\n        return Approval",
        "return Approval",
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
        "store/base.py",
        "if approval is None:\n        return no_approval()",
        "if approval is None:\n        return None",
    ),
    "the list may go out meanwhile": ("store/records.py", "if last_write > self.seen_write:", "if False:"),
    "the question is older than the approval": (
        "guard.py",
        """        approval = await in_thread(lambda: self._store.issue(write, channel, seconds))
        # After `issue`: what went out before it is told here, what goes out after it makes the approval void.
        earlier =""",
        """        approval = await in_thread(lambda: self._store.issue(write, channel, seconds))
        earlier = None if channel != "off" else""",
    ),
    "bound to no principal": (
        "guard.py",
        "self._store.digest(caller.principal, identity,",
        'self._store.digest("", identity,',
    ),
    "bound to no endpoint and key": ("guard.py", "caller.principal, identity,", 'caller.principal, "",'),
    "bound to no arguments": ("guard.py", "operation.action, request.parameters())", "operation.action)"),
    "bound to users in any order": (
        "guard.py",
        "operation.action, request.parameters())",
        "operation.action, request.target(), request.contents())",
    ),
    "tokens are stored as they are": (
        "store/records.py",
        "return hashlib.sha256(token.encode()).hexdigest()",
        "return token",
    ),
    "digests have no salt": ("store/records.py", "return hmac.new(salt,", 'return hmac.new(b"",'),
    # Limits
    "any audience": (
        "guard.py",
        "if self._policy.audiences and write.audience not in self._policy.audiences:",
        "if False:",
    ),
    "any number in a call": ("guard.py", "write.users > policy.users_per_call", "False"),
    "one user more in a call": (
        "guard.py",
        "write.users > policy.users_per_call",
        "write.users > policy.users_per_call + 1",
    ),
    "the day's limit only after asking": ("guard.py", "self._store.check_limit(write, policy.users_per_day)", "None"),
    "the day's limit only before asking": (
        "store/base.py",
        "problem = problem or over_limit(write, _users_of_the_day(step, write.audience), users_per_day)",
        "pass",
    ),
    "one user more a day": (
        "store/records.py",
        "used + write.users <= users_per_day",
        "used + write.users <= users_per_day + 1",
    ),
    "unknown writes do not count": (
        "store/sqlite.py",
        "WHERE audience = ? AND outcome != 'refused' AND",
        "WHERE audience = ? AND outcome = 'sent' AND",
    ),
    "a blocked write is not recorded": (
        "guard.py",
        'await in_thread(lambda: self._store.record("blocked", write, channel, message))',
        "pass",
    ),
    # Repetitions
    "off repeats": ("store/base.py", "problem = held(earlier) if earlier is not None else None", "problem = None"),
    "the question does not tell of a repetition": ("guard.py", 'lines.insert(1, f"Careful: {earlier}")', "pass"),
    "a repetition is told for ever": (
        "store/sqlite.py",
        "\"AND outcome != 'refused' AND started > ? ORDER BY",
        "\"AND outcome != 'refused' AND ? ORDER BY",
    ),
    "refused writes count as repetitions": (
        "store/sqlite.py",
        "\"AND outcome != 'refused' AND started > ?",
        '"AND started > ?',
    ),
    "the order of a list hides a repetition": (
        "operations/add_custom_audience_user.py",
        "return list_digest({person_hash(*person(user)) for user in self.users or []})",
        "return hash(tuple(person(user) for user in self.users or []))",
    ),
    # The record
    "sent without an entry in the ledger": (
        "store/base.py",
        "number = step.enter(write.list_digest, shown_id(step.salt, write.audience), write.users)",
        "number = 0",
    ),
    "approved is not recorded": ("store/base.py", '_append(step, "approved", write, channel)\n', "\n"),
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
    "Redis takes what was just issued for the future's": ("store/redis.py", "if float(issued) > time", "if True"),
    "refused writes count in Redis": ("store/redis.py", 'if outcome == "refused":', "if False:"),
    "an ambiguous write is recorded as sent": ("guard.py", 'outcome: Outcome = "unknown"', 'outcome: Outcome = "sent"'),
    "the outcome is not recorded": (
        "guard.py",
        "lambda: self._store.finish(number, write, channel, outcome, request_id, reason, users)",
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
        "server.py",
        "(elicitation.form is not None or elicitation.url is None)",
        "True",
    ),
    "asks clients that declared nothing": ("server.py", "can_ask, modern = _can_ask(ctx),", "can_ask, modern = True,"),
    "asks without a way back": ("server.py", " and ctx.session.can_send_request else None", " else None"),
    "asks although two steps are set": (
        "guard.py",
        'if token is None and self._policy.confirm == "auto":',
        "if token is None:",
    ),
    "an answer without a state is no second round": (
        "server.py",
        "if params.request_state is None and params.input_responses is None:",
        "if params.request_state is None:",
    ),
    "a client's error is a yes": ("server.py", 'return Reply("failed")', 'return Reply("accept", {"confirm": True})'),
    "a missing audience is asked about": (
        "operations/audience_question.py",
        'if "audience" in found.answered and found.audience is None:',
        "if False:",
    ),
    "names are shown as they are": (
        "redaction.py",
        'name = _QUOTE.sub("\'", printable(name, longest * 2).translate(_FULL_WIDTH))',
        "pass",
    ),
    "ids are shown as they are": (
        "operations/audience_question.py",
        'return identifier if re.fullmatch(r"[0-9]{1,32}", identifier) else quoted(identifier)',
        "return identifier",
    ),
    "nothing tells a waiting client": ("server.py", "group.start_soon(progress.report_waiting)", "pass"),
    "read-only hides the tool only": ("tools.py", "if not (read_only and operation.writes):", "if True:"),
    # The client below
    "an ambiguous write is sent again": (
        "client.py",
        "if operation.writes and _may_have_been_applied(error):",
        "if False:",
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
        try:
            return subprocess.run(command, cwd=copy, capture_output=True, timeout=SECONDS, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def main(names: list[str]) -> int:
    alive = 0
    for name in names or MUTATIONS:
        alive += (lives := survives(name))
        print("SURVIVED" if lives else "caught  ", name, flush=True)  # noqa: T201
    print(f"{alive} of {len(names or MUTATIONS)} mutations survived", flush=True)  # noqa: T201
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
