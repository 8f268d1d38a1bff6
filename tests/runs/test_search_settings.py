"""The weight of the cosine similarity travels with the model folder."""

from __future__ import annotations

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.search_settings import (
    SEARCH_SETTINGS,
    find_search_settings,
    read_search_settings,
    write_search_settings,
)


@pytest.mark.parametrize("weight", [0, 0.35, 1])
def test_the_weight_is_read_as_it_was_written(weight, tmp_path):
    assert read_search_settings(tmp_path) is None
    write_search_settings(tmp_path, 0.5)
    write_search_settings(tmp_path, weight)
    assert read_search_settings(tmp_path) == weight
    assert [file.name for file in tmp_path.iterdir()] == [SEARCH_SETTINGS]


def test_a_run_folder_has_the_weight_of_its_best_model(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "run.json").write_text("{}")
    assert find_search_settings(tmp_path) is None
    write_search_settings(tmp_path / "best", 0.6)
    assert find_search_settings(tmp_path) == find_search_settings(tmp_path / "best") == 0.6
    assert find_search_settings("packaged-minilm") is None
    assert find_search_settings("nobody/has-this") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[0.5]", "it is not a JSON object"),
        ("{}", "cosine_weight is missing"),
        ('{"cosine_weight": "0.5"}', "cosine_weight is '0.5', but input should be a valid number"),
        ('{"cosine_weight": true}', "cosine_weight is True, but input should be a valid number"),
        ('{"cosine_weight": 1.5}', "cosine_weight is 1.5, but input should be less than or equal to 1"),
        ('{"cosine_weight": NaN}', "cosine_weight is nan, but input should be"),
        ('{"cosine_weight": 0.5, "k": 60}', "there is no field 'k'"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(text, said, tmp_path):
    (tmp_path / SEARCH_SETTINGS).write_text(text)
    with pytest.raises(SmoothCSEError) as refused:
        read_search_settings(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / SEARCH_SETTINGS} cannot be read as the search settings")
    assert said in str(refused.value)
    with pytest.raises(SmoothCSEError, match="cannot be read"):
        find_search_settings(tmp_path)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_not_written(weight, tmp_path):
    with pytest.raises(SmoothCSEError, match="choose a number from 0"):
        write_search_settings(tmp_path, weight)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SmoothCSEError, match=r"missing.*cannot be written"):
        write_search_settings(tmp_path / "missing", 0.5)
