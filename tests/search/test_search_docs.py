"""What the documentation of search shows works as it stands there."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from repository import REPOSITORY
from smoothcse.cli import main
from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

PAGE = (REPOSITORY / "docs" / "how-to" / "search.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    rows = [
        {"text": text, "year": 2018 + row % 5, "source": "ab"[row % 2], "id": row}
        for row, text in enumerate([*sentences(30), "winter light"])
    ]
    for name, part in (("docs", rows[:20]), ("more", rows[15:]), ("gone", rows[:5])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    monkeypatch.chdir(tmp_path)


def test_the_commands(here, tiny_bert, monkeypatch, capsys):
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    counts = []
    for line in lines:
        monkeypatch.setattr("sys.argv", shlex.split(line.replace("packaged-minilm", tiny_bert)))
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert not left.value.code, printed.err
        if line.startswith("smoothcse search"):
            assert "score" in printed.out
        else:
            counts.append(int(re.findall(r"holds (\d+)", printed.out)[0]))
    assert counts == [20, 31, 31, 26]


def test_the_programs(here, tiny_bert, tmp_path):
    names: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(program.replace("packaged-minilm", tiny_bert), names)
    assert len(names["index"]) == 2
    assert names["hits"][0].metadata == {"year": 2020}
