"""Every FuxiCTR feature type: one table equals FuxiCTR's own embedding, several tables are independent."""

import json

import numpy as np
import pytest
import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.features import TaskEmbedding
from tests.support.small_models import (
    batch,
    categorical,
    feature_map,
    numeric,
    sequence,
    small_model,
    spread,
)

VOCAB, KNOWN, DIM = 8, 6, 4  # ids 1..5 met in training, 6 is out-of-vocabulary, 7 only pretrained


@pytest.fixture
def vectors(tmp_path):
    """A pretrained file of the given width, with its vocabulary, as FuxiCTR's build leaves them."""

    def write(width):
        keys = np.array([f"w{i}" for i in range(1, 8) if i != KNOWN])
        values = np.random.default_rng(1).normal(size=(len(keys), width)).astype("float32")
        np.savez(tmp_path / "pretrained_p.npz", key=keys, value=values)
        vocab = {"__PAD__": 0, **{f"w{i}": i for i in range(1, 8)}}
        vocab.pop(f"w{KNOWN}")
        vocab["__OOV__"] = KNOWN
        (tmp_path / "feature_vocab.json").write_text(json.dumps({"other": vocab, "p": vocab}))
        return {
            "pretrained_emb": "pretrained_p.npz",
            "pretrain_dim": width,
            "oov_idx": KNOWN,
        }

    write.folder = tmp_path
    return write


def _fuxictr(fmap):
    theirs = FeatureEmbeddingDict(fmap, DIM)
    return spread(theirs)


def _assert_one_table_equals(fmap, ours, theirs, columns):
    inputs = {k: v for k, v in columns.items() if k not in fmap.labels}
    expected = theirs(inputs)
    flat = theirs.dict2tensor(expected, flatten_emb=True)
    found = ours(inputs)
    assert found.shape == (1, len(flat), ours.output_dim)
    torch.testing.assert_close(found[0], flat)


def _copy_from_fuxictr(ours, theirs):
    """Put FuxiCTR's weights into a one-table embedding of ours."""
    with torch.no_grad():
        for name, (slot, vocab) in ours.vocab_of.items():
            tables = ours.tables[slot]
            pad = int(tables.padded[vocab])
            tables.table.weight[tables.rows(vocab)] = theirs.embedding_layers[name].weight[pad:]
        for names, part in zip(ours.layout.numeric, ours.numeric, strict=True):
            for name, row in zip(names, part.weight, strict=True):
                row.copy_(theirs.embedding_layers[name].weight[:, 0])
        for name, index in ours.encoder_of.items():
            encoder = theirs.feature_encoders[name]
            linears = [m for m in encoder.modules() if isinstance(m, torch.nn.Linear)]
            for mine, other in zip(ours.encoders[index].linears, linears, strict=True):
                mine.weight[0] = other.weight
                if other.bias is not None:
                    mine.bias[0] = other.bias


@pytest.mark.parametrize(
    "features",
    [
        {"a": categorical(9), "b": categorical(5)},
        {"a": categorical(9, embedding_dim=2), "b": categorical(5), "n": numeric(embedding_dim=7)},
        {"n": numeric(), "a": categorical(3), "m": numeric()},
        {"s": sequence(9, 4), "t": sequence(5, 2, feature_encoder="layers.MaskedSumPooling()")},
        {"a": categorical(9), "s": sequence(9, 4, share_embedding="a"), "z": categorical(3)},
        {"s": sequence(9, 4), "a": categorical(9, share_embedding="s"), "b": categorical(9)},
        {"a": categorical(6, feature_encoder="nn.Linear(4, 3)", emb_output_dim=3)},
        {
            "s": sequence(
                6, 3, feature_encoder=["layers.MaskedAveragePooling()", "nn.Linear(4, 5)"]
            ),
            "a": categorical(4),
        },
        {"e": {"type": "embedding", "source": "", "pretrain_dim": 6}, "a": categorical(4)},
        {
            "e": {
                "type": "embedding",
                "source": "",
                "pretrain_dim": 6,
                "feature_encoder": "nn.Linear(6, 4, bias=False)",
            }
        },
        {"items": categorical(4), "type": numeric(), "forward": sequence(4, 2)},
        {"u": {"type": "categorical", "source": "", "vocab_size": 5}, "a": categorical(4)},
        {"g": {"type": "meta"}, "a": categorical(4)},
    ],
)
def test_one_table_equals_fuxictr(features):
    fmap = feature_map(features)
    if "items" in features:  # FuxiCTR cannot hold features of these names; rename them for its side
        renamed = feature_map({f"x_{k}": v for k, v in features.items()})
        theirs = _fuxictr(renamed)
        ours = TaskEmbedding(renamed, DIM, 1)
        _copy_from_fuxictr(ours, theirs)
        columns = batch(renamed)
        _assert_one_table_equals(renamed, ours, theirs, columns)
        named = TaskEmbedding(fmap, DIM, 1)
        named.load_state_dict(ours.state_dict())
        inputs = {k.removeprefix("x_"): v for k, v in columns.items()}
        assert torch.equal(named(inputs), ours(columns))
        return
    theirs = _fuxictr(fmap)
    ours = TaskEmbedding(fmap, DIM, 1)
    _copy_from_fuxictr(ours, theirs)
    columns = batch(fmap)
    if "u" in features:
        columns["u"][0] = 0  # without padding_idx, id 0 is an id like any other
    _assert_one_table_equals(fmap, ours, theirs, columns)


