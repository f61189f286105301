"""How large each measurement is: for the record, and for a quick look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# STEM-Net as the paper has it on TikTok.
NETWORK: Mapping[str, Any] = {
    "num_layers": 1,
    "num_shared_experts": 8,
    "num_specific_experts": 1,
    "expert_hidden_units": [512, 512, 512],
    "gate_hidden_units": [128, 64],
    "tower_hidden_units": [128, 64],
    "embedding_dim": 16,
    "hidden_activations": "relu",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "embedding_regularizer": 1e-6,
    "max_gradient_norm": 10.0,
}

# One that a service has where a row must cost little.
SMALL_NETWORK: Mapping[str, Any] = {
    **NETWORK,
    "num_shared_experts": 2,
    "expert_hidden_units": [64],
    "gate_hidden_units": [16],
    "tower_hidden_units": [32],
    "embedding_dim": 8,
}


@dataclass(frozen=True)
class Setting:
    """A model and its batches.

    Attributes:
        table_rows: Rows of all fields' vocabularies together.
        fields: Number of categorical fields.
        tasks: Number of tasks.
        batch_size: Rows of a batch.
        network: Parameters of the model.
        seed: Of weights and data.
        gpu: Number of the CUDA device, or -1 for the CPU.
    """

    table_rows: int
    fields: int = 8
    tasks: int = 2
    batch_size: int = 4096
    network: Mapping[str, Any] = field(default_factory=lambda: dict(NETWORK))
    seed: int = 2023
    gpu: int = -1


@dataclass(frozen=True)
class Sizes:
    """The sizes of all measurements.

    Attributes:
        table_rows: Of the training comparisons, small to large.
        large_table_rows: Of the row-sparse step that is compared with the smallest tables.
        trace_rounds: Rounds of the steps whose losses are compared.
        rounds: Rounds of the other training measurements.
        steps: Training steps of a round.
        batch_size: Rows of a batch.
        network: Parameters of the model.
        repetitions: Rounds of all that is no training step.
        loader_rows: Rows of a split that the loaders read.
        group_rows: Rows and groups of gAUC on both sides.
        large_group_rows: Rows and groups of our gAUC alone.
        csv_rows: Rows and distinct ids of the CSV file that both sides encode.
        large_csv_rows: Rows and distinct ids of the CSV file whose encoding shows peak memory.
        raw_rows: Rows and distinct ids of a raw file that is prepared and encoded.
        scored_rows: Rows that are scored, and distinct ids of the run that scores them.
        tracked_steps: Steps of an epoch with a tracker and of one without.
        memory_rows: Rows of the split that is trained on for peak memory.
        growth_steps: Steps of each point of the cost as work grows.
        growth_width: Width of the experts' layers there.
        growth_points: Points of each axis there.
        growth_rows: Rows of the epochs whose cost is compared.
        scorer_networks: Parameters of the models that score a few rows at a time, by name.
        scorer_rows: Rows and distinct ids that these are trained on.
        scorer_tokens: Ids of the large vocabulary that a Scorer opens.
        process_rows: Table rows that several processes split.
        process_counts: How many processes these are.
        process_batches: Rows of the batches whose messages are counted.
    """

    table_rows: tuple[int, ...] = (200_000, 1_000_000, 3_000_000)
    large_table_rows: int = 10_000_000
    trace_rounds: int = 25
    rounds: int = 7
    steps: int = 8
    batch_size: int = 4096
    network: Mapping[str, Any] = field(default_factory=lambda: dict(NETWORK))
    repetitions: int = 3
    loader_rows: int = 2_000_000
    group_rows: tuple[int, int] = (100_000, 15_000)
    large_group_rows: tuple[int, int] = (10_000_000, 1_000_000)
    csv_rows: tuple[int, int] = (1_000_000, 300_000)
    large_csv_rows: tuple[int, int] = (50_000_000, 3_000_000)
    raw_rows: tuple[int, int] = (50_000_000, 3_000_000)
    scored_rows: tuple[int, int] = (200_000, 200_000)
    tracked_steps: int = 200
    memory_rows: int = 400_000
    growth_steps: int = 12
    growth_width: int = 512
    growth_points: int = 5
    growth_rows: tuple[int, ...] = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
    scorer_networks: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"small": SMALL_NETWORK, "paper's": NETWORK}
    )
    scorer_rows: tuple[int, int] = (50_000, 30_000)
    scorer_tokens: int = 5_000_000
    process_rows: int = 3_000_000
    process_counts: tuple[int, ...] = (1, 2, 4)
    process_batches: tuple[int, ...] = (1024, 4096, 16384)

    def setting(self, table_rows: int, **more: Any) -> Setting:
        """Return the setting of a measurement."""
        options = {"batch_size": self.batch_size, "network": self.network, **more}
        return Setting(table_rows, **options)


FULL = Sizes()
QUICK = Sizes(
    large_table_rows=3_000_000,
    trace_rounds=4,
    rounds=3,
    steps=2,
    repetitions=1,
    loader_rows=300_000,
    large_group_rows=(2_000_000, 200_000),
    csv_rows=(200_000, 60_000),
    large_csv_rows=(2_000_000, 600_000),
    raw_rows=(2_000_000, 120_000),
    scored_rows=(40_000, 100_000),
    tracked_steps=60,
    memory_rows=60_000,
    growth_steps=3,
    growth_width=128,
    growth_points=3,
    growth_rows=(100_000, 200_000, 400_000),
    scorer_rows=(20_000, 10_000),
    scorer_tokens=500_000,
    process_rows=300_000,
    process_batches=(1024, 4096),
)
