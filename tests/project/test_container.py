"""The image installs existing extras, runs an existing command, and is no root; ``make container`` does its steps."""

from __future__ import annotations

import shlex
import subprocess
import tomllib

import pytest
import typer.main
import yaml

from image import command, default_of, health_check, instructions, only
from repository import REPOSITORY
from smoothcse.cli import app

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"]["smoothcse"]


def options_of(arguments):
    name, *rest = arguments
    return typer.main.get_command(app).get_command(None, name).make_context(name, rest).params


def test_the_image_installs_by_the_script_that_is_tested():
    runs = [rest for name, rest in instructions() if name == "RUN"]
    assert 'sh container/install python /wheels/*.whl "$EXTRAS" "$TORCH_INDEX"' in runs
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(default_of("EXTRAS").split(",")) <= set(extras)
    assert default_of("TORCH_INDEX").endswith("/cpu")


@pytest.mark.parametrize(("index", "installs"), [("https://example.org/cpu", 2), ("", 1)])
def test_the_index_of_torch_is_asked_first(tmp_path, index, installs):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    script = ["sh", "container/install", python, "a.whl", "serve", index]
    lines = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == installs
    assert lines[-1].endswith("-c constraints.txt a.whl[serve]")
    assert installs == 1 or lines[0].endswith(f"--no-deps --index-url {index} -c constraints.txt torch")


def test_copied_files_exist_and_reach_the_build():
    sent = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    for source in (source for sources in copies for source in sources):
        assert (REPOSITORY / source).exists()
        assert source.split("/")[0] in sent


def test_the_container_serves_an_index_on_its_volume_without_being_root():
    program, *arguments = command()
    assert program == "smoothcse"
    served = options_of(arguments)
    assert served["host"] == "0.0.0.0"
    assert str(served["port"]) == only("EXPOSE")
    assert [str(index) for index in served["index"]] == ["docs.index"]  # relative to the volume
    assert only("WORKDIR") == only("VOLUME") == "/data"
    assert only("USER") == "smoothcse"
    assert "http://127.0.0.1:8000/health'" in health_check()[-1]
    compile(health_check()[-1], "HEALTHCHECK", "exec")


def test_the_compose_file_runs_the_same_command_with_a_token_and_a_volume():
    arguments = [part.replace("${SMOOTHCSE_MODEL:-packaged-minilm}", "packaged-minilm") for part in COMPOSE["command"]]
    assert arguments == command()[1:]
    assert COMPOSE["environment"]["SMOOTHCSE_TOKEN"].startswith("${SMOOTHCSE_TOKEN:?")
    assert COMPOSE["volumes"] == [f"data:{only('VOLUME')}"]
    assert COMPOSE["ports"] == ["127.0.0.1:8000:8000"]
    assert default_of("TORCH_INDEX") in COMPOSE["build"]["args"]["TORCH_INDEX"]


def test_the_commands_in_its_comments_can_be_called():
    [line] = [line for line in (REPOSITORY / "compose.yaml").read_text().splitlines() if " index " in line][:1]
    assert options_of(shlex.split(line.partition("smoothcse ")[2]))["documents"] == "/docs"
