"""Models and columns for tests of what scores: every model, every type of feature."""

import json

import numpy as np
import torch

from fuxictr_stem.registry import get_model
from tests.support.small_models import SMALL, batch, categorical, numeric, sequence, spread

VOCAB, UNKNOWN = 8, 6  # of the pretrained field: 7 has a vector only


def every_type(folder, frozen=True, usage="init"):
    """Features of every type, fields that share tables, encoders, and pretrained vectors in a folder."""
    keys = [f"w{i}" for i in range(1, VOCAB)]
    vectors = np.random.default_rng(1).normal(size=(len(keys), 4)).astype("float32")
    np.savez(folder / "vectors.npz", key=np.array(keys), value=vectors)
    vocabulary = {"__PAD__": 0, **{key: i for i, key in enumerate(keys, 1)}}
    (folder / "feature_vocab.json").write_text(json.dumps({"p": vocabulary}))
    return {
        "a": categorical(40),
        "n": numeric(),
        "b": categorical(6, embedding_dim=2),
        "c": categorical(5, feature_encoder="nn.Linear(3, 4)", emb_output_dim=4),
        "s": sequence(30, 4),
        "t": sequence(40, 3, share_embedding="a", feature_encoder="layers.MaskedSumPooling()"),
        "u": {"type": "categorical", "source": "", "vocab_size": 5},
        "m": numeric(),
        "o": numeric(embedding_dim=2),
        "e": {"type": "embedding", "source": "", "pretrain_dim": 6},
        "p": categorical(
            VOCAB,
            pretrained_emb="vectors.npz",
            pretrain_dim=4,
            oov_idx=UNKNOWN,
            pretrain_usage=usage,
            freeze_emb=frozen,
        ),
        "q": sequence(VOCAB, 3, share_embedding="p"),
        "g": {"type": "meta"},
        "d": categorical(9),
    }


def columns_of(fmap, rows, seed=0):
    """Columns of a feature map's features, with padding and ids of every kind."""
    columns = batch(fmap, max(rows, 2), seed)
    names = [name for name, spec in fmap.features.items() if spec["type"] != "meta"]
    return {name: columns[name][:rows] for name in names}


def trained(model):
    """Give a model weights far from zero and batch norm the statistics of some training; it scores then."""
    spread(model)
    model.train()
    for seed in range(3):
        model(columns_of(model.feature_map, 32, seed))
    return model.eval()


def model_of(name, fmap, **params):
    return trained(get_model(name)(fmap, **{"embedding_dim": 3, **SMALL[name], **params}))


@torch.no_grad()
def assert_scores(module, model, columns):
    expected, scores = model(columns), module(columns)
    assert list(scores) == list(expected) == module.outputs
    for name, score in scores.items():
        assert score.shape == (len(next(iter(columns.values()))),)
        torch.testing.assert_close(score, expected[name][:, 0], atol=2e-6, rtol=0)
        assert len(score) < 64 or score.std() > 1e-4
