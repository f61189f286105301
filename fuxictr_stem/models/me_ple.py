"""ME-PLE: PLE on T + 1 tables, the control for "is STEM just more parameters?"."""

from __future__ import annotations

from fuxictr_stem.models.ple import PLE


class MEPLE(PLE):
    """`PLE` whose streams read a table each: task i's experts and gate table i, the shared ones theirs.

    Named in the published configs, never published; this reading is ours. All gradients are free.
    """

    def num_tables(self) -> int:
        """Return how many embedding tables there are: one per task and the shared one."""
        return self.num_tasks + 1
