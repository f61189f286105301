"""Write the pages and pictures that come from the code: python docs/generate.py.

`docs/commands.md` and `docs/keys.md` are made from the command line and the configs' schema, the matrices
in `docs/models/` from gradients of the tiny experiment ids. A test says that the pages are current.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fuxictr_stem import cli, list_models
from fuxictr_stem.config import schema
from fuxictr_stem.config.reading import must_be
from fuxictr_stem.key_list import SECTIONS

if TYPE_CHECKING:
    import numpy as np

DOCS = Path(__file__).parent


def commands() -> str:
    """Return the page of all commands."""
    lines = [
        "# Every command\n",
        "`python -m fuxictr_stem COMMAND`, or `fuxictr_stem COMMAND` after an installation.",
        "`run_expid.py` is `run`, `run_benchmark.py` is `benchmark`, `run_param_tuner.py` is `tune`.",
        "Exit codes: 0; 2 after a message about something that you can fix; 130, 143 and 129 after Ctrl-C,",
        "SIGTERM and a closed terminal; 1 if `audit` or `cache verify` finds a fault.",
    ]
    for name, meaning, parser in _commands(cli.parser()):
        lines += [f"\n## {name}\n", f"{meaning[0].upper()}{meaning[1:]}.\n"]
        options = [action for action in parser._actions if action.dest not in ("help", "action")]
        if options:
            lines += ["| option | meaning | default |", "| --- | --- | --- |"]
        for action in options:
            option = " ".join([*action.option_strings[:1], *_value(action)])
            needed = action.required and action.nargs != "*"
            default = "required" if needed else _default(action)
            lines.append(f"| `{option}` | {_cell(action.help or '')} | {default} |")
    return "\n".join(lines) + "\n"


def _commands(
    parser: argparse.ArgumentParser, above: str = ""
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for choice in group._choices_actions:
                name, below = f"{above}{choice.dest}", group.choices[choice.dest]
                yield name, choice.help or "", below
                yield from _commands(below, f"{name} ")


def _value(action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        return []
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return [f"{name} ..." if action.nargs in ("+", "*") else name]


def _default(action: argparse.Action) -> str:
    is_set = action.default not in (None, "", False) and action.dest != "config"
    return f"`{action.default}`" if is_set else ""


def keys() -> str:
    """Return the page of all keys of the configs."""
    lines = [
        "# Every key\n",
        "Everything that a config may contain. Unknown keys and values that are not allowed are reported",
        "before anything runs. `python -m fuxictr_stem keys` prints this page; `config/schema/` has it as",
        "JSON schemas, for editors.",
    ]
    for name, (where, fields) in SECTIONS.items():
        lines += [f"\n## {name}\n", f"{where[0].upper()}{where[1:]}.\n"]
        lines += ["| key | meaning | default |", "| --- | --- | --- |"]
        for key, field in fields.items():
            types = schema.column_types(field)
            of_types = f" (of type {', '.join(types)})" if types else ""
            meaning = f"{field.description}{of_types}; must be {must_be(field)}"
            absent = field.is_required() or field.default is schema.ABSENT
            default = "" if absent else f"`{json.dumps(field.default)}`"
            default = "required" if field.is_required() else default
            lines.append(f"| `{key}` | {_cell(meaning)} | {_cell(default)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    # `*` and `<name>` are text here, not emphasis or HTML.
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")


def draw_matrices() -> None:
    """Draw for each model which task reads which part, and which of them its loss trains."""
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    for model in list_models():
        parts, labels, reached = _reached(f"{model}_test")
        figure = Figure(figsize=(5.2, 0.9 + 0.22 * len(parts)), dpi=120, layout="constrained")
        axes = figure.subplots()
        colours = ListedColormap(["#f1ecec", "#F0C36D", "#0072B2"])
        axes.imshow(reached, colours, aspect="auto", vmin=0, vmax=2)
        for (row, column), value in np.ndenumerate(reached):
            text, colour = (("-", "#595959"), ("reads", "black"), ("trains", "white"))[value]
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(labels)), [f"task {label}" for label in labels])
        axes.set_yticks(range(len(parts)), parts)
        axes.tick_params(length=0, labelsize=8, top=True, labeltop=True, labelbottom=False)
        axes.set_xticks(np.arange(0.5, len(labels) - 1), minor=True)
        axes.set_yticks(np.arange(0.5, len(parts) - 1), minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(False)
        figure.savefig(DOCS / "models" / f"{model}.png", metadata={"Software": None})


def _reached(expid: str) -> tuple[list[str], list[str], "np.ndarray"]:
    """Return parts, tasks, and for each pair 2 if the loss trains the part, 1 if it is only read."""
    import torch

    from fuxictr_stem.analysis.gradient_flow import gradient_flow, model_parts
    from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
    from fuxictr_stem.config.experiment_config import load_experiment
    from fuxictr_stem.registry import build_model
    from fuxictr_stem.training.synthetic_batch import synthetic_batch

    params = {**load_experiment(DOCS.parent / "config", expid), "gpu": -1}
    torch.manual_seed(1)
    model = build_model(params, synthetic_feature_map(params)).eval()
    batch = synthetic_batch(model.feature_map, params["label_col"])
    flow = gradient_flow(model, batch)
    reached = 2 * (flow.norms > 0).astype(int).T
    before = model(batch)
    for row, part in enumerate(model_parts(model)):
        # Whatever changes a task's predictions is read by it.
        saved = [parameter.detach().clone() for parameter, _, _ in part.pieces]
        for parameter, axis, where in part.pieces:
            parameter.data[(slice(None),) * axis + (where,)] += 1.0
        after = model(batch)
        for column, label in enumerate(flow.labels):
            name = f"{label}_pred"
            if not reached[row, column] and not torch.equal(before[name], after[name]):
                reached[row, column] = 1
        for (parameter, _, _), values in zip(part.pieces, saved, strict=True):
            parameter.data.copy_(values)
    return flow.parts, flow.labels, reached


PAGES = {"commands.md": commands, "keys.md": keys}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (DOCS / file).write_text(page(), encoding="utf-8")
    draw_matrices()
