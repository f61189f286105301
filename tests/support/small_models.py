"""Small feature maps, batches and models for the tests."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.registry import get_model

# Every registered model at a size that runs in milliseconds.
SMALL = {
    "STEMNet": {
        "num_layers": 1,
        "num_shared_experts": 2,
        "num_specific_experts": 2,
        "expert_hidden_units": [7, 5],
        "gate_hidden_units": [6],
        "tower_hidden_units": [4],
    },
    "PLE": {
        "num_layers": 1,
        "num_shared_experts": 2,
        "num_specific_experts": 2,
        "expert_hidden_units": [7, 5],
        "gate_hidden_units": [6],
        "tower_hidden_units": [4],
    },
    "MMoE": {
        "num_experts": 3,
        "expert_hidden_units": [7, 5],
        "gate_hidden_units": [6],
        "tower_hidden_units": [4],
    },
    "OMoE": {
        "num_experts": 3,
        "expert_hidden_units": [7, 5],
        "gate_hidden_units": [6],
        "tower_hidden_units": [4],
    },
    "AITM": {"bottom_hidden_units": [7, 5], "tower_hidden_units": [4]},
    "SharedBottom": {"bottom_hidden_units": [7, 5], "tower_hidden_units": [4]},
}


SMALL["STEMAL"] = {**SMALL["STEMNet"], "auxiliary_labels": ["y1"]}
SMALL["MEMMoE"] = SMALL["MMoE"]
SMALL["MEPLE"] = SMALL["PLE"]
SMALL["ESMM"] = {"click_label": "y0", "conversion_label": "y1", "tower_hidden_units": [4]}


def many_labels(name: str) -> int:
    """Labels for a test that wants more than two: three, but for ESMM, which takes two."""
    return 2 if name == "ESMM" else 3


def categorical(size: int, **more: object) -> dict:
    return {"type": "categorical", "source": "", "padding_idx": 0, "vocab_size": size, **more}


def numeric(**more: object) -> dict:
    return {"type": "numeric", "source": "", **more}


def sequence(size: int, length: int, **more: object) -> dict:
    encoder = more.pop("feature_encoder", "layers.MaskedAveragePooling()")
    return {
        "type": "sequence",
        "source": "",
        "padding_idx": 0,
        "vocab_size": size,
        "max_len": length,
        "feature_encoder": encoder,
        **more,
    }


def feature_map(features: dict | None = None, labels: int = 2, data_dir: str = ".") -> FeatureMap:
    """A feature map of the given specs; by default three categorical fields."""
    made = FeatureMap("toy", str(data_dir))
    specs = features or {"a": categorical(9), "b": categorical(5), "c": categorical(4)}
    made.features = OrderedDict(specs)
    made.labels = [f"y{i}" for i in range(labels)]
    made.num_fields = made.get_num_fields()
    made.set_column_index()
    return made


def batch(fmap: FeatureMap, size: int = 16, seed: int = 0) -> dict[str, Tensor]:
    """Random columns that fit a feature map; sequences hold padding, labels both classes."""
    rng = torch.Generator().manual_seed(seed)
    columns: dict[str, Tensor] = {}
    for name, spec in fmap.features.items():
        if spec["type"] == "numeric":
            columns[name] = torch.randn(size, generator=rng)
        elif spec["type"] == "embedding":
            columns[name] = torch.randn(size, spec["pretrain_dim"], generator=rng)
        elif spec["type"] == "sequence":
            ids = torch.randint(1, spec["vocab_size"], (size, spec["max_len"]), generator=rng)
            lengths = torch.randint(0, spec["max_len"] + 1, (size, 1), generator=rng)
            columns[name] = ids * (torch.arange(spec["max_len"]) < lengths)
        else:
            high = spec.get("vocab_size", 3)
            columns[name] = torch.randint(1, high, (size,), generator=rng)
    for label in fmap.labels:
        columns[label] = torch.randint(0, 2, (size,), generator=rng).float()
        columns[label][:2] = torch.tensor([0.0, 1.0])
    return columns


def small_model(name: str, fmap: FeatureMap, **params: object) -> torch.nn.Module:
    """A registered model at its small size, with weights far from zero."""
    model = get_model(name)(fmap, **{"embedding_dim": 3, **SMALL[name], **params})
    return spread(model)


def spread(model: torch.nn.Module, scale: float = 0.5, seed: int = 3) -> torch.nn.Module:
    """Redraw all weights at a scale at which a wrong formula shows; padding rows stay zero."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=rng))
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return model


