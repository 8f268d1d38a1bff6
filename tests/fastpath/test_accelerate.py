"""A step is fast inside the context and the host's own outside; a model that was inside carries nothing of it."""

from __future__ import annotations

import copy

import pytest
import torch
from sentence_transformers import SentenceTransformer

from gradients import assert_the_same, view_and_gradients, without_dropout
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import strip_projection
from smoothcse.fastpath import PARTS, accelerate, hosts
from smoothcse.fastpath.batch import Batch, fast_path_of
from smoothcse.fastpath.dropout import is_fast
from smoothcse.methods import GSInfoNCELoss
from smoothcse.methods.state import MomentumEncoder
from smoothcse.views.embed import dropout_views
from tiny import ARCHITECTURES, save_tiny_model, sentences


def attributes(model):
    """Return what stands on each module itself: a replaced forward, a state, a hook."""
    return [sorted(vars(module)) for module in model.modules()]


def patched(model):
    return [module for module in model.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_views_and_gradients_are_those_of_the_plain_path(architecture, pooling, tmp_path):
    model = build_encoder(save_tiny_model(tmp_path, architecture), pooling, dropout=0.1, device="cpu").double()
    plain, texts = copy.deepcopy(model), sentences(40)
    expected = view_and_gradients(without_dropout(plain), texts)
    with accelerate(model):
        found = view_and_gradients(without_dropout(model), texts)
    assert_the_same(found, expected)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_gives_the_loss_of_the_plain_path(part, tiny_bert):
    model = without_dropout(build_encoder(tiny_bert, "cls", device="cpu").double())
    loss, features = GSInfoNCELoss(model, noise_count=8), model.preprocess(sentences(9))
    expected = loss.loss_at(1, [dict(features)])
    with accelerate(model, parts=[part]):
        torch.testing.assert_close(loss.loss_at(1, [dict(features)]), expected, rtol=1e-10, atol=0)


def test_the_model_is_what_it_was_also_after_an_error(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu").train()
    before = attributes(model)
    with accelerate(model) as warnings:
        assert warnings == []
        assert len(patched(model)) > 5
        assert any(is_fast(module) for module in model.modules())
    assert attributes(model) == before
    with pytest.raises(ZeroDivisionError), accelerate(model):
        raise ZeroDivisionError
    assert attributes(model) == before


def test_a_second_context_changes_nothing_and_ends_nothing(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    with accelerate(model):
        inside = attributes(model)
        with accelerate(model) as warnings:
            assert warnings == []
            assert attributes(model) == inside
        assert attributes(model) == inside


def test_no_part_is_the_plain_path(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    with accelerate(model, parts=()):
        assert not patched(model)
        assert fast_path_of(model) is None


def test_a_forward_that_someone_else_has_replaced_stays(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    layer = model[0].model.encoder.layer[-1]
    layer.forward = own = layer.forward
    with accelerate(model):
        assert vars(layer)["forward"] is own
    assert vars(layer)["forward"] is own


def test_dropout_views_after_the_context_are_those_of_a_model_that_was_never_inside(tiny_bert):
    model, texts = build_encoder(tiny_bert, "cls", device="cpu", dropout=0.2), sentences(9)
    never = copy.deepcopy(model)
    with accelerate(model):
        inside = dropout_views(model, texts)
    after = dropout_views(model, texts)
    assert not torch.equal(inside[0], inside[1])
    assert all(torch.equal(view, other) for view, other in zip(after, dropout_views(never, texts), strict=True))


def test_a_model_saved_inside_is_the_same_to_the_byte(tiny_bert, tmp_path):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    strip_projection(model).save_pretrained(str(tmp_path / "outside"), create_model_card=False)
    with accelerate(model):
        strip_projection(model).save_pretrained(str(tmp_path / "inside"), create_model_card=False)
        assert (model.encode(sentences(3)) == SentenceTransformer(str(tmp_path / "inside")).encode(sentences(3))).all()
    for file in (tmp_path / "outside").rglob("*"):
        if file.is_file():
            assert (tmp_path / "inside" / file.relative_to(tmp_path / "outside")).read_bytes() == file.read_bytes()


def test_a_copy_made_inside_is_fast_by_a_state_of_its_own(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    with accelerate(model):
        slow = MomentumEncoder(model, 0.9)
        state = fast_path_of(slow)
        assert state is not None
        assert state is not fast_path_of(model)
        layer = slow.encoder[0].model.encoder.layer[-1]
        assert layer.forward.args[:2] == (layer, state)
        fast_path_of(model).batch = Batch(torch.ones(1, 1))
        assert state.batch is None
        fast_path_of(model).batch = None
        features = model.preprocess(sentences(6))
        expected = model.eval()(dict(features))["sentence_embedding"].detach()
        torch.testing.assert_close(slow(features), expected)


@pytest.mark.parametrize("library", hosts.TESTED)
def test_with_an_untested_version_everything_is_plain_and_says_so_once(library, tiny_bert, monkeypatch):
    monkeypatch.setitem(hosts.TESTED, library, "<1")
    model = build_encoder(tiny_bert, "cls", device="cpu")
    with accelerate(model) as [warning]:
        assert not patched(model)
        assert fast_path_of(model) is None
    assert warning.startswith(f"The fast path was tested with {library} <1, not with ")


@pytest.mark.parametrize(("library", "version"), [("torch", "2.13.1+cpu"), ("transformers", "5.23.0")])
def test_a_build_or_a_patch_release_of_a_tested_version_is_tested(library, version, monkeypatch):
    monkeypatch.setattr(hosts.metadata, "version", lambda name: version if name == library else installed[name])
    assert list(hosts.untested_hosts()) == []


installed = {name: hosts.metadata.version(name) for name in hosts.TESTED}


@pytest.mark.parametrize("version", ["2.14.0", "2.14.0a0+git1", "3.0", "2.7.1"])
def test_an_unknown_release_is_untested(version, monkeypatch):
    monkeypatch.setattr(hosts.metadata, "version", lambda name: version if name == "torch" else installed[name])
    assert len(list(hosts.untested_hosts())) == 1


@pytest.mark.parametrize("architecture", ["mpnet", "modernbert", "distilbert"])
def test_of_an_unknown_family_the_warning_says_what_stays_plain(architecture, tmp_path):
    model = build_encoder(save_tiny_model(tmp_path, architecture), "cls", dropout=0.1, device="cpu")
    with accelerate(model) as [warning]:
        assert f"does not know models of type {architecture}" in warning
        assert fast_path_of(model).length_groups
