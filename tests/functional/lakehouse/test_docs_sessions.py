"""The sessions in the documentation can be typed in, and print what the pages show."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs_session import alike, steps, typed, with_ids

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["branches", "going-back", "production"])
def test_a_page_can_be_typed_in(name: str, tmp_path: Path) -> None:
    session = steps((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    assert len(session) > 10
    known: dict[str, str] = {}
    for step in session:
        printed = typed(with_ids(step.command, known), tmp_path)
        ids = alike(step.shown, printed)
        shown = "\n".join(step.shown)
        assert ids is not None, f"$ {step.command}\nprinted:\n{printed}\nand the page shows:\n{shown}"
        known.update(ids)


def test_what_differs_is_noticed() -> None:
    shown = ("created branch dev at 3f2a9104 (main)", "  …", "merged: commit 0badcafe1")
    ids = {"3f2a9104": "8a0b1c2d", "0badcafe1": "1234abcd5"}
    assert alike(shown, "created branch dev at 8a0b1c2d (main)\nmore\nand more\nmerged: commit 1234abcd5\n") == ids
    assert alike(shown, "created branch dev at 8a0b1c2d (main)\nmerged: commit 1234abcd5\n") == ids
    assert alike(shown, "created branch dev at 8a0b1c2d (prod)\nmerged: commit 1234abcd5\n") is None
    assert alike(shown, "created branch dev at 8a0b1c2d (main)\nmerged: commit 1234abcd5\nand more\n") is None
    assert alike(shown, "") is None
    assert alike((), "") == {}
    assert with_ids("lakehouse show 3f2a9104 --to deadbeef0", ids) == "lakehouse show 8a0b1c2d --to deadbeef0"
