"""Task tables and a shared table, stored next to each other.

Symbols: B batch, F fields, K tables (T + 1 for STEM: one table per task, the shared one last; 1 for a
single-table model), D embedding dim, V vocabulary size, L sequence length, P pretrained width.

The K tables of a field lie in one wide row (K*D numbers), so one lookup serves all tasks. The columns of
a task get gradients only from what reads them: a wide row keeps the tasks' zeros exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fuxictr_stem.layers import device
from fuxictr_stem.layers.grouped import GroupedLinear
from fuxictr_stem.layers.row_gradients import RowGradients, look_up
from fuxictr_stem.layers.row_shards import Fetched, RowShard, draw_blocks

Initializer = Callable[[Tensor], object]
PretrainUsage = Literal["init", "sum", "concat"]


def first_ids(sizes: Sequence[int], padded: Sequence[bool]) -> list[int]:
    """Return the row of each vocabulary's id 0 in one table, whose row 0 is the padding of all.

    A size counts id 0, which in a padded vocabulary is padding and takes no row of its own.

    Example:
        >>> first_ids([5, 3, 4], [True, False, True])
        [0, 5, 7]
    """
    # A padded vocabulary's id 0 would be one before its first row.
    first_row, firsts = 1, []
    for size, pad in zip(sizes, padded, strict=True):
        firsts.append(first_row - pad)
        first_row += size - pad
    return firsts


class FieldTables(nn.Module):
    """K tables for several vocabularies of one embedding dim, in one parameter.

    Row 0 is the padding of every padded vocabulary: zero, without a gradient. All other ids of vocabulary
    v lie at ``offset[v] + id``. The initializer works in place on each vocabulary's part of each table,
    (V-1, D) where id 0 is padding, else (V, D).
    """

    offsets: Tensor
    padded: Tensor
    sizes: Tensor

    def __init__(
        self,
        vocab_sizes: Sequence[int],
        padded: Sequence[bool],
        embedding_dim: int,
        num_tables: int,
        initializer: Initializer,
    ) -> None:
        super().__init__()
        self.vocab_sizes = list(vocab_sizes)
        self.embedding_dim = embedding_dim
        self.num_tables = num_tables
        self.initializer = initializer
        # Takes the gradient of a backward pass instead of the table, while it is set.
        self.row_gradients: RowGradients | None = None
        offsets = first_ids(self.vocab_sizes, padded)
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)
        self.register_buffer("padded", torch.tensor(list(padded)), persistent=False)
        self.register_buffer("sizes", torch.tensor(self.vocab_sizes), persistent=False)
        # FuxiCTR's embedding_regularizer applies to plain nn.Embedding modules only.
        self.num_rows = offsets[-1] + self.vocab_sizes[-1] if offsets else 1
        width = num_tables * embedding_dim
        # Which rows are here, and those that the next lookups read, where several processes split it.
        self.shard = RowShard.of_table(self.num_rows)
        self.fetched: Fetched | None = None
        if self.shard is None:
            self.table = nn.Embedding(self.num_rows, width, padding_idx=0)
        else:
            weight = torch.zeros(self.shard.size, width)
            self.table = nn.Embedding(self.shard.size, width, padding_idx=0, _weight=weight)
            # What the whole one would have drawn just now.
            for _ in draw_blocks(nn.init.normal_, self.num_rows, width, contiguous=True):
                pass
        self.init_weights()

    def rows(self, vocab: int) -> slice:
        """Return the rows of a vocabulary in the table, its padding left out."""
        offset, pad = int(self.offsets[vocab]), int(self.padded[vocab])
        return slice(offset + pad, offset + self.vocab_sizes[vocab])

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise each vocabulary of each table by itself; the padding row is zero."""
        self.table.weight[0] = 0
        for vocab in range(len(self.vocab_sizes)):
            rows = self.rows(vocab)
            count = rows.stop - rows.start
            weight = self.table.weight if self.shard is not None else self.table.weight[rows]
            for part in weight.split(self.embedding_dim, dim=1):
                if count and self.shard is not None:
                    contiguous = count == 1 or self.num_tables == 1
                    self.shard.draw(self.initializer, rows, part, contiguous)
                elif count:
                    self.initializer(part)

    def forward(self, ids: Tensor, vocabs: Tensor) -> Tensor:
        """Look up ids, (B, F) or (B, L), to (B, F, K*D) or (B, L, K*D).

        ``vocabs`` are the numbers of the columns' vocabularies, (F,), or a scalar for all. An id outside
        its vocabulary is an IndexError (on the host only).
        """
        rows = self.table_rows(ids, vocabs)
        weight = self.table.weight
        if self.fetched is not None:
            weight, rows = self.fetched.weight_UW, self.fetched.slots(rows)
        if self.row_gradients is not None:
            return look_up(weight, rows, self.row_gradients)
        return self.table(rows) if self.fetched is None else nn.functional.embedding(rows, weight)

    def table_rows(self, ids: Tensor, vocabs: Tensor | int) -> Tensor:
        """Return the row of each id in the whole table; arguments and errors as of a lookup."""
        ids = ids.long()
        # Without this check an id past its vocabulary would read a row of the next one.
        if device.on_host(ids) and bool(((ids < 0) | (ids >= self.sizes[vocabs])).any()):
            raise IndexError(
                f"An id lies outside its vocabulary: the ids reach from {int(ids.min())} to "
                f"{int(ids.max())}, the vocabularies have {self.sizes[vocabs].tolist()} ids. The data "
                f"and the feature map do not belong together."
            )
        is_padding = (ids == 0) & self.padded[vocabs]
        return torch.where(is_padding, 0, ids + self.offsets[vocabs])


