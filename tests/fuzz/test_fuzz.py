"""What comes from outside is accepted or refused in words, at a bounded cost; ``python -m tests.fuzz`` tries more."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import Parser, run
from tests.fuzz.parsers import PARSERS
from tests.support.paths import ROOT

#: GDAL warns of what it reads all the same.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

#: Enough to try every kind of damage now and then.
_INPUTS = 40


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_damaged_documents_are_accepted_or_refused(parser: Parser) -> None:
    tally = run(parser, _INPUTS, 1, is_short=True)
    assert tally.accepted + tally.refused == tally.inputs


def test_every_parser_is_in_the_table_of_the_security_page() -> None:
    page = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    assert [one.name for one in PARSERS if f"`{one.name}`" not in page] == []
