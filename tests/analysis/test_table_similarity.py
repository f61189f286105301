"""Similarity and spectra of tables against plain loops, and by what must leave them alone."""

import numpy as np
import pytest
import torch

from fuxictr_stem.analysis.table_similarity import compare, compare_tables
from fuxictr_stem.errors import ConfigError
from tests.support.plain_models import PlainSTEM
from tests.support.small_models import categorical, feature_map, numeric, sequence, small_model

NAMES = ["a", "b", "shared"]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def loop_cka(x, y):
    """With the Gram matrices of the samples, HSIC as in the paper's equation 3."""
    n = len(x)
    centre = np.eye(n) - 1 / n

    def hsic(k, m):
        return np.trace(k @ centre @ m @ centre)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("scale", [1, 1e-4, 1e-12])
@pytest.mark.parametrize("rows", [3, 40])
def test_a_comparison_equals_plain_loops(rows, scale):
    tables = scale * draw(3, rows, 5)
    tables[1] += 0.7 * tables[0]
    tables[2, 0] = 0  # a vector of zeros points nowhere
    found = compare("f", NAMES, tables)
    assert (found.field, found.tables, found.ids) == ("f", NAMES, rows)
    for i in range(3):
        for j in range(3):
            cosines = [
                x @ y / np.sqrt(x @ x * (y @ y))
                for x, y in zip(tables[i], tables[j], strict=True)
                if x.any() and y.any()
            ]
            assert found.cosine[i, j] == pytest.approx(np.mean(cosines))
            assert found.cka[i, j] == pytest.approx(loop_cka(tables[i] / scale, tables[j] / scale))
        values = np.sqrt(np.maximum(np.linalg.eigvalsh(tables[i] @ tables[i].T / scale**2), 0))
        values = np.sort(values)[::-1][: min(rows, 5)]
        share = values / values.sum()
        np.testing.assert_allclose(found.spectra[i], share, atol=1e-7)
        share = share[share > 1e-9]
        rank = np.exp(-(share * np.log(share)).sum())
        assert found.effective_rank[i] == pytest.approx(rank, rel=1e-5)


def test_cka_but_not_cosine_sees_through_a_rotation():
    table = draw(500, 8)
    rotation = np.linalg.qr(draw(8, 8, seed=1))[0]
    found = compare("f", ["a", "b"], np.stack([table, 3 * table @ rotation]))
    assert found.cka[0, 1] == pytest.approx(1)
    assert abs(found.cosine[0, 1]) < 0.5
    np.testing.assert_allclose(found.spectra[0], found.spectra[1])


def test_independent_tables_are_unlike():
    found = compare("f", ["a", "b"], draw(2, 4000, 8))
    assert abs(found.cosine[0, 1]) < 0.02
    assert found.cka[0, 1] < 0.02
    assert found.cosine[0, 0] == pytest.approx(1)
    assert found.cka[1, 1] == pytest.approx(1)


def test_effective_rank_counts_directions():
    orthogonal = np.linalg.qr(draw(60, 4))[0]
    line = draw(60, 1) @ draw(1, 4, seed=1)
    found = compare("f", ["a", "b"], np.stack([orthogonal, line]))
    np.testing.assert_allclose(found.effective_rank, [4, 1], rtol=1e-6)


def test_tables_of_zeros_have_no_answer():
    found = compare("f", ["a", "b"], np.stack([np.zeros((6, 3)), draw(6, 3)]))
    assert np.isnan([found.cosine[0, 1], found.cka[0, 1], found.spectra[0, 0]]).all()
    assert np.isnan(found.effective_rank[0])
    assert found.cka[1, 1] == pytest.approx(1)


FIELDS = {
    "a": categorical(9),
    "n": numeric(),
    "b": categorical(6),
    "twin": categorical(9, share_embedding="a"),
    "tags": sequence(7, 4),
    "wide": categorical(8, embedding_dim=5),
    "bucket": {"type": "categorical", "source": "", "vocab_size": 4},
    "single": categorical(2),
}


@pytest.mark.parametrize("name", ["STEMNet", "STEMAL", "MEMMoE", "MEPLE"])
def test_a_models_tables_are_its_columns(name):
    """Field by field, without the padding row and the last id, which stands for the rare ones."""
    model = small_model(name, feature_map(FIELDS, labels=2))
    found = {one.field: one for one in compare_tables(model)}
    assert list(found) == ["all of width 3", "a", "b", "tags", "bucket", "wide"]
    # The first table's rows: padding, then a's ids 1..8, b's 1..5, tags' 1..6, bucket's 0..3, single's.
    weight = model.embedding_layer.tables[0].table.weight.detach().numpy()
    rows = {"a": range(1, 8), "b": range(9, 13), "tags": range(14, 19), "bucket": range(20, 24)}
    rows["all of width 3"] = [*rows["a"], *rows["b"], *rows["bucket"]]
    for field, own in rows.items():
        tables = np.stack(np.split(weight[list(own)], 3, axis=1))
        expected = compare(field, ["y0", "y1", "shared"], tables)
        assert (found[field].tables, found[field].ids) == (["y0", "y1", "shared"], len(own))
        for part in ("cosine", "cka", "spectra", "effective_rank"):
            np.testing.assert_allclose(getattr(found[field], part), getattr(expected, part))
    assert found["wide"].spectra.shape == (3, 5)


def test_one_width_is_all():
    found = compare_tables(small_model("STEMNet", feature_map()))
    assert [one.field for one in found] == ["all", "a", "b", "c"]
    assert found[0].ids == 7 + 3 + 2


@pytest.mark.parametrize("name", ["MMoE", "PLE", "SharedBottom"])
def test_one_table_has_spectra(name):
    found = compare_tables(small_model(name, feature_map()))
    assert found[0].tables == ["shared"]
    assert found[0].spectra.shape == (1, 3)
    assert 1 < found[0].effective_rank[0] <= 3
    assert found[0].cka == pytest.approx(1)


def test_a_copied_table_is_alike():
    model = small_model("STEMNet", feature_map())
    with torch.no_grad():
        weight = model.embedding_layer.tables[0].table.weight
        weight[:, 3:6] = weight[:, 6:]
    both = compare_tables(model)[0]
    assert both.cosine[1, 2] == pytest.approx(1)
    assert both.cka[1, 2] == pytest.approx(1)
    assert both.cosine[0, 2] < 0.9


def test_tables_of_other_packages_are_refused():
    sizes = {"num_layers": 1, "num_shared_experts": 1, "num_specific_experts": 1}
    units = dict.fromkeys(["expert_hidden_units", "gate_hidden_units", "tower_hidden_units"], [2])
    with pytest.raises(ConfigError, match="of a PlainSTEM cannot be compared"):
        compare_tables(PlainSTEM(feature_map(), embedding_dim=2, **sizes, **units))
