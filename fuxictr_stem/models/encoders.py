"""FuxiCTR's feature encoders, once per table: pooling of sequences and linear projections.

Symbols: B batch, K tables, D width of a field in one table, L sequence length, P width of a
ready-made vector.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import GroupedLinear
from fuxictr_stem.models.expressions import LinearEncoder, PoolingEncoder, parse_encoder


class Pooling(nn.Module):
    """FuxiCTR's masked pooling of a sequence: the mean over what counts, or the sum."""

    def __init__(self, average: bool) -> None:
        super().__init__()
        self.average = average

    def forward(self, x_BLKD: Tensor) -> Tensor:
        """Pool a sequence's vectors; (B, L, K, D) to (B, K, D)."""
        total = x_BLKD.sum(dim=1)
        return total / (self.count(x_BLKD) + 1e-12) if self.average else total

    def count(self, x_BLKD: Tensor) -> Tensor:
        """Return how many vectors count, (B, K, 1)."""
        # As in FuxiCTR, what does not count is known by its zero vector: padding, and tokens without
        # a vector.
        return (x_BLKD != 0).any(dim=-1).sum(dim=1)[..., None]


class FieldEncoder(nn.Module):
    """The encoder of one field: FuxiCTR's ``feature_encoder``, with its own weights in each of K tables.

    ``steps`` are done in order. A field that ``is_vector``, ready-made, (B, P), is one for all tables.
    """

    def __init__(
        self,
        steps: list[LinearEncoder | PoolingEncoder],
        num_tables: int,
        is_vector: bool,
        output_dim: int,
    ) -> None:
        super().__init__()
        self.num_tables, self.is_vector, self.output_dim = num_tables, is_vector, output_dim
        self.steps = steps
        poolings = [step for step in steps if isinstance(step, PoolingEncoder)]
        self.pooling = Pooling(poolings[0].average) if poolings else None
        self.linears = nn.ModuleList(
            GroupedLinear(num_tables, step.input_dim, step.output_dim, bias=step.bias)
            for step in steps
            if isinstance(step, LinearEncoder)
        )

    @classmethod
    def from_spec(
        cls, name: str, spec: dict[str, Any], dim: int, num_tables: int
    ) -> FieldEncoder | None:
        """Return the encoder that a feature's spec asks for, or None; ConfigError if it does not fit."""
        steps = parse_encoder(spec.get("feature_encoder"))
        is_vector = spec["type"] == "embedding"
        width = spec["pretrain_dim"] if is_vector else dim
        if is_vector and not steps:
            steps = [LinearEncoder(width, dim, bias=False)]
        pools = sum(isinstance(step, PoolingEncoder) for step in steps)
        if pools != (spec["type"] == "sequence"):
            rule = "exactly one pooling, such as layers.MaskedAveragePooling()"
            wanted = rule if spec["type"] == "sequence" else "no pooling, which is for sequences"
            raise ConfigError(
                f"feature_encoder of {name!r} ({spec['type']}) must hold {wanted}, but it is "
                f"{spec.get('feature_encoder')!r}."
            )
        output_dim = width
        for step in steps:
            if isinstance(step, LinearEncoder):
                if step.input_dim != output_dim:
                    raise ConfigError(
                        f"feature_encoder of {name!r}: nn.Linear({step.input_dim}, "
                        f"{step.output_dim}) does not fit its input of width {output_dim}."
                    )
                output_dim = step.output_dim
        declared = spec.get("emb_output_dim", output_dim)
        if declared != output_dim:
            raise ConfigError(
                f"emb_output_dim of {name!r} is {declared}, but it gives {output_dim} "
                f"numbers. Make them equal, or leave emb_output_dim out."
            )
        return cls(steps, num_tables, is_vector, output_dim) if steps else None

    def forward(self, x: Tensor) -> Tensor:
        """Encode a field: (B, K*D), a sequence (B, L, K*D) or a ready-made vector (B, P), to (B, K*out)."""
        linears = iter(self.linears)
        shared = self.is_vector
        for step in self.steps:
            if isinstance(step, PoolingEncoder):
                assert self.pooling is not None
                x = self.pooling(x.unflatten(-1, (self.num_tables, -1))).flatten(1)
            else:
                lead = x.shape[:-1]
                flat = x.reshape(-1, x.shape[-1])
                tables = flat[None] if shared else flat.unflatten(1, (self.num_tables, -1))
                if not shared:
                    tables = tables.transpose(0, 1)
                out = next(linears)(tables).transpose(0, 1)
                x = out.reshape(*lead, self.num_tables * step.output_dim)
                shared = False
        return x
