"""Messages between the ranks; one that does not arrive says that a rank is lost.

Those of a step are where the model is, so that gloo or NCCL carries them; all others are on the host.
Tensors may have any shape that is the same on all ranks, unless a function says otherwise. Each function
raises `RankLost`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, distributed

from fuxictr_stem.errors import UserError


class RankLost(UserError):
    """A rank has ended, or does not answer."""


@contextmanager
def lost_ranks() -> Iterator[None]:
    """Raise `RankLost` where PyTorch says in many ways that a message did not arrive."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"A message to or from another rank did not arrive: {error}") from error


def add_up(sums: Tensor) -> None:
    """Replace a tensor by the sum of those of all ranks, the same to the last bit on each."""
    with lost_ranks():
        distributed.all_reduce(sums)


def highest(numbers: Tensor) -> None:
    """Replace each number by the highest of all ranks."""
    with lost_ranks():
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)


def trade(received: Tensor, sent: Tensor, into: Sequence[int], out: Sequence[int]) -> None:
    """Send a part of a flat tensor to each rank, and receive one from each.

    ``sent`` is (sum of ``out``,) and ``received`` (sum of ``into``,), one size per rank, in their order.
    """
    with lost_ranks():
        distributed.all_to_all_single(received, sent, list(into), list(out))


def send_to(part: Tensor, rank: int) -> None:
    """Send a tensor, by way of the host, to a rank, which must `receive` it."""
    with lost_ranks():
        distributed.send(part.cpu(), dst=rank)


def receive(part: Tensor, rank: int) -> None:
    """Receive a tensor of the same size from a rank, on the host."""
    with lost_ranks():
        distributed.recv(part, src=rank)
