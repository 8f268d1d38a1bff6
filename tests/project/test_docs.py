"""The documentation runs as it stands, with tiny models and texts under the names that it uses.

In docs/tutorials and docs/how-to, a block marked ``bash`` or ``python`` is runnable: the blocks of a page run in their
order, in one folder. A block marked ``sh`` or ``py`` is only shown. The pages on search and on the service
have tests of their own, beside the tests of what they describe.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main
import yaml

from repository import REPOSITORY
from smoothcse.cli import COMMANDS, app, main
from smoothcse.experiments.adapt.candidates import CANDIDATES
from smoothcse.experiments.study import read_study
from tiny import save_tiny_model, sentences

DOCS = REPOSITORY / "docs"
SKILL = REPOSITORY / "skills" / "smoothcse" / "SKILL.md"
ELSEWHERE = {"search.md", "service.md"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MODELS = ("bert-base-uncased", "my-encoder")
"""Names of models on the pages, each of which is a folder with a tiny model here."""


def blocks(page: Path) -> list[tuple[str, str]]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in {"bash", "python"}]


PAGES = [
    page
    for folder in ("tutorials", "how-to")
    for page in sorted((DOCS / folder).glob("*.md"))
    if page.name not in ELSEWHERE and blocks(page)
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the pages name, where every model is tiny."""
    texts = sentences(160)
    for name in MODELS:
        save_tiny_model(tmp_path / name)
    (tmp_path / "my-sentences.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    pairs = "".join(f"{a},{b},{c}\n" for a, b, c in zip(texts[:40], texts[40:80], texts[80:120], strict=True))
    (tmp_path / "pairs.csv").write_text(f"sentence,positive,hard_negative\n{pairs}", encoding="utf-8")
    (tmp_path / "labels.csv").write_text(f"anchor,positive,negative\n{pairs}", encoding="utf-8")
    rows = [json.dumps({"id": row, "text": text, "year": 2018 + row % 5}) for row, text in enumerate(texts[:20])]
    (tmp_path / "docs.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "queries.txt").write_text("\n".join(texts[120:]) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    return tmp_path


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line that starts with ``smoothcse``, in this process."""
    arguments = shlex.split(line, comments=True)
    assert arguments[0] == "smoothcse", f"only smoothcse's commands are runnable: {line}"
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, workplace, tiny_bert, monkeypatch):
    names: dict[str, object] = {}
    for language, written in blocks(page):
        text = written.replace("packaged-minilm", tiny_bert).replace("train python-docs", "train my-sentences.txt")
        if language == "python":
            exec(compile(text, page.name, "exec"), names)
        else:
            for line in text.replace("\\\n", " ").splitlines():
                run_command(line, monkeypatch)


def test_every_command_that_the_pages_name_exists():
    pages = [*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md"), SKILL]
    for page in pages:
        named = re.findall(r"(?:^|`)smoothcse ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= set(COMMANDS), page


def test_the_skill_gives_agents_commands_that_can_be_called():
    text = SKILL.read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["name"] == SKILL.parent.name
    assert len(front["description"]) <= 1024  # the format's limit
    lines = [line for language, block in BLOCK.findall(text) if language == "sh" for line in block.splitlines()]
    lines += [f"smoothcse {rest}" for rest in re.findall(r"`smoothcse ([a-z]+ [^`]+)`", text)]
    assert {"train", "adapt", "evaluate", "index", "search", "serve"} <= {line.split()[1] for line in lines}
    group = typer.main.get_command(app)
    options = {"--help", "--debug"}
    for line in lines:
        program, name, *arguments = shlex.split(line)
        assert program == "smoothcse"
        command = group.get_command(None, name)
        assert command.make_context(name, arguments).params, line  # parses the arguments, and runs nothing
    for name in COMMANDS:
        options.update(option for one in group.get_command(None, name).params for option in one.opts)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) <= options


def test_the_guide_to_adapt_lists_the_candidates():
    rows = re.findall(
        r"^\| `([\w-]+)` \| (.+) \|$", (DOCS / "how-to" / "adapt.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    listed = {name: about.replace("`", "") for name, about in rows}
    assert listed == {candidate.name: candidate.about for candidate in CANDIDATES}


def test_the_study_of_the_guide_can_be_read_and_all_keys_of_its_tests_are_listed(tmp_path):
    page = (DOCS / "how-to" / "studies.md").read_text(encoding="utf-8")
    [(_, text)] = [block for block in BLOCK.findall(page) if block[0] == "yaml"]
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    study = read_study(file)
    assert study.tests.score == "sts"
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {field.name for field in fields(study.tests)}


@pytest.mark.parametrize("file", sorted((DOCS / "results").rglob("study*.yaml")), ids=lambda f: f.parent.name + f.stem)
def test_the_studies_of_the_results_can_be_read(file):
    assert read_study(file).runs()
