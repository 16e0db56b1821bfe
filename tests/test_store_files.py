"""The file of the SQLite store: what happens to it from outside, and who may use it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_worker import a_write, asked, begun
from test_store import events

from cams_mcp.errors import NotConfirmed, StoreError
from cams_mcp.store import FILE_NAME, Asking, Ending, Pending, Store
from cams_mcp.store.database import Database

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with closing(Store(state)) as store:
        yield store


@pytest.fixture
def other(state: Path) -> Iterator[Store]:
    """Another process's store on the same record."""
    with closing(Store(state)) as store:
        yield store


def files_of_record(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob(f"{FILE_NAME}*"))


# What is committed is in the file itself


def test_between_steps_the_file_is_all_there_is(store: Store, other: Store, state: Path) -> None:
    def files() -> list[str]:
        return files_of_record(state)

    token = asked(store, a_write())
    assert files() == [FILE_NAME]
    number = begun(other, a_write(), "token", token)
    assert files() == [FILE_NAME]
    store.finish(number, a_write(), "token", Ending(outcome="sent"))
    assert files() == [FILE_NAME]


def test_a_copy_of_the_file_between_steps_is_the_whole_record(store: Store, state: Path, tmp_path: Path) -> None:
    number = begun(store, a_write(), "token", asked(store, a_write()))
    store.finish(number, a_write(), "token", Ending(outcome="sent"))
    (tmp_path / "copy").mkdir(mode=0o700)
    shutil.copy(state / FILE_NAME, tmp_path / "copy")

    with closing(Store(tmp_path / "copy")) as copy:
        assert events(copy) == events(store) == ["asked", "approved", "sent"]


SUFFIXES = ("-journal", "-wal", "-shm")


