"""Keep the checked people of a file, ready to send, in a private temporary file.

The people sent are exactly the people checked, because the original file is not read again. Memory use doesn't grow
with the number of people: their encoded form is on disk, and so are the hashes that find duplicates and suppressed
people, one partition at a time.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cams_mcp.api.signing import encode
from cams_mcp.operations.audience.users import HASH_BYTES, list_digest, person_hash
from cams_mcp.upload.people import Person

_PARTS = 64
_RECORDS_IN_MEMORY = 1 << 17
_INDEX_BYTES = 5
_RECORD_BYTES = HASH_BYTES + _INDEX_BYTES

_PLAIN_EMAIL = re.compile(r"[a-z0-9._~-]+@[a-z0-9.-]+")
"""An e-mail that needs no escaping in JSON and only its @ escaped in a form: nearly all of them."""

OPENING, COMMA, CLOSING = b"%5B", b"%2C", b"%5D"
"""`[`, `,` and `]`, percent-encoded."""


def encode_person(person: Person) -> bytes:
    """Encode an element of `Users` as percent-encoded JSON."""
    members: list[str] = []
    if person.email:
        if _PLAIN_EMAIL.fullmatch(person.email):
            text = person.email.replace("@", "%40")
        else:
            text = encode(json.dumps(person.email, ensure_ascii=False)[1:-1])
        members.append(f"%22Email%22%3A%22{text}%22")
    if person.phone:
        members.append(f"%22Phone%22%3A%22{person.phone}%22")
    return f"%7B{'%2C'.join(members)}%7D".encode()


class _Hashes:
    """Hashes with the index of their person, partitioned on disk so that equal hashes share a partition."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._buffers = [bytearray() for _ in range(_PARTS)]
        self._files: dict[int, IO[bytes]] = {}
        self._waiting = 0

    def add(self, key: bytes, index: int) -> None:
        self._buffers[key[0] % _PARTS] += key + index.to_bytes(_INDEX_BYTES, "little")
        self._waiting += 1
        if self._waiting == _RECORDS_IN_MEMORY:
            self._flush()

    def _flush(self) -> None:
        for part, buffer in enumerate(self._buffers):
            file = self._files.get(part)
            if file is None:
                file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed in close()
                self._files[part] = file
            file.write(buffer)
            buffer.clear()
        self._waiting = 0

    def part(self, number: int) -> Iterator[tuple[bytes, int]]:
        """The records of one partition, in the order they were added."""
        file = self._files.get(number)
        if file is not None:
            file.seek(0)
        data = (file.read() if file is not None else b"") + bytes(self._buffers[number])
        for place in range(0, len(data), _RECORD_BYTES):
            end = place + HASH_BYTES
            yield data[place:end], int.from_bytes(data[end : place + _RECORD_BYTES], "little")

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Spool:
    """Collects people. Call `suppress`, then `add`, then `finish`; then read the people to send.

    Args:
        directory: for temporary files; None uses the system default.

    Attributes:
        added: number of people added so far.
        kept: number of people to send.
        duplicates: number of people who were already listed.
        suppressed: number of people who opted out.
        digest: of the people to send, regardless of their order.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.kept = 0
        self.duplicates = 0
        self.suppressed = 0
        self.digest = 0
        self._directory = directory
        self._people: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=1 << 20)  # noqa: SIM115
        self.added = 0
        self._whole = _Hashes(directory)
        self._keys: _Hashes | None = None
        self._opted_out: _Hashes | None = None
        self._dropped = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._people.close()
        for hashes in (self._whole, self._keys, self._opted_out):
            if hashes is not None:
                hashes.close()

    def suppress(self, person: Person) -> None:
        """Leave out everyone with this e-mail or this phone. Call this before the first `add`."""
        if self._opted_out is None:
            self._opted_out, self._keys = _Hashes(self._directory), _Hashes(self._directory)
        for key in _keys_of(person.email, person.phone):
            self._opted_out.add(key, 0)

    def add(self, person: Person) -> None:
        """Add one person to send."""
        self._add(person.email, person.phone, encode_person(person) + b"\n")

    def add_simple(self, email: str, phone: str) -> None:
        """A faster `add` for a phone and an e-mail that needs no escaping except of its @."""
        encoded_email = email.replace("@", "%40")
        line = f"%7B%22Email%22%3A%22{encoded_email}%22%2C%22Phone%22%3A%22{phone}%22%7D\n"
        self._add(email, phone, line.encode())

    def _add(self, email: str, phone: str, line: bytes) -> None:
        index = self.added
        self._whole.add(person_hash(email, phone), index)
        if self._keys is not None:
            for key in _keys_of(email, phone):
                self._keys.add(key, index)
        self._people.write(line)
        self.added = index + 1

    def finish(self) -> None:
        """Mark duplicates and suppressed people, and compute the totals and the digest."""
        self._dropped = bytearray(self.added // 8 + 1)
        for part in range(_PARTS):
            if self._keys is not None and self._opted_out is not None:
                gone = {key for key, _ in self._opted_out.part(part)}
                if gone:
                    self.suppressed += sum(self._drop(index) for key, index in self._keys.part(part) if key in gone)
        for part in range(_PARTS):
            seen: set[bytes] = set()
            again: list[int] = []
            for key, index in self._whole.part(part):
                if self._is_dropped(index):
                    continue
                if key in seen:
                    again.append(index)
                seen.add(key)
            self.duplicates += sum(map(self._drop, again))
            self.digest = (self.digest + list_digest(seen)) % (1 << 8 * HASH_BYTES)
        self.kept = self.added - self.duplicates - self.suppressed

    def digest_from(self, start: int) -> int:
        """The digest of the people to send, starting with person number `start`."""
        kept = (index for index in range(self.added) if not self._is_dropped(index))
        first = next(islice(kept, start, None), self.added)
        records = (record for part in range(_PARTS) for record in self._whole.part(part))
        return list_digest(key for key, index in records if index >= first and not self._is_dropped(index))

    def _drop(self, index: int) -> bool:
        """Mark a person as not to be sent. False if already marked."""
        if self._is_dropped(index):
            return False
        self._dropped[index >> 3] |= 1 << (index & 7)
        return True

    def _is_dropped(self, index: int) -> bool:
        return bool(self._dropped[index >> 3] & 1 << (index & 7))

    def people(self, start: int = 0) -> Iterator[bytes]:
        """The encoded people to send, starting with person number `start`, in file order."""
        self._people.seek(0)
        left = start
        dropped = self._dropped
        for index, line in enumerate(self._people):
            if dropped[index >> 3] & 1 << (index & 7):
                continue
            if left:
                left -= 1
                continue
            yield line[:-1]


def _keys_of(email: str, phone: str) -> list[bytes]:
    keys = [person_hash(email, "")] if email else []
    return [*keys, person_hash("", phone)] if phone else keys


class Batches:
    """Splits people into batches.

    Args:
        people: encoded people, in order.
        max_users: maximum people per batch.
        max_bytes: maximum length of the encoded `Users=[...]`. A single person may exceed it.
    """

    def __init__(self, people: Iterator[bytes], max_users: int, max_bytes: int) -> None:
        self._people = people
        self._most_users = max_users
        self._most_bytes = max_bytes
        self._waiting: list[bytes] = []

    def __iter__(self) -> Iterator[list[bytes]]:
        return self

    def __next__(self) -> list[bytes]:
        batch: list[bytes] = []
        size = len(OPENING) + len(CLOSING) + len("Users=")
        waiting, self._waiting = self._waiting, []
        while len(batch) < self._most_users:
            person = waiting.pop() if waiting else next(self._people, None)
            if person is None:
                break
            size += len(person) + (len(COMMA) if batch else 0)
            if batch and size > self._most_bytes:
                waiting.append(person)
                break
            batch.append(person)
        self._waiting = waiting
        if not batch:
            raise StopIteration
        return batch

    @property
    def is_last(self) -> bool:
        """Whether no people are left."""
        if not self._waiting:
            person = next(self._people, None)
            if person is not None:
                self._waiting.append(person)
        return not self._waiting

    def give_back(self, batch: list[bytes]) -> None:
        """Return the last batch, so that its people are in the next batches again."""
        self._waiting += reversed(batch)

    def halve(self, batch: list[bytes]) -> None:
        """Return a batch that was too large, and halve the maximum batch size from here on."""
        self.give_back(batch)
        self._most_users = max(1, len(batch) // 2)


def encode_batch(batch: list[bytes]) -> str:
    """Join encoded people into the percent-encoded value of `Users`."""
    return (OPENING + COMMA.join(batch) + CLOSING).decode("ascii")
