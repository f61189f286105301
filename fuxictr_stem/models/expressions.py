"""The few Python expressions that FuxiCTR evaluates from configs, read without evaluating them.

FuxiCTR hands ``feature_encoder`` and initializers to ``eval``. Here an expression is parsed to a syntax
tree, its name is looked up in a list and its arguments must be literals.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError, first_line, suggest


class PoolingEncoder(NamedTuple):
    """Sum of a sequence's embeddings, or their mean over what is not padding."""

    average: bool


class LinearEncoder(NamedTuple):
    """A linear map of an embedding."""

    input_dim: int
    output_dim: int
    bias: bool = True


_LARGEST = 1e38  # what float32 holds
WIDEST = 1 << 16
"""The most units of a layer, or numbers of an embedding."""

# name -> the initializer and the numbers it takes
_INITIALIZERS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "nn.init.normal_": (nn.init.normal_, {"mean", "std"}),
    "nn.init.uniform_": (nn.init.uniform_, {"a", "b"}),
    "nn.init.trunc_normal_": (nn.init.trunc_normal_, {"mean", "std", "a", "b"}),
    "nn.init.xavier_normal_": (nn.init.xavier_normal_, {"gain"}),
    "nn.init.xavier_uniform_": (nn.init.xavier_uniform_, {"gain"}),
    "nn.init.kaiming_normal_": (nn.init.kaiming_normal_, set()),
    "nn.init.kaiming_uniform_": (nn.init.kaiming_uniform_, set()),
    "nn.init.zeros_": (nn.init.zeros_, set()),
}
_ENCODERS = {
    "layers.MaskedAveragePooling": PoolingEncoder(average=True),
    "layers.MaskedSumPooling": PoolingEncoder(average=False),
}


def _parse(what: str, text: Any) -> tuple[str, list[ast.expr], dict[str, ast.expr]]:
    """Split ``a.b(x, y=1)`` or ``a.b`` into its name and arguments."""
    try:
        node: ast.AST = ast.parse(str(text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(f"{what} {text!r} is not an expression that is understood.") from None
    args: list[ast.expr] = []
    keywords: dict[str, ast.expr] = {}
    if isinstance(node, ast.Call):
        args, keywords = node.args, {k.arg or "**": k.value for k in node.keywords}
        node = node.func
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ConfigError(f"{what} {text!r} is not an expression that is understood.")
    name = ".".join([node.id, *reversed(parts)])
    return name.removeprefix("torch."), args, keywords


def _number(what: str, text: Any, node: ast.expr) -> float:
    try:
        value = ast.literal_eval(node)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _LARGEST:
        raise ConfigError(f"{what} {text!r}: its arguments must be plain numbers that are finite.")
    return value


def parse_initializer(text: str) -> Callable[[Tensor], Any]:
    """Return the initializer that an expression names, such as ``partial(nn.init.normal_, std=1e-4)``.

    It must be one of those that are listed, with number arguments; a ConfigError says what there is.

    Example:
        >>> initializer = parse_initializer("partial(nn.init.normal_, mean=3, std=0)")
        >>> initializer(torch.empty(2))
        tensor([3., 3.])
    """
    what = "embedding_initializer"
    name, args, keywords = _parse(what, text)
    if name in ("partial", "functools.partial"):
        if len(args) != 1:
            raise ConfigError(f"{what} {text!r}: partial takes an initializer and named numbers.")
        name, _, inner = _parse(what, ast.unparse(args[0]))
        if inner or isinstance(args[0], ast.Call):
            raise ConfigError(f"{what} {text!r}: name the initializer without calling it.")
    elif args or keywords:
        raise ConfigError(f"{what} {text!r}: give arguments by partial({name}, ...).")
    if name not in _INITIALIZERS:
        raise ConfigError(
            f"{what}: there is no initializer {name!r}.{suggest(name, _INITIALIZERS)} There are: "
            f"{', '.join(_INITIALIZERS)}."
        )
    function, arguments = _INITIALIZERS[name]
    for key in keywords:
        if key not in arguments:
            raise ConfigError(
                f"{what} {text!r}: {name} has no argument {key!r} here; it takes "
                f"{sorted(arguments) or 'none'}."
            )
    initializer = partial(function, **{k: _number(what, text, v) for k, v in keywords.items()})
    # The initializer itself says which numbers it takes; its draws must not affect those of the run.
    with torch.random.fork_rng(devices=[]):
        try:
            tried = initializer(torch.zeros(4, 4))
        except (RuntimeError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"{what} {text!r}: {name} says: {first_line(error)}.") from None
    if not torch.isfinite(tried).all():
        raise ConfigError(f"{what} {text!r}: gives weights that are not finite.")
    return initializer


def parse_encoder(value: Any) -> list[PoolingEncoder | LinearEncoder]:
    """Return the steps that FuxiCTR's ``feature_encoder`` names, one expression or a list; none for null.

    Each must be one of those that are listed, as ``layers.MaskedAveragePooling()`` or ``nn.Linear(64, 16,
    bias=False)``; a ConfigError says what there is.
    """
    if value in (None, "", "None", "none", "null"):
        return []
    if isinstance(value, (list, tuple)):
        return [step for item in value for step in parse_encoder(item)]
    what = "feature_encoder"
    name, args, keywords = _parse(what, value)
    if name in _ENCODERS and not args and not keywords:
        return [_ENCODERS[name]]
    if name != "nn.Linear":
        raise ConfigError(
            f"{what} {value!r} is not known.{suggest(name, [*_ENCODERS, 'nn.Linear'])} There are: "
            f"{', '.join(f'{n}()' for n in _ENCODERS)}, nn.Linear(a, b), nn.Linear(a, b, bias=False), "
            f"or a list of these."
        )
    bias = keywords.pop("bias", ast.Constant(True))
    sizes = [_number(what, value, node) for node in args]
    whole = all(isinstance(n, int) and 0 < n <= WIDEST for n in sizes)
    flag = isinstance(bias, ast.Constant) and isinstance(bias.value, bool)
    if keywords or len(sizes) != 2 or not whole or not flag:
        raise ConfigError(
            f"{what} {value!r}: nn.Linear takes two whole numbers from 1 to {WIDEST} and bias=True or "
            f"False."
        )
    return [LinearEncoder(int(sizes[0]), int(sizes[1]), bool(ast.literal_eval(bias)))]
