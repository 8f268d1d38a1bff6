"""The search settings of a model travel with its folder."""

from __future__ import annotations

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.search_settings import (
    SEARCH_SETTINGS,
    SearchSettings,
    find_search_settings,
    read_search_settings,
    write_search_settings,
)


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(cosine_weight=0),
        SearchSettings(cosine_weight=0.35, rerank="maxsim"),
        SearchSettings(cosine_weight=1, rerank="none"),
    ],
)
def test_settings_are_read_as_they_were_written(settings, tmp_path):
    assert read_search_settings(tmp_path) is None
    write_search_settings(tmp_path, SearchSettings(cosine_weight=0.5))
    write_search_settings(tmp_path, settings)
    assert read_search_settings(tmp_path) == settings
    assert [file.name for file in tmp_path.iterdir()] == [SEARCH_SETTINGS]


def test_a_run_folder_has_the_settings_of_its_best_model(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "run.json").write_text("{}")
    assert find_search_settings(tmp_path) is None
    write_search_settings(tmp_path / "best", SearchSettings(cosine_weight=0.6))
    assert (
        find_search_settings(tmp_path) == find_search_settings(tmp_path / "best") == SearchSettings(cosine_weight=0.6)
    )
    assert find_search_settings("packaged-minilm") is None
    assert find_search_settings("nobody/has-this") is None


def test_a_file_of_an_earlier_version_reranks_nothing(tmp_path):
    (tmp_path / SEARCH_SETTINGS).write_text('{"cosine_weight": 0.6}')
    assert read_search_settings(tmp_path) == SearchSettings(cosine_weight=0.6, rerank="none")


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
        ('{"cosine_weight": 0.5, "rerank": "colbert"}', "rerank is 'colbert', but input should be 'maxsim' or 'none'"),
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
def test_a_weight_outside_0_to_1_is_no_setting(weight):
    with pytest.raises(SmoothCSEError, match=rf"cosine_weight is {weight}, but input should be"):
        SearchSettings(cosine_weight=weight)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SmoothCSEError, match=r"missing.*cannot be written"):
        write_search_settings(tmp_path / "missing", SearchSettings(cosine_weight=0.5))
