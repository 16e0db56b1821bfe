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
    "test_store_pending.py",
    "test_waiting.py",
    "test_guard.py",
    "test_approval.py",
    "test_approval_waiting.py",
    "test_approval_cards.py",
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
SECONDS = 900

MUTATIONS: dict[str, tuple[str, str, str]] = {
    # The answer to a question
    "any reply in mid-call is a yes": (
        "guard/guard.py",
        "if reply.is_yes:\n            by = attempt.caller.person",
        "if True:\n            by = attempt.caller.person",
    ),
    "any reply in a second round is a yes": (
        "guard/guard.py",
        'if reply.is_yes:\n            return await self._spend(attempt, "elicitation", state)',
        'if True:\n            return await self._spend(attempt, "elicitation", state)',
    ),
    "a missing reply is a yes": (
        "guard/guard.py",
        "# SEP-2322 recommends asking again",
        'return await self._spend(attempt, "elicitation", answered.state)\n            # SEP',
    ),
    "decline is not looked at": ("confirmation.py", 'self.action == "accept" and ', ""),
    "accept without a tick": ("confirmation.py", ' and self.content.get("confirm") is True', ""),
    "a tick need not be true": ("confirmation.py", '.get("confirm") is True', '.get("confirm") not in (None, False)'),
    "a question may wait for ever": (
        "guard/doors.py",
        "anyio.move_on_after(self._policy.ask_seconds)",
        "anyio.CancelScope()",
    ),
    "a no leaves the approval open": (
        "store/rules.py",
        'step.put_pending(declined)\n    step.append("declined", entry)',
        'step.append("declined", entry)',
    ),
    "a closed question stays open": (
        "store/rules.py",
        'step.drop_pending(pending)\n    step.append("declined", entry)',
        'pass\n    step.append("declined", entry)',
    ),
    "a no is not recorded": (
        "store/rules.py",
        'step.put_pending(declined)\n    step.append("declined", entry)',
        "step.put_pending(declined)",
    ),
    "a closed question is not recorded": (
        "store/rules.py",
        '    step.append("declined", entry)\n    return None',
        "    return None",
    ),
    "a hang-up is not recorded": ("guard/guard.py", "await in_thread(withdraw, shield=True)", "pass"),
    "a question is answered by a caller who is not asked": (
        "guard/guard.py",
        'if answered is not None and door != "elicitation":',
        "if False:",
    ),
    "a late no undoes a yes from another door": (
        "store/rules.py",
        'if pending is None or pending.state != "waiting":\n        current',
        "if pending is None:\n        current",
    ),
    "a call that ends takes the question from those that joined it": (
        "store/rules.py",
        "(pending.joined or pending.channel != channel)",
        "pending.channel != channel",
    ),
    "a closed question ends at other doors too": (
        "store/rules.py",
        "(pending.joined or pending.channel != channel)",
        "pending.joined",
    ),
    # The approval
    "an approval is good twice": (
        "store/rules.py",
        'step.put_pending(replace(approval, state="spent", write=number))',
        "step.put_pending(replace(approval, write=number))",
    ),
    "a spent approval is good again": (
        "store/rules.py",
        'if pending is not None and pending.state == "spent":\n        return pending\n    if',
        "if",
    ),
    "Redis does not look whether a waiting write has changed": (
        "store/redis.py",
        'self._transaction.read("GET", f"pending:{binding}")',
        'self._transaction.peek("GET", f"pending:{binding}")',
    ),
    "an approval fits any request": (
        "store/rules.py",
        "if is_good and pending.binding == write.binding:",
        "if is_good:",
    ),
    "an approval fits any channel": ("store/rules.py", "key.channel == channel and ", ""),
    "a void token stays good": (
        "store/rules.py",
        "left = pending.without_key(hashed)",
        "left = pending",
    ),
    "an approval never expires": ("store/pending.py", "self.asked <= now < self.expires", "self.asked <= now"),
    "an approval from the future": ("store/pending.py", "self.asked <= now < self.expires", "now < self.expires"),
    "a token lasts as long as its question": ("store/rules.py", " and step.now < key.expires", ""),
    "a made-up token is good": (
        "store/rules.py",
        "if pending is None or key is None:\n        return no_approval()",
        "if pending is None or key is None:\n        return step.pending_of(write.binding) or no_approval()",
    ),
    "a write that waits is sent": (
        "store/rules.py",
        'if pending is None or pending.state == "waiting":\n        found',
        "if pending is None:\n        found",
    ),
    "the list may go out meanwhile": (
        "store/rules.py",
        "if step.last_write(write.digests) > pending.seen_write:",
        "if False:",
    ),
    "a question that waits does not learn of what was sent": (
        "store/asking.py",
        "elif pending is not None and seen > pending.seen_write:",
        "elif False:",
    ),
    "bound to no principal": (
        "guard/attempt.py",
        "store.digest(caller.principal, identity,",
        'store.digest("", identity,',
    ),
    "bound to no endpoint and key": ("guard/attempt.py", "caller.principal, identity,", 'caller.principal, "",'),
    "bound to no arguments": ("guard/attempt.py", "operation.action, parameters)", "operation.action)"),
    "bound to users in any order": (
        "guard/attempt.py",
        "operation.action, parameters)",
        "operation.action, target, part)",
    ),
    # The token
    "a token is taken from a caller who would be asked": (
        "guard/guard.py",
        'if door != "token":\n                await refuse(self._store, write, door, no_token())',
        "if False:\n                pass",
    ),
    "a token approves what waits for a person": (
        "store/asking.py",
        'if asking.token and (channel != "token" or pending.channel == "token"):',
        "if asking.token:",
    ),
    "a caller gets a token for what waits for a person": (
        "guard/guard.py",
        '(door == "token" and pending.channel != "token") or',
        "",
    ),
    "a card decides what waits at a better door": (
        "guard/guard.py",
        ' or (door == "card" and not pending.at_card)',
        "",
    ),
    # The decision
    "the last decision counts": (
        "store/rules.py",
        'if pending.state != "waiting":\n        return pending\n    entry',
        'if pending.state == "spent":\n        return pending\n    entry',
    ),
    "anybody decides": ("store/rules.py", " or principal not in (None, pending.principal)", ""),
    "a decision at a door is not recorded": (
        "store/rules.py",
        'step.put_pending(decided)\n    step.append("approved", entry)',
        "step.put_pending(decided)",
    ),
    "samples outlive the decision": (
        "store/pending.py",
        'tuple(fact for fact in self.facts if fact.kind != "samples")',
        "self.facts",
    ),
    "deleted samples stay in the file": (
        "store/database.py",
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
    ),
    "tokens outlive the decision": ("store/pending.py", "facts=facts, keys=(), expires", "facts=facts, expires"),
    "Redis keeps the tokens of what is over": (
        "store/redis.py",
        'self._transaction.write("DEL", f"pending-key:{key.hash}")',
        "pass",
    ),
    "a card decides without its key": (
        "tools/cards.py",
        "caller.cards and is_proved_decision(given, key)",
        "caller.cards",
    ),
    "a card shows without its key": ("tools/cards.py", "caller.cards and is_proved_show(given, key)", "caller.cards"),
    "a card decides for other principals": ("tools/cards.py", '"card", by, caller.principal)', '"card", by)'),
    "all principals have one key": ("approval/card.py", "{_LABEL}{principal}", "{_LABEL}"),
    # A no
    "a no holds nothing": ("store/asking.py", "    if until:\n", "    if False:\n"),
    "a no holds this very call only": (
        "store/pending.py",
        "(self.binding == binding or not set(self.digests).isdisjoint(digests))",
        "self.binding == binding",
    ),
    "a no of one principal is everybody's": (
        "store/pending.py",
        "return self.principal == principal and (",
        "return (",
    ),
    "a closed question is a no": ("guard/guard.py", 'hold=reply.action == "decline"', "hold=True"),
    "a no is not held": ("guard/guard.py", 'hold=reply.action == "decline"', "hold=False"),
    "a no lasts from the question on": (
        "store/pending.py",
        "expires = now + DECLINED_SECONDS",
        "expires = self.asked + DECLINED_SECONDS",
    ),
    "a no leaves what was approved of the same list": (
        "store/rules.py",
        'and each.state in ("waiting", "approved")',
        'and each.state == "waiting"',
    ),
    "a declined write is sent": (
        "store/rules.py",
        'if pending is not None and pending.state == "declined":\n        return was_declined(pending.expires)',
        "if False:\n        pass",
    ),
    "a question on a terminal ends a no": (
        "store/asking.py",
        "barred, pending = pending.expires, None",
        "pending = None",
    ),
    "closing the question on a terminal ends a no": ("store/rules.py", "if pending.barred > step.now:", "if False:"),
    # Five at most
    "six wait": (
        "store/asking.py",
        "if len(others) >= MOST_WAITING and not",
        "if len(others) > MOST_WAITING and not",
    ),
    "a question gives way to a preview": (
        "store/asking.py",
        '(channel == "token" and others[0].channel == "token")',
        '(channel == "token")',
    ),
    "a preview gives way to a question": (
        "store/asking.py",
        '(channel == "token" and others[0].channel == "token")',
        '(others[0].channel == "token")',
    ),
    "a preview does not give way": ("store/asking.py", "        step.drop_pending(others[0])\n", ""),
    "what is decided waits on": ("store/asking.py", 'each.state == "waiting"\n        and ', ""),
    "all principals share five": ("store/asking.py", "        and each.principal == write.principal\n", ""),
    # The outcome for identical calls
    "identical calls ask again": (
        "store/asking.py",
        'if pending is not None and pending.state == "spent":\n        return pending\n',
        "pass\n",
    ),
    "the outcome is not kept": (
        "store/rules.py",
        "step.put_pending(replace(pending, outcome=outcome))",
        "pass",
    ),
    "the outcome of an earlier write is kept": ("store/rules.py", " or pending.write != number:", ":"),
    "the end of an earlier write is kept": (
        "store/rules.py",
        "and pending.write == number and",
        "and pending.write and",
    ),
    "a killed write stays in flight": (
        "store/rules.py",
        'step.put_pending(replace(pending, outcome={"outcome": "unknown", "error": ENDED}))',
        "pass",
    ),
    "a refusal that was told is kept": ("store/rules.py", "    if forget:\n", "    if False:\n"),
    "a refusal that nobody heard of is forgotten": (
        "store/records.py",
        'return self.outcome == "refused" and self.is_reported',
        'return self.outcome == "refused"',
    ),
    "another refusal is forgotten": ("store/waiting.py", "current.write == pending.write and ", ""),
    "the recorded result repeats what CAMS echoed": (
        "guard/delivery.py",
        "return without_people(content) if isinstance(response, Response) else content",
        "return content",
    ),
    "an earlier resume is taken for the same call": ("upload/requests.py", " after {self._job.write}", ""),
    # Waiting
    "a question that was just put is taken for a withdrawn one": (
        "guard/waiting.py",
        "if self._looked_at >= began and (",
        "if (",
    ),
    "a busy store ends the wait": ("guard/waiting.py", "with suppress(StoreError):", "if True:"),
    "a decision during a look is noticed late": (
        "guard/waiting.py",
        "if not self._is_current:\n            return",
        "if False:\n            return",
    ),
    # What is kept
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
        "guard/limits.py",
        "store.check_limit(write, policy.per_day, standing)",
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
        "guard/limits.py",
        'await in_thread(lambda: store.record("blocked", write, channel, problem.message))',
        "pass",
    ),
    # Repetitions
    "off repeats": ("store/base.py", "if earlier is not None:", "if False:"),
    "the question does not tell of a repetition": ("store/asking.py", "if earlier is None:", "if True:"),
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
        'Ending(outcome="unknown", reason="the call was interrupted")',
        'Ending(outcome="sent", reason="the call was interrupted")',
    ),
    "the outcome is not recorded": (
        "guard/delivery.py",
        "lambda: store.finish(number, write, channel, ending)",
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
    "approvals of an older copy are good": ("store/database.py", '"DELETE FROM pending"', '"SELECT 1"'),
    "an older copy in the same file goes unnoticed": (
        "store/database.py",
        "return last is None or ",
        "return True or ",
    ),
    "an older copy without the last write goes unnoticed": (
        "store/database.py",
        "AND ? <= (SELECT coalesce(max(id), 0) FROM writes)",
        "AND ? >= 0",
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
        "guard/doors.py",
        'if confirm in ("off", "token"):',
        'if confirm == "off":',
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
        "operations/audience/description.py",
        'return identifier if re.fullmatch(r"[0-9]{1,32}", identifier) else self._quote(identifier)',
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
        'APPROVAL_SECONDS if door == "token" else self._policy.ask_seconds',
        "APPROVAL_SECONDS",
    ),
    "a question that is asked again stays open": (
        "store/asking.py",
        "return pending.without_key(token_hash(replaces)), replace(",
        "return pending, replace(",
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
        "guard/attempt.py",
        'part_digest=part_digest if whole_digest else "",',
        'part_digest="",',
    ),
    "a resume is compared by the rest only": (
        "guard/attempt.py",
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
        "if standing is None or standing.doubtful or",
        "if standing is None or",
    ),
    "a resume where only persons approve needs none": (
        "guard/guard.py",
        " or self._policy.confirm in PERSONS:",
        ":",
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
    "an unanswered question has no end": ("store/rules.py", 'step.append("expired", pending.entry)', "pass"),
    "an approval that was not used has no end": (
        "store/rules.py",
        'step.append("expired", {**pending.entry, "reason": NEVER_SENT})',
        "pass",
    ),
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
