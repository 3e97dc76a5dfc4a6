"""Generated pages and drawings are those that the code gives now; ``python -m docs.generate`` writes them anew."""

from __future__ import annotations

from docs.generate import pages
from docs.generate.tracking import drawings
from tests.support.paths import ROOT


def test_the_committed_files_are_current() -> None:
    made = pages.from_code()
    committed = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in made}
    assert [name for name in made if committed[name] != made[name]] == [], "run: python -m docs.generate"


def test_the_drawings_show_what_tracking_says() -> None:
    shown = drawings()
    for name in ("appeared", "grew", "split", "merged", "moved"):
        assert f">{name}<" in shown[name]
    assert shown["cloud"].count(">no change") == 3
    assert ">disappeared, since day 5<" in shown["disappeared"]
    assert ">reappeared<" in shown["disappeared"]