@pytest.mark.parametrize("suffixes", [*((suffix,) for suffix in SUFFIXES), SUFFIXES])
def test_an_approval_is_good_once_whenever_side_files_disappear(
    store: Store, other: Store, state: Path, suffixes: tuple[str, ...]
) -> None:
    def lose() -> None:
        for suffix in suffixes:
            (state / (FILE_NAME + suffix)).unlink(missing_ok=True)

    token = asked(store, a_write())
    lose()
    begun(store, a_write(), "token", token)
    lose()

    for again in (other, store):
        assert isinstance(again.begin(a_write(), "token", token), Pending)
        lose()
    assert events(other) == ["asked", "approved"]


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_a_record_with_a_write_ahead_log_is_taken_over_whole(state: Path, tmp_path: Path, ended: str) -> None:
    with closing(Store(tmp_path / "old")) as old:
        token = asked(old, a_write())
    with closing(sqlite3.connect(tmp_path / "old" / FILE_NAME)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        columns = "id, list_digest, audience, users, started, outcome"
        raw.execute(f"INSERT INTO writes ({columns}) VALUES (41, 'l2', 'a', 1, 0, 'sent')")  # noqa: S608
        raw.commit()
        if ended == "killed":  # its files are those of a process that had no time to clean up
            shutil.copytree(tmp_path / "old", state)
    if ended == "closed":
        shutil.copytree(tmp_path / "old", state)

    with closing(Store(state)) as store:
        assert begun(store, a_write(), "token", token) == 42
        assert files_of_record(state) == [FILE_NAME]


def test_a_program_that_starts_a_write_ahead_log_is_waited_for_and_then_undone(store: Store, state: Path) -> None:
    token = asked(store, a_write())
    with closing(sqlite3.connect(state / FILE_NAME)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        older.execute("SELECT count(*) FROM audit").fetchone()
        with pytest.raises(StoreError, match="is busy"):
            begun(store, a_write(), "token", token)

    assert begun(store, a_write(), "token", token)
    assert files_of_record(state) == [FILE_NAME]


# A record that is replaced while servers run


def rename_over(backup: Path, file: Path) -> None:
    backup.replace(file)


def write_over(backup: Path, file: Path) -> None:
    file.write_bytes(backup.read_bytes())


def rename_the_directory(backup: Path, file: Path) -> None:
    file.parent.rename(backup.parent / "away")
    file.parent.mkdir(mode=0o700)
    backup.replace(file)


@pytest.mark.parametrize("restore", [rename_over, write_over, rename_the_directory])
def test_an_approval_that_was_spent_is_not_good_again_in_an_older_copy(
    store: Store, state: Path, tmp_path: Path, restore: Callable[[Path, Path], None]
) -> None:
    token = asked(store, a_write())
    shutil.copy(state / FILE_NAME, tmp_path / "backup")
    begun(store, a_write(), "token", token)

    restore(tmp_path / "backup", state / FILE_NAME)

    with pytest.raises(NotConfirmed):
        begun(store, a_write(), "token", token)
    assert begun(store, a_write(), "token", asked(store, a_write()))


@pytest.mark.parametrize("restore", [rename_over, rename_the_directory])
def test_an_approval_that_another_process_spent_is_not_good_again_in_an_older_copy(
    store: Store, other: Store, state: Path, tmp_path: Path, restore: Callable[[Path, Path], None]
) -> None:
    token = asked(store, a_write())
    shutil.copy(state / FILE_NAME, tmp_path / "backup")
    begun(other, a_write(), "token", token)

    restore(tmp_path / "backup", state / FILE_NAME)

    for again in (store, other):
        with pytest.raises(NotConfirmed):
            begun(again, a_write(), "token", token)


@pytest.mark.parametrize("restore", [rename_over, write_over, rename_the_directory])
def test_what_a_person_approved_and_was_sent_is_not_good_again_in_an_older_copy(
    store: Store, state: Path, tmp_path: Path, restore: Callable[[Path, Path], None]
) -> None:
    pending = store.ask(a_write(), "page", Asking(facts=(), seconds=600))
    assert pending is not None
    store.decide(pending.id, approve=True, channel="page")
    shutil.copy(state / FILE_NAME, tmp_path / "backup")
    store.begin(a_write(), "page", None)

    restore(tmp_path / "backup", state / FILE_NAME)

    assert store.pending() == []
    with pytest.raises(NotConfirmed):
        store.begin(a_write(), "page", None)


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(b"")


def rename_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("away"))


@pytest.mark.parametrize("lose", [delete, truncate, rename_directory])
def test_a_record_that_is_lost_is_begun_anew_and_old_approvals_are_void(
    store: Store, other: Store, state: Path, lose: Callable[[Path], None]
) -> None:
    token = asked(store, a_write())
    other.record("blocked", a_write(), "token")
    lose(state / FILE_NAME)

    for each in (store, other):
        with pytest.raises((NotConfirmed, StoreError)):
            begun(each, a_write(), "token", token)
        fresh = a_write(f"fresh {id(each)}")
        assert begun(each, fresh, "token", asked(each, fresh))
    with closing(Store(state)) as auditor:
        assert events(auditor).count("approved") == 2


def replace_with_a_copy(file: Path) -> None:
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").replace(file)


@posix
@pytest.mark.parametrize("lose", [delete, rename_directory, replace_with_a_copy])
def test_a_step_whose_file_is_taken_away_under_it_does_not_count(
    state: Path, other: Store, lose: Callable[[Path], None]
) -> None:
    token = asked(other, a_write())
    acts: list[Callable[[Path], None]] = []

    def clock() -> float:
        if acts:
            acts.pop()(state / FILE_NAME)
        return now

    with closing(sqlite3.connect(state / FILE_NAME)) as raw:
        now = raw.execute("SELECT asked FROM pending").fetchone()[0] + 1
    with closing(Store(state, clock)) as store:
        store.digest("opened")
        acts.append(lose)
        with pytest.raises(StoreError):
            begun(store, a_write(), "token", token)


@posix
@pytest.mark.parametrize("lose", [delete, rename_directory, replace_with_a_copy])
def test_a_step_whose_file_is_taken_away_while_it_writes_does_not_count(
    state: Path, store: Store, lose: Callable[[Path], None]
) -> None:
    asked(store, a_write())
    step = Database(state)

    def work() -> None:
        with step.transaction() as database:
            database.execute("DELETE FROM pending")
            lose(state / FILE_NAME)

    with closing(step), pytest.raises(StoreError, match="sends no writes without it"):
        work()


# Who may use it


@posix
def test_a_new_file_is_private_from_its_first_moment(
    state: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "chmod", None)  # too late
    previous = os.umask(0)
    try:
        store.record("blocked", a_write(), "token")
    finally:
        os.umask(previous)

    assert mode_of(state / FILE_NAME) == 0o600


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("mode", [0o644, 0o666, 0o660, 0o604, 0o777])
def test_a_file_that_others_could_use_is_made_private(state: Path, mode: int) -> None:
    with closing(Store(state)) as store:
        store.record("blocked", a_write(), "token")
    (state / FILE_NAME).chmod(mode)

    with closing(Store(state)) as store:
        assert events(store) == ["blocked"]
    assert mode_of(state / FILE_NAME) == 0o600


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_side_files_that_others_could_use_are_made_private(state: Path, store: Store, suffix: str) -> None:
    state.mkdir(mode=0o700)
    side = state / (FILE_NAME + suffix)
    side.touch()
    side.chmod(0o666)

    store.record("blocked", a_write(), "token")

    assert not side.exists() or mode_of(side) == 0o600


@posix
def test_a_file_that_stays_open_to_others_whatever_is_done_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(state)) as store:
        store.record("blocked", a_write(), "token")
    (state / FILE_NAME).chmod(0o644)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)

    with closing(Store(state)) as store, pytest.raises(StoreError, match=r"other users can read.*--state-dir"):
        store.record("blocked", a_write(), "token")