class NumericTables(nn.Module):
    """Numeric fields as vectors: a value times a learnt vector, one per table."""

    def __init__(self, num_fields: int, embedding_dim: int, num_tables: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(torch.empty(num_fields, num_tables * embedding_dim))
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Xavier-normal as for FuxiCTR's Linear(1, D), field by field and table by table."""
        for field in self.weight:
            for part in field.split(self.embedding_dim):
                nn.init.xavier_normal_(part[:, None])

    def forward(self, values_BF: Tensor) -> Tensor:
        """Scale the vectors; (B, F) to (B, F, K*D)."""
        return values_BF.float()[..., None] * self.weight


class PretrainedTables(nn.Module):
    """K tables that start from the same pretrained vectors.

    Frozen vectors are stored once, with one projection per table where K > 1; it starts as the identity
    where P = D, so that each table starts from the vectors themselves. Learnt vectors are stored K times.

    Args:
        vectors: Pretrained vectors by id, (V, P).
        embedding_dim: D.
        num_tables: K.
        usage: FuxiCTR's ``pretrain_usage``: start from the vectors, add them to a learnt embedding, or
            concatenate both and project.
        frozen: Whether the vectors stay as they are.
        oov_id: Largest id met in training. Learnt rows above it are read as zero, as in FuxiCTR.
        initializer: In-place initializer of the learnt embedding.
    """

    vectors: Tensor | None

    def __init__(
        self,
        vectors: Tensor,
        embedding_dim: int,
        num_tables: int,
        usage: PretrainUsage,
        frozen: bool,
        oov_id: int,
        initializer: Initializer,
    ) -> None:
        super().__init__()
        vocab_size, width = vectors.shape
        self.num_tables, self.embedding_dim, self.usage = num_tables, embedding_dim, usage
        self.oov_id, self.initializer = oov_id, initializer
        vectors = vectors.clone().float()
        vectors[0] = 0
        self.register_buffer("vectors", vectors if frozen else None)
        if not frozen:
            self.learnt = nn.Embedding(vocab_size, num_tables * width, padding_idx=0)
            self.learnt.weight.data.copy_(vectors.repeat(1, num_tables))
        if usage != "init":
            self.ids = nn.Embedding(vocab_size, num_tables * embedding_dim, padding_idx=0)
        self.projection = None
        projected = width + (embedding_dim if usage == "concat" else 0)
        if (frozen and num_tables > 1) or usage == "concat" or width != embedding_dim:
            self.projection = GroupedLinear(num_tables, projected, embedding_dim, bias=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise what is not pretrained."""
        if self.usage != "init":
            self.ids.weight.zero_()
            for part in self.ids.weight[1 : self.oov_id].split(self.embedding_dim, dim=1):
                self.initializer(part)
        if self.projection is not None:
            self.projection.init_weights()
            if self.projection.weight.shape[-1] == self.embedding_dim:
                self.projection.weight.copy_(torch.eye(self.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ids; (B,) to (B, K*D), (B, L) to (B, L, K*D)."""
        ids = ids.long()
        flat = ids.flatten()
        has_id = (flat <= self.oov_id).float()[:, None]
        if self.vectors is not None:
            out = self.vectors[flat].expand(self.num_tables, -1, -1)
        else:
            out = (self.learnt(flat) * has_id).unflatten(1, (self.num_tables, -1)).transpose(0, 1)
        if self.usage == "concat":
            out = self._project(torch.cat([out, self._id_part(flat, has_id)], dim=-1))
        else:
            out = self._project(out)
            if self.usage == "sum":
                out = out + self._id_part(flat, has_id)
        return out.transpose(0, 1).reshape(*ids.shape, self.num_tables * self.embedding_dim)

    def _id_part(self, flat: Tensor, has_id: Tensor) -> Tensor:
        return (self.ids(flat) * has_id).unflatten(1, (self.num_tables, -1)).transpose(0, 1)

    def _project(self, x_KNP: Tensor) -> Tensor:
        return x_KNP if self.projection is None else self.projection(x_KNP)
