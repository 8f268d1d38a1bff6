"""What is missing is named, with the command that installs it as the README does."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from repository import REPOSITORY
from smoothcse._utils.extras import MissingExtraError, extra, require
from smoothcse.cli import main
from smoothcse.errors import SmoothCSEError

PIP = r'pip install -c constraints.txt "\.\[{}\]"'


def test_one_sentence_for_every_missing_package(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):  # another test may have imported them
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="Pictures: the package matplotlib is not.*" + PIP.format("plots")):
        require("matplotlib.pyplot", "plots", "Pictures")


def test_a_fault_of_ours_is_not_called_a_missing_package():
    with pytest.raises(ImportError, match="nothing") as error, extra("serve", "The service"):
        from smoothcse.service import nothing  # noqa: F401
    assert not isinstance(error.value, SmoothCSEError)


def test_every_extra_that_is_named_exists_and_every_hint_installs_as_the_readme_does():
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = [*REPOSITORY.glob("src/**/*.py"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "README.md"]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "pip install 'smoothcse" not in text, file
        named = re.findall(r'\bextra\("(\w+)"', text) + re.findall(r'"\.\[(\w+)\]"', text)
        assert set(named) <= set(declared), (file, named)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "fastapi_offline", "prometheus_client"])
def test_serve_without_its_extra_says_how_to_install_it(package, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("smoothcse.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["smoothcse", "serve", "no-model-is-read", "--port", "0"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    assert re.search(f"The service: the package {package} is not installed.*" + PIP.format("serve"), said)
