"""Messages between ranks: what arrives, and an error of one kind where a rank is lost."""

import pytest
import torch

from fuxictr_stem.distributed.messages import RankLost, add_up, highest, receive, send_to, trade
from tests.support.ranks import on_ranks

COUNT = 3


def exchange(ranks):
    """Send every kind of message; then the last rank leaves, and the others wait for it in vain."""
    number = ranks.number
    sums = torch.rand(1000, generator=torch.Generator().manual_seed(number)) * 10.0**number
    add_up(sums)
    most = torch.tensor([number, -number, 7])
    highest(most)
    # Rank n sends n times its number to the first rank, and once to each of the others.
    out = [number, 1, 1]
    into = [0, 1, 2] if number == 0 else [1] * COUNT
    received = torch.empty(sum(into), dtype=torch.int64)
    trade(received, torch.full((sum(out),), number), into, out)
    part = torch.full((2,), -1)
    if number == 0:
        for other in (2, 1):
            receive(part, other)
            assert part.tolist() == [other, other]
    else:
        send_to(torch.full((2,), number), 0)
    if number < COUNT - 1:
        with pytest.raises(RankLost, match="A message to or from another rank did not arrive: "):
            add_up(torch.ones(1))
    return sums.tolist(), most.tolist(), received.tolist()


def test_what_is_sent_arrives_until_a_rank_is_lost():
    sums, most, received = zip(*on_ranks(COUNT, exchange), strict=True)
    draws = [
        torch.rand(1000, generator=torch.Generator().manual_seed(n)) * 10.0**n for n in range(COUNT)
    ]
    assert sums[0] == sums[1] == sums[2] == pytest.approx(sum(draws).tolist(), rel=1e-6)
    assert most == ([2, 0, 7],) * COUNT
    assert received == ([1, 2, 2], [0, 1, 2], [0, 1, 2])
