from __future__ import annotations

import pytest
from mutations import MUTATIONS, ROOT


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_of_the_guard_still_applies_to_the_code(name: str) -> None:
    file, old, new = MUTATIONS[name]

    assert (ROOT / "cams_mcp" / file).read_text(encoding="utf-8").count(old) == 1
    assert old != new
