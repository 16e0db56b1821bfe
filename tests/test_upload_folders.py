"""Which files an upload can reach: plain ones in the folders that the operator opened, and nothing beside them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cams_mcp.errors import ConfigurationError, FileRefused
from cams_mcp.upload.folders import Folders, open_anywhere

SECRET = b"not for uploads"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An open folder `lists` with a file and a folder, beside a secret that is not in it."""
    lists = tmp_path / "lists"
    (lists / "inner").mkdir(parents=True)
    (lists / "people.csv").write_bytes(b"email\n")
    (lists / "inner" / "more.csv").write_bytes(b"phone\n")
    (tmp_path / "secret.csv").write_bytes(SECRET)
    (tmp_path / "lists2").mkdir()
    (tmp_path / "lists2" / "near.csv").write_bytes(SECRET)
    return lists


def read(folders: Folders, path: str) -> bytes:
    _, file = folders.open(path)
    with file:
        return file.read()


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/",
        "..",
        "../secret.csv",
        "inner/../people.csv",
        "inner/../../secret.csv",
        "./../secret.csv",
        "missing.csv",
        "missing/people.csv",
        "inner",
        "inner/",
        "people.csv/x",
        "people.csv\0",
        "people.csv\0.txt",
        "\0",
        "~/people.csv",
        "x" * 5000,
        "/".join(["inner"] * 3000),
        "\ud800.csv",
        "-",
        "/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "//etc/passwd",
    ],
    ids=lambda path: repr(path[:24]),
)
def test_what_is_not_a_plain_file_of_the_folders_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(FileRefused, match=r"^Nothing was sent: ") as refused:
        Folders.of([folder]).open(path)

    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    "path", ["{}/../secret.csv", "{}2/near.csv", "{}", "{}/inner", "{}/missing.csv", "/..{}/people.csv"]
)
def test_an_absolute_path_gets_no_further_than_a_relative_one(folder: Path, path: str) -> None:
    with pytest.raises(FileRefused):
        Folders.of([folder]).open(path.format(folder))


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [
        _link("../secret.csv"),
        _link("people.csv"),
        _link("inner"),
        _link("/dev/zero"),
        _link("/proc/self/environ"),
        _link("trap.csv"),
        _link("nowhere"),
        os.mkfifo,
        _socket,
        Path.mkdir,
    ],
    ids=["out", "in", "folder", "device", "proc", "loop", "dangling", "pipe", "socket", "directory"],
)
def test_a_link_pipe_socket_or_folder_in_place_of_the_file_is_refused_at_once(
    folder: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # a socket's address must be short
    make(Path("trap.csv"))
    for path in ("trap.csv", str(folder / "trap.csv")):
        with pytest.raises(FileRefused, match=r"opened|no such file"):
            Folders.of([folder]).open(path)


@pytest.mark.parametrize("target", ["..", "inner", "../lists2", "/", "."])
def test_a_link_in_place_of_a_parent_folder_is_not_followed(folder: Path, target: str) -> None:
    (folder / "door").symlink_to(target)
    for name in ("secret.csv", "near.csv", "more.csv", "people.csv", "etc/passwd"):
        with pytest.raises(FileRefused):
            Folders.of([folder]).open(f"door/{name}")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_is_refused_even_inside_of_an_open_folder() -> None:
    with pytest.raises(FileRefused, match="regular file"):
        Folders.of(["/dev"]).open("zero")


def test_a_folder_that_becomes_a_link_after_the_start_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folders = Folders.of([folder])
    (folder / "inner" / "more.csv").unlink()
    (folder / "inner").rmdir()
    (folder / "inner").symlink_to(tmp_path)

    with pytest.raises(FileRefused):
        folders.open("inner/secret.csv")


def test_a_file_that_is_swapped_for_a_link_while_it_is_read_stays_the_file_that_was_opened(folder: Path) -> None:
    _, file = Folders.of([folder]).open("people.csv")
    (folder / "people.csv").unlink()
    (folder / "people.csv").symlink_to("../secret.csv")

    with file:
        assert file.read() == b"email\n"


def test_no_descriptor_is_left_open(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    folders = Folders.of([folder])
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for path in ("pipe", "inner", "missing", "inner/missing", "people.csv/x"):
        with pytest.raises(FileRefused):
            folders.open(path)
    read(folders, "inner/more.csv")

    assert (len(list(Path("/proc/self/fd").iterdir())) if before else 0) == before


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("people.csv", b"email\n"),
        ("./people.csv", b"email\n"),
        ("inner/more.csv", b"phone\n"),
        ("inner//more.csv", b"phone\n"),
        ("{}/people.csv", b"email\n"),
        ("{}/inner/more.csv", b"phone\n"),
    ],
)
def test_a_plain_file_is_opened_by_its_relative_or_absolute_path(folder: Path, path: str, text: bytes) -> None:
    folders = Folders.of([folder])
    found, file = folders.open(path.format(folder))
    with file:
        assert file.read() == text
    assert found == folder / path.removeprefix("{}/")


def test_names_are_taken_as_they_are(folder: Path) -> None:
    for name in ("客户 名单.csv", "a b.csv", "..csv", "-x.csv", "%2e%2e", "$HOME"):
        (folder / name).write_bytes(name.encode())
        assert read(Folders.of([folder]), name) == name.encode()


def test_several_folders_are_searched_in_their_order(folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "lists2"
    (second / "people.csv").write_bytes(b"second")
    folders = Folders.of([folder, second])

    assert read(folders, "people.csv") == b"email\n"
    assert read(folders, "near.csv") == SECRET
    assert read(folders, str(second / "people.csv")) == b"second"
    with pytest.raises(FileRefused, match="outside"):
        folders.open(str(tmp_path / "secret.csv"))


def test_a_folder_may_itself_be_named_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    folders = Folders.of([tmp_path / "link"])

    assert read(folders, "people.csv") == b"email\n"
    assert read(folders, str(tmp_path / "link" / "inner" / "more.csv")) == b"phone\n"
    assert read(folders, str(folder / "people.csv")) == b"email\n"


def test_a_folder_that_does_not_exist_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--upload-dir"):
        Folders.of([tmp_path / "missing"])


def test_without_folders_everything_is_refused() -> None:
    with pytest.raises(FileRefused):
        Folders.of([]).open("/etc/passwd")


def test_a_person_at_the_terminal_names_any_plain_file_also_through_a_link(folder: Path) -> None:
    (folder / "link.csv").symlink_to("../secret.csv")
    with open_anywhere(folder / "link.csv") as file:
        assert file.read() == SECRET


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), str])
def test_a_person_at_the_terminal_cannot_name_a_pipe_folder_device_or_nothing(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "x")
    with pytest.raises(FileRefused):
        open_anywhere(tmp_path / "x")
