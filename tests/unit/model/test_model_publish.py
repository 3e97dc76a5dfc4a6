"""A published folder is the model that was given, with a card that says what is known of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import model_version
from segwatch.model.predictor import Predictor

FACTS = """
licence = "CC-BY-4.0"
summary = "Marks lakes."
limits = ["It knows nothing but lakes."]

[[data]]
name = "Lakes of the north"
licence = "CC0-1.0"
attribution = "Survey of the North, 2024."
places = "Inari and Saimaa; held out by lake."

[[figures]]
what = "Lakes, 10 m: cIoU"
value = 0.81
low = 0.76
high = 0.85
held_out = true
"""


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    file = tmp_path / "facts.toml"
    file.write_text(FACTS)
    return file


def test_a_published_folder_predicts_as_its_source(facts: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "results.md", tmp_path / "published"
    table.write_text("# lasers, test\n\n| group | gIoU |\n")
    source = model_version.SHIPPED_MODEL
    command = [
        "model",
        "publish",
        str(source),
        str(out),
        "--card",
        str(facts),
        "--evaluation",
        str(table),
        "--json",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert sorted(path.name for path in out.iterdir()) == report["files"]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ours, theirs = (Predictor.load(folder, "cpu") for folder in (out, source))
    assert ours.version == theirs.version == report["version"], "the same series goes on"
    for one, other in zip(
        *(each.segment([image], ["segment the water"])[0] for each in (ours, theirs)), strict=True
    ):
        assert one.text == other.text
        assert np.array_equal(one.mask_logits, other.mask_logits)
    card = (out / "README.md").read_text()
    assert card.startswith('---\nlicense: "CC-BY-4.0"\n')
    for known in (
        "It knows nothing but lakes.",
        "| Lakes, 10 m: cIoU | 0.81 | 0.76 to 0.85 | held out |",
        "**Lakes of the north** (CC0-1.0): Survey of the North, 2024. Places: Inari and Saimaa; held out by lake.",
        "### lasers, test",
        report["version"],
    ):
        assert known in card
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "exists and is left unchanged" in " ".join(again.stderr.split())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (FACTS.replace('licence = "CC-BY-4.0"\n', ""), "licence: field required"),
        (FACTS.replace("CC-BY-4.0", " "), "licence: string should have at least 1 character"),
        (FACTS.replace('licence = "CC0-1.0"\n', ""), "data.0.licence: field required"),
        (FACTS.replace('limits = ["It knows nothing but lakes."]', "limits = []"), "limits: "),
        (FACTS.replace("held_out = true", ""), "figures.0.held_out: field required"),
        ("licence = ", "not a readable TOML file"),
    ],
)
def test_a_model_without_licence_or_facts_is_refused(
    facts: Path, tmp_path: Path, given: str, told: str
) -> None:
    facts.write_text(given)
    out = tmp_path / "published"
    done = CliRunner().invoke(
        app, ["model", "publish", str(model_version.SHIPPED_MODEL), str(out), "--card", str(facts)]
    )
    assert done.exit_code == 1
    assert told in " ".join(done.stderr.split())
    assert not out.exists()


def test_a_model_that_does_not_fit_its_tokenizer_is_refused(facts: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "published"
    source.mkdir()
    for file in model_version.SHIPPED_MODEL.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    settings = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**settings, "eos_token_id": 2}))
    command = ["model", "publish", str(source), str(out), "--card", str(facts)]
    done = CliRunner().invoke(app, command)
    assert (
        "eos_token_id is 2, and the tokenizer's <|endoftext|> is 1022; run segwatch model convert"
        in " ".join(done.stderr.split())
    )
    (source / "config.json").write_text(json.dumps(settings))
    (source / "model.safetensors").write_bytes(b"damaged")
    assert CliRunner().invoke(app, command).exit_code == 1
    assert not out.exists()
    assert not out.with_name("published.partial").exists()
