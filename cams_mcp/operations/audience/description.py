"""Describes the facts of a write to an audience: the people of a call, of a file, or of the rest of an upload.

Every line is one of our own sentences. Text from CAMS, an assistant or a file appears in it only as a number, or short
and in quotation marks. No such text can change what the question says or make it longer than 2,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cams_mcp.facts import Bar, Change, Description, Fact, Language, quoted_in
from cams_mcp.fields import MOST
from cams_mcp.operations.audience.question import MIN_MATCHED
from cams_mcp.operations.audience.words import WORDS


def describe(facts: Sequence[Fact], language: Language) -> Description:
    """Describe the facts that `question.facts_of` or a write of `upload.requests` stated."""
    return _Writer(facts, language).description()


class _Writer:
    def __init__(self, facts: Sequence[Fact], language: Language) -> None:
        self._language: Language = language
        self._words = WORDS[language]
        self._known: Mapping[str, Any] = {fact.key: fact.value for fact in facts}
        self._numbers = {
            fact.key: self._amount(fact.value) for fact in facts if fact.kind == "number" and fact.value is not None
        }
        self._warned = [fact for fact in facts if fact.kind == "warning"]

    def description(self) -> Description:
        known, words = self._known, self._words
        tokens = known["audience_tokens"]
        drawable = tokens is not None and 0 <= tokens <= MOST
        name = self._quote(known["audience_name"] or known["audience_id"])
        return Description(
            question=words.question.format(people=self._people(known["people"]), audience=name),
            tick=words.tick,
            warnings=tuple(map(self._warning, self._warned)),
            details=(self._audience(with_size=True), self._place(), *self._counts(), *self._notes()),
            consequences=(words.sent_to_meta, self._discards()),
            place=(self._audience(with_size=not drawable), self._place(), *self._file(), *self._notes()),
            change=Change(words.tokens, tokens if drawable else None, known["people"]),
            bars=tuple(self._bars()),
            samples=tuple(map(self._quote, self._samples)),
        )

    def _audience(self, *, with_size: bool) -> str:
        known, words = self._known, self._words
        tokens = self._numbers.get("audience_tokens") if with_size else None
        size = words.size.format(tokens=tokens) if tokens is not None else ""
        return words.audience.format(id=self._id(known["audience_id"]), size=size)

    def _place(self) -> str:
        words, page = self._words, self._id(self._known["page_id"])
        ad_account = self._named("ad_account", words.ad_account_named, words.ad_account)
        instance = self._named("instance", words.instance_named, words.instance)
        return words.place.format(ad_account=ad_account, page=page, instance=instance)

    def _named(self, thing: str, named: str, unnamed: str) -> str:
        name, identifier = self._known[f"{thing}_name"], self._id(self._known[f"{thing}_id"])
        return named.format(name=self._quote(name), id=identifier) if name else unnamed.format(id=identifier)

    def _counts(self) -> Iterator[str]:
        """The lines that bars and samples replace where they are drawn."""
        known, words, numbers = self._known, self._words, self._numbers
        if "rows" in known:
            yield words.rows.format(name=self._quote(known["file"]), **numbers)
            yield words.valid.format(**numbers)
        elif "emails" in known:
            again = {0: words.no_duplicates, 1: words.one_duplicate}.get(known["duplicates"], words.duplicates)
            yield words.counts.format(**numbers | {"duplicates": again.format(number=numbers["duplicates"])})
        if self._samples:
            shown = [
                (words.email if "@" in address else words.phone).format(address=self._quote(address))
                for address in self._samples
            ]
            yield words.examples.format(examples=words.comma.join(shown))

    def _file(self) -> Iterator[str]:
        if "rows" in self._known:
            yield self._words.file.format(name=self._quote(self._known["file"]))

    def _notes(self) -> Iterator[str]:
        known, words = self._known, self._words
        if "estimate" in known:
            yield words.estimate.format(people=self._people(known["estimate"]))
        if "last_batch" in known:
            yield words.last_batch
        if "calls" in known:
            yield words.one_call if known["calls"] == 1 else words.calls.format(number=self._numbers["calls"])
        if "resumes" in known:
            resumes = known["resumes"]
            sent, total = self._amount(resumes["sent"]), self._amount(resumes["total"])
            name = self._quote(known["file"])
            yield words.resumes.format(upload=resumes["upload"], name=name, sent=sent, total=total)

    def _warning(self, fact: Fact) -> str:
        words, value = self._words, fact.value
        match fact.key:
            case "other_ad_account":
                return words.other_ad_account.format(id=self._id(value))
            case "no_name":
                return words.no_name.format(thing=words.things[value["of"]], reason=words.reasons[value["why"]])
            case "running":
                return words.running
            case "doubtful":
                number, people = self._amount(value), words.people.format(number=self._numbers["people"])
                return words.doubtful.format(number=number, people=people)
            case _:
                raise ValueError(fact.key)

    def _discards(self) -> str:
        """What Meta does with this many people in total."""
        known, words = self._known, self._words
        total = known["resumes"]["total"] if "resumes" in known else known.get("estimate") or known["people"]
        return (words.too_few if total < MIN_MATCHED else words.few_discarded).format(least=MIN_MATCHED)

    def _bars(self) -> Iterator[Bar]:
        known, words = self._known, self._words
        labels = words.of_rest if "resumes" in known else words.of_file if "rows" in known else words.of_call
        numbers = {**known, **known.get("resumes", {})}
        return (Bar(label, numbers[key]) for key, label in labels.items() if key in numbers)

    @property
    def _samples(self) -> list[str]:
        return self._known.get("samples") or []

    def _quote(self, text: str) -> str:
        return quoted_in(self._language, text)

    def _id(self, identifier: str) -> str:
        """A number unchanged, anything else quoted: assistants supply ids, and words in them could pass for ours."""
        return identifier if re.fullmatch(r"[0-9]{1,32}", identifier) else self._quote(identifier)

    def _amount(self, number: int) -> str:
        return f"{number:,}" if number <= MOST else self._words.over.format(number=f"{MOST:,}")

    def _people(self, number: int) -> str:
        return (self._words.one_person if number == 1 else self._words.people).format(number=self._amount(number))
