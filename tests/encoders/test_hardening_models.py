"""Malicious model folders: each is refused with one sentence, and its code never runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from transformers import AutoTokenizer

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.safety import require_safe_folder
from smoothcse.errors import SmoothCSEError


class Evil:
    """Creates a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def good(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harmless model with a Dense module, from which malicious ones are made."""
    folder = tmp_path_factory.mktemp("good") / "model"
    model = build_encoder(tiny_bert, "mean", projection=False, device="cpu")
    SentenceTransformer(modules=[*model, Dense(32, 16), Normalize()], device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def model(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(settings | values), encoding="utf-8")


def change_module(model: Path, number: int, **values: Any) -> None:
    modules = json.loads((model / "modules.json").read_text(encoding="utf-8"))
    modules[number] |= values
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")


def refused(model: Path) -> str:
    """Return the message of a refusal, which is the same in training and inference."""
    with pytest.raises(SmoothCSEError) as first:
        load_encoder(model, device="cpu")
    with pytest.raises(SmoothCSEError) as second:
        build_encoder(model, device="cpu")
    assert str(first.value) == str(second.value)
    assert "\n" not in str(first.value)
    return str(first.value)


def test_a_harmless_model_is_loaded(model):
    assert load_encoder(model, device="cpu").encode("a cat sat").shape == (16,)


def test_the_packaged_model_is_harmless(minilm):
    require_safe_folder(Path(minilm))


# ---- pickles --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [".", "2_Dense"])
def test_pickled_weights_are_refused_and_not_read(model, tmp_path, where):
    (model / where / "model.safetensors").unlink()
    torch.save({"weight": Evil(tmp_path / "ran")}, model / where / "pytorch_model.bin")
    assert "pytorch_model.bin contains pickled weights" in refused(model)
    assert not (tmp_path / "ran").exists()


def test_the_malicious_pickle_runs_when_it_is_read(tmp_path):
    torch.save({"weight": Evil(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").is_dir()


def test_settings_cannot_ask_for_the_pickle_beside_safe_weights(model, tmp_path):
    torch.save({"weight": Evil(tmp_path / "ran")}, model / "pytorch_model.bin")
    change(model / "sentence_bert_config.json", model_args={"weights_only": False, "use_safetensors": False})
    assert "model_args.weights_only" in refused(model)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_safe_weights_is_ignored(model, tmp_path):
    torch.save({"weight": Evil(tmp_path / "ran")}, model / "pytorch_model.bin")
    load_encoder(model, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_decoy_weights_do_not_allow_a_pickle(model, tmp_path):
    (model / "2_Dense" / "model.safetensors").rename(model / "2_Dense" / "decoy.safetensors")
    torch.save({"weight": Evil(tmp_path / "ran")}, model / "2_Dense" / "pytorch_model.bin")
    assert "pickled weights" in refused(model)


def test_a_plain_pickle_is_refused_whatever_its_protocol(model, tmp_path):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "ran"), protocol=0))
    assert "pickled weights" in refused(model)
    assert not (tmp_path / "ran").exists()


# ---- code -----------------------------------------------------------------------------------------------


def write_code(folder: Path, trace: Path, name: str = "modeling_evil.py") -> None:
    (folder / name).write_text(f"import os\nos.mkdir({str(trace)!r})\nclass EvilModel: pass\n", encoding="utf-8")


def test_code_in_the_folder_is_refused_and_not_run(model, tmp_path):
    write_code(model, tmp_path / "ran")
    change(model / "config.json", auto_map={"AutoModel": "modeling_evil.EvilModel"})
    assert "contains code, modeling_evil.py" in refused(model)
    assert not (tmp_path / "ran").exists()


def test_an_architecture_unknown_to_transformers_is_refused(model):
    auto_map = {"AutoConfig": "owner/name--configuration_evil.EvilConfig", "AutoModel": "owner/name--evil.EvilModel"}
    change(model / "config.json", model_type="evil", auto_map=auto_map)
    assert "has the architecture 'evil'" in refused(model)


def test_remote_code_is_ignored_for_a_known_architecture(model):
    change(model / "config.json", auto_map={"AutoModel": "owner/name--evil.EvilModel"})
    assert load_encoder(model, device="cpu")[0].model.__class__.__name__ == "BertModel"


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "modeling_evil.EvilModel",
        "smoothcse.encoders.load.load_encoder",
        "sentence_transformers.util.misc.importlib",
        "sentence_transformers.base.model.torch",
        "sentence_transformers.base.modules.Router",
        "sentence_transformers.util.http_get",
        "sentence_transformersevil.Transformer",
    ],
)
def test_a_module_of_a_foreign_class_is_refused(model, tmp_path, kind):
    change_module(model, 1, type=kind)
    assert f"asks for the class '{kind}'" in refused(model)


@pytest.mark.parametrize("activation", ["os.system", "modeling_evil.Act", "torch.hub.load", "torch.utils.x.Tanh", 3])
def test_a_foreign_activation_is_refused(model, activation):
    change(model / "2_Dense" / "config.json", activation_function=activation)
    assert f"asks for the activation {activation!r}" in refused(model)


@pytest.mark.parametrize("activation", ["torch.nn.GELU", "torch.nn.modules.linear.Identity"])
def test_activations_of_torch_are_loaded(model, activation):
    change(model / "2_Dense" / "config.json", activation_function=activation)
    assert type(load_encoder(model, device="cpu")[2].activation_function).__name__ == activation.split(".")[-1]


@pytest.mark.parametrize("place", ["config", "module"])
def test_a_kernel_from_the_hub_is_refused(model, place):
    if place == "config":
        change(model / "config.json", attn_implementation="owner/kernel")
    else:
        change(model / "sentence_bert_config.json", model_args={"attn_implementation": "owner/kernel"})
    assert "owner/kernel" in refused(model)


def test_an_adapter_of_a_model_elsewhere_is_refused(model):
    adapter = {"base_model_name_or_path": "owner/evil", "peft_type": "LORA"}
    (model / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    assert "adapter" in refused(model)


# ---- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../other", "1_Pooling/../../other", "/etc", "..\\other", "C:\\other"])
def test_a_module_path_outside_of_the_folder_is_refused(model, path):
    change_module(model, 1, path=path)
    assert "outside of the model" in refused(model)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "1_Pooling"])
def test_a_link_out_of_the_folder_is_refused(model, tmp_path, name):
    outside = tmp_path / "outside"
    (model / name).rename(outside)
    (model / name).symlink_to(outside)
    assert f"{name} is a link to a file outside" in refused(model)


def test_a_link_to_itself_is_refused(model):
    (model / "loop.txt").symlink_to("loop.txt")
    assert "link" in refused(model)


def hub_layout(model: Path, tmp_path: Path) -> Path:
    """Arrange a model like the hub's cache."""
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    shutil.copytree(model, snapshot)
    blobs.mkdir()
    (snapshot / "model.safetensors").rename(blobs / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    return snapshot


def test_links_within_the_hubs_cache_are_followed(model, tmp_path):
    load_encoder(hub_layout(model, tmp_path), device="cpu")


def test_a_fake_hub_cache_does_not_allow_links_outside(model, tmp_path):
    snapshot = hub_layout(model, tmp_path)
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert "outside of the model" in refused(snapshot)


# ---- damaged and inconsistent files ----------------------------------------------------------------

DESCRIPTIONS = ["config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json"]
DAMAGES: dict[str, bytes] = {
    "empty": b"",
    "deep": b"[" * 100_000,
    "number": b"7",
    "null list": b"[null]",
    "nameless": b"[{}]",
    "not utf-8": b"\xff\xfe\x00",
    "huge number": b'{"hidden_size": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_damaged_json_file_is_reported_with_its_name(model, name, damage):
    (model / name).write_bytes(DAMAGES[damage])
    assert name in refused(model)


@pytest.mark.parametrize(
    "lie",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**9},
        {"vocab_size": 10**12},
        {"intermediate_size": 10**12},
        {"max_position_embeddings": 10**12},
    ],
)
def test_oversized_settings_are_refused_before_memory_is_allocated(model, lie):
    change(model / "config.json", **lie)
    assert "larger model than its weights" in refused(model)


def test_an_oversized_json_file_is_refused(model):
    (model / "config.json").write_text('{"a": "' + "x" * (17 << 20) + '"}', encoding="utf-8")
    assert "larger than 16 MB" in refused(model)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def lying_header(data: bytes) -> bytes:
    return (2**60).to_bytes(8, "little") + data[8:]


def deep_header(data: bytes) -> bytes:
    header = b"[" * 100_000
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize("damage", [cut, lying_header, deep_header, lambda data: b"", lambda data: data[:4]])
@pytest.mark.parametrize("where", [".", "2_Dense"])
def test_damaged_weights_are_refused(model, damage: Callable[[bytes], bytes], where):
    file = model / where / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    told = refused(model)
    assert "cannot be loaded" in told or "larger model than its weights" in told


def test_a_damaged_tokenizer_is_refused(model):
    (model / "tokenizer.json").write_bytes(b'{"version": "1.0", "model": {"type": "WordPiece"')
    assert "cannot be loaded" in refused(model)


def test_weights_of_another_model_are_refused(model):
    change(model / "config.json", hidden_size=64)
    assert "other shapes than its config.json says" in refused(model)


def test_a_folder_without_a_tokenizer_is_refused(model):
    for file in [*model.glob("*token*"), *model.glob("vocab*")]:
        file.unlink()
    assert "has no vocabulary" in refused(model)


def test_a_tokenizer_of_another_model_is_refused(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([f"word{number}" for number in range(100)])
    tokenizer.save_pretrained(model)
    assert "do not belong together" in refused(model)
