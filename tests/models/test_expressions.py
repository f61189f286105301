"""What FuxiCTR evaluates and we only read: the same results, and nothing else is understood."""

import pytest
import torch
from fuxictr.pytorch.torch_utils import get_initializer

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.expressions import (
    LinearEncoder,
    PoolingEncoder,
    parse_encoder,
    parse_initializer,
)


@pytest.mark.parametrize(
    "text",
    [
        "partial(nn.init.normal_, std=1e-4)",
        "partial(nn.init.normal_, mean=-1, std=2)",
        "partial(torch.nn.init.uniform_, a=-0.5, b=+0.25)",
        "partial(nn.init.trunc_normal_, std=0.5, a=-1, b=1)",
        "nn.init.xavier_normal_",
        "partial(nn.init.xavier_uniform_, gain=3)",
        "nn.init.kaiming_normal_",
        " nn.init.kaiming_uniform_ ",
        "nn.init.zeros_",
    ],
)
def test_an_initializer_draws_what_fuxictrs_draws(text):
    drawn = []
    for initializer in (parse_initializer(text), get_initializer(text.strip())):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        parse_initializer(text)
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(initializer(torch.ones(6, 4)))
    assert torch.equal(*drawn)


def test_encoders_are_their_steps():
    average, total = PoolingEncoder(average=True), PoolingEncoder(average=False)
    linear = LinearEncoder(4, 3, bias=False)
    for value, steps in {
        None: [],
        "none": [],
        "layers.MaskedAveragePooling()": [average],
        "nn.Linear(4, 3, bias=False)": [linear],
        ("layers.MaskedSumPooling()", "torch.nn.Linear(4, 5)"): [total, LinearEncoder(4, 5)],
        ("nn.Linear(4, 3, bias=False)", None): [linear],
    }.items():
        assert parse_encoder(value) == steps


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (
            parse_initializer,
            "nn.init.norml_",
            "no initializer 'nn.init.norml_'.* 'nn.init.normal_'",
        ),
        (parse_initializer, "nn.init.normal_(0)", "give arguments by partial"),
        (parse_initializer, "partial(nn.init.normal_, 0)", "partial takes an initializer and"),
        (parse_initializer, "partial(nn.init.normal_(), std=1)", "without calling it"),
        (parse_initializer, "partial(nn.init.normal_, sd=1)", "no argument 'sd' .*'mean', 'std'"),
        (parse_initializer, "partial(nn.init.normal_, std=print(1))", "plain numbers"),
        (parse_initializer, "partial(nn.init.normal_, std=True)", "plain numbers"),
        (parse_initializer, "partial(nn.init.normal_, std=1e999)", "numbers that are finite"),
        (parse_initializer, "partial(nn.init.normal_, std=-1)", "nn.init.normal_ says: "),
        (parse_initializer, "lambda x: x", "not an expression that is understood"),
        (parse_initializer, "nn.init.zeros_; 1", "not an expression that is understood"),
        (parse_initializer, "a[0].b", "not an expression that is understood"),
        (parse_encoder, "layers.MaskedSumPoling()", "Did you mean 'layers.MaskedSumPooling'"),
        (parse_encoder, "layers.MaskedSumPooling(1)", "is not known"),
        (parse_encoder, "nn.Linear(4, 0)", "two whole numbers from 1 to 65536"),
        (parse_encoder, "nn.Linear(4, 65537)", "two whole numbers from 1 to 65536"),
        (parse_encoder, "nn.Linear(4, 2.5)", "two whole numbers"),
        (parse_encoder, "nn.Linear(4, 2, bias=0)", "bias=True or False"),
        (parse_encoder, ["nn.Linear(4, 2)", "exit()"], "'exit\\(\\)' is not known"),
    ],
)
def test_what_is_not_understood_is_named(parse, text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)