@posix
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o775, 0o702, 0o2770])
def test_a_directory_that_others_can_write_to_is_refused(state: Path, store: Store, mode: int) -> None:
    state.mkdir()
    state.chmod(mode)

    with pytest.raises(StoreError, match=r"other users can write to the state directory.*chmod go-w"):
        store.record("blocked", a_write(), "token")
    assert list(state.iterdir()) == []

    with closing(Store(state / "of its own")) as own:
        own.record("blocked", a_write(), "token")


@posix
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o711])
def test_a_directory_that_others_can_only_look_into_is_used(state: Path, store: Store, mode: int) -> None:
    state.mkdir()
    state.chmod(mode)

    store.record("blocked", a_write(), "token")

    assert (mode_of(state), mode_of(state / FILE_NAME)) == (mode, 0o600)


@posix
def test_a_directory_behind_a_link_is_used(state: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    state.symlink_to(tmp_path / "elsewhere")

    store.record("blocked", a_write(), "token")

    assert (tmp_path / "elsewhere" / FILE_NAME).exists()


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("victim"))


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_hard_link(path: Path) -> None:
    path.hardlink_to(path.with_name("victim"))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.mkdir()


@posix
@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
@pytest.mark.parametrize("plant", [a_link, a_link_to_nowhere, a_hard_link, a_pipe, a_directory])
def test_what_is_no_file_of_its_own_is_refused_and_left_as_it_is(
    state: Path, store: Store, plant: Callable[[Path], None], suffix: str
) -> None:
    state.mkdir(mode=0o700)
    victim = state / "victim"
    victim.write_bytes(b"somebody's")
    victim.chmod(0o644)
    plant(state / (FILE_NAME + suffix))

    for _ in range(2):
        with pytest.raises(StoreError, match=r"sends no writes without it.*--state-dir"):
            store.record("blocked", a_write(), "token")

    assert victim.read_bytes() == b"somebody's"
    assert mode_of(victim) == 0o644
    assert not (state / "nowhere").exists()


@posix
def test_a_link_that_takes_the_files_place_is_not_followed(state: Path, store: Store) -> None:
    token = asked(store, a_write())
    (state / FILE_NAME).rename(state / "moved")
    (state / FILE_NAME).symlink_to(state / "moved")

    with pytest.raises(StoreError, match="is a symbolic link"):
        begun(store, a_write(), "token", token)


@as_root
@pytest.mark.parametrize("name", ["", FILE_NAME, f"{FILE_NAME}-journal"])
def test_what_another_user_owns_is_refused(state: Path, store: Store, name: str) -> None:
    state.mkdir(mode=0o700)
    if name:
        (state / name).touch(0o600)
    os.chown(state / name, 65534, 65534)

    with pytest.raises(StoreError, match="another user owns"):
        store.record("blocked", a_write(), "token")


@posix
def test_a_record_of_another_user_is_refused_and_a_directory_of_root_is_not(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(state)) as store:
        store.record("blocked", a_write(), "token")
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)

    owner = "cams-mcp.sqlite3" if own == 0 else "the state directory"
    with closing(Store(state)) as store, pytest.raises(StoreError, match=f"another user owns {owner}"):
        store.record("blocked", a_write(), "token")


def test_without_owners_and_modes_the_store_works(state: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid", raising=False)
    state.mkdir()
    state.chmod(0o777)  # as Windows tells it of every directory

    assert begun(store, a_write(), "token", asked(store, a_write()))