@pytest.mark.parametrize("usage", ["init", "sum", "concat"])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("width", [DIM, 6])
@pytest.mark.parametrize("kind", ["categorical", "sequence"])
def test_pretrained_equals_fuxictr(vectors, usage, frozen, width, kind):
    spec = categorical(VOCAB) if kind == "categorical" else sequence(VOCAB, 3)
    spec |= {**vectors(width), "pretrain_usage": usage, "freeze_emb": frozen}
    fmap = feature_map({"p": spec, "a": categorical(4)}, data_dir=vectors.folder)
    theirs = FeatureEmbeddingDict(fmap, DIM)
    module = theirs.embedding_layers["p"]
    ours = TaskEmbedding(fmap, DIM, 1)
    mine = ours.pretrained[0]
    with torch.no_grad():
        module.pretrain_embedding.weight[0] = 0  # FuxiCTR leaves noise there
        if not frozen:
            mine.learnt.weight.copy_(module.pretrain_embedding.weight)
        if usage != "init":
            module.id_embedding.weight.normal_()[0] = 0
            mine.ids.weight.copy_(module.id_embedding.weight)
        if module.proj is not None:
            mine.projection.weight[0] = module.proj.weight
        _copy_from_fuxictr(ours, theirs)
    _assert_one_table_equals(fmap, ours, theirs, batch(fmap, size=64))


@pytest.mark.parametrize("width", [DIM, 6])
def test_frozen_vectors_are_stored_once_and_projected_a_table(vectors, width):
    spec = categorical(VOCAB, **vectors(width), pretrain_usage="init", freeze_emb=True)
    fmap = feature_map({"p": spec}, data_dir=vectors.folder)
    embedding = TaskEmbedding(fmap, DIM, 3)
    tables = embedding.pretrained[0]
    assert tables.vectors.shape == (VOCAB, width)
    assert tables.projection.weight.shape == (3, DIM, width)
    assert {name for name, _ in embedding.named_parameters()} == {"pretrained.0.projection.weight"}
    found = embedding({"p": torch.arange(VOCAB)})
    if width == DIM:
        assert torch.equal(found, tables.vectors.expand(3, -1, -1))
    else:
        assert not torch.equal(found[0], found[1])


def test_learnt_vectors_start_equal_and_learn_apart(vectors):
    spec = categorical(VOCAB, **vectors(DIM), pretrain_usage="init", freeze_emb=False)
    fmap = feature_map({"p": spec}, data_dir=vectors.folder)
    embedding = TaskEmbedding(fmap, DIM, 3)
    ids = torch.tensor([1, 2, 5])
    found = embedding({"p": ids})
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert found.abs().min() > 0
    found[1].sum().backward()
    parts = embedding.pretrained[0].learnt.weight.grad.chunk(3, dim=1)
    assert torch.equal(parts[1][ids], torch.ones(3, DIM))
    assert not parts[0].any()
    assert not parts[2].any()


def test_a_stem_net_trains_on_every_feature_type_at_once(vectors):
    spec = categorical(VOCAB, **vectors(6), pretrain_usage="sum", freeze_emb=False)
    fmap = feature_map(
        {
            "g": {"type": "meta"},
            "p": spec,
            "s": sequence(VOCAB, 3, share_embedding="p"),
            "a": categorical(5, embedding_dim=2),
            "n": numeric(),
            "e": {"type": "embedding", "source": "", "pretrain_dim": 6},
        },
        data_dir=vectors.folder,
    )
    model = small_model("STEMNet", fmap)
    columns = batch(fmap, size=64)
    before = model.add_loss(model(columns), model.get_labels(columns)).item()
    model.zero_grad()
    model.add_loss(model(columns), model.get_labels(columns)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    for _ in range(30):
        model.train_step(columns)
    assert model.add_loss(model(columns), model.get_labels(columns)).item() < before


def test_a_pretrained_field_may_be_the_only_one(vectors):
    """FuxiCTR looks at a second vocabulary to learn the type of the first one's keys."""
    spec = categorical(VOCAB, **vectors(DIM), pretrain_usage="init", freeze_emb=True)
    vocab = json.loads((vectors.folder / "feature_vocab.json").read_text())
    (vectors.folder / "feature_vocab.json").write_text(json.dumps({"p": vocab["p"]}))
    TaskEmbedding(feature_map({"p": spec}, data_dir=vectors.folder), DIM, 2)


def test_vectors_of_another_length_are_named(vectors):
    spec = categorical(VOCAB, **vectors(DIM), pretrain_usage="init", freeze_emb=True)
    spec["pretrain_dim"] = 9
    with pytest.raises(ConfigError, match="pretrain_dim of 'p' is 9.* length 4"):
        TaskEmbedding(feature_map({"p": spec}, data_dir=vectors.folder), DIM, 2)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"s": sequence(4, 2, feature_encoder=None)},
            "'s' .sequence. must hold exactly one pooling",
        ),
        ({"a": categorical(4, feature_encoder="layers.MaskedSumPooling()")}, "no pooling"),
        ({"a": categorical(4, feature_encoder="nn.Linear(9, 3)")}, "input of width 4"),
        ({"a": categorical(4, feature_encoder="nn.Linear(4, 3)", emb_output_dim=5)}, "gives 3"),
        ({"a": categorical(4, feature_encoder="exit()")}, "is not known"),
        ({"g": {"type": "meta"}}, "no feature left"),
    ],
)
def test_fields_that_cannot_be_embedded_are_named(features, message):
    with pytest.raises(ConfigError, match=message):
        TaskEmbedding(feature_map(features), DIM, 2)