class Batches:
    """A fixed list of batches as a loader."""

    def __init__(self, *batches: dict[str, Tensor]) -> None:
        self.batches = batches
        self.num_samples = sum(len(next(iter(b.values()))) for b in batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches)


# Every type of feature, and a table that two share.
MIXED = {
    "a": categorical(40),
    "b": categorical(6, embedding_dim=2),
    "n": numeric(),
    "s": sequence(30, 4),
    "t": sequence(40, 3, share_embedding="a"),
}

# AITM's tasks are a sequence, ESMM's have roles.
WITHOUT_ORDER = [name for name in sorted(SMALL) if name not in ("AITM", "ESMM")]


def permute_tasks(model: torch.nn.Module, twin: torch.nn.Module, order: list[int]) -> None:
    """Give the twin the model's weights, task ``order[i]`` of the model as task i."""
    tasks = len(order)
    state = model.state_dict()
    stem = type(model).__name__ in ("STEMNet", "STEMAL")
    one_gate = type(model).__name__ == "OMoE"
    for key, value in state.items():
        if ".table." in key and value.shape[1] > model.embedding_layer.embedding_dim:
            parts = value.chunk(tasks + 1, dim=1)
            state[key] = torch.cat([parts[i] for i in [*order, tasks]], dim=1)
        elif "gates" not in key and ("specific_experts" in key or "towers" in key):
            parts = value.chunk(tasks)
            state[key] = torch.cat([parts[i] for i in order])
        elif len(value) == 1 and "gates.hidden" in key or "gates.output" in key and one_gate:
            continue
        elif "gates.hidden." in key:
            state[key] = value[[*order, *range(tasks, len(value))]]
        elif "gates.output." in key:
            head, gate = key.split(".output.")
            number, kind = gate.split(".")
            source = [*order, tasks][int(number)]
            value = model.state_dict()[f"{head}.output.{source}.{kind}"]
            # STEM's gates read every task's experts, whose slots move, too.
            k1, k2 = (SMALL["STEMNet"][f"num_{kind}_experts"] for kind in ("specific", "shared"))
            k1 *= stem and len(value) == tasks * k1 + k2
            own = value[: tasks * k1].chunk(tasks) if k1 else []
            moved = [own[i] for i in order] if k1 else []
            state[key] = torch.cat([*moved, value[tasks * k1 :]])
    twin.load_state_dict(state)


def losses_of_steps(model, fmap, count, edit=lambda columns: columns):
    """Take some steps, on batches of seed 0, 1, ... that ``edit`` may change; return their losses."""
    return [model.train_step(edit(batch(fmap, seed=i))).item() for i in range(count)]


def loss_gradients(model, columns):
    """The gradient of a batch's loss by parameter."""
    model.zero_grad()
    model.add_loss(model(columns), model.get_labels(columns)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def some_rows(columns, index):
    """A batch of those rows that an index picks."""
    return {name: values[index] for name, values in columns.items()}


def assert_all_close(found, expected):
    """Two dicts of tensors have the same names, and nearly the same numbers."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4, msg=name)


def deep_model(name, specs, labels=None, seed=0, **more):
    """A model with a state per unit, and a second layer where it has several."""
    fmap = feature_map(specs, many_labels(name))
    if labels is not None:
        fmap.labels = list(labels)
        more["task_labels"] = list(labels)
    layers = {"num_layers": 2} if "num_layers" in SMALL[name] else {}
    states = {"batch_norm": True, "hidden_activations": "PReLU"}
    model = spread(small_model(name, fmap, **{**layers, **states, **more}), seed=seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()
