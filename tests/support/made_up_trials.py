"""Samplers, and trials of searches whose results are made up."""

from fuxictr_stem.tuning.samplers import make_sampler
from fuxictr_stem.tuning.space import Choices, Range, Search
from fuxictr_stem.tuning.trials import DONE, FAILED, Trial, Trials

SPACE = {
    "learning_rate": Range(1e-4, 1e-1, log=True),
    "epochs": Range(1, 3),
    "units": Choices([[8], [8, 4]]),
    "optimizer": Choices(["adam", "SGD"]),
}


OWN = {"learning_rate": 0.01, "epochs": 2, "units": [8], "optimizer": "adam"}


def make(folder, sampler="tpe", trials=8, own=OWN, modes=("max",), space=SPACE, seed=0):
    search = Search(space, sampler, trials, seed)
    return make_sampler(search, own, list(modes), folder / "study.journal", "study")


def ended(number, settings, state=DONE, **objectives):
    objectives = objectives or {"monitor": -abs(settings["learning_rate"] - 0.02)}
    value = next(iter(objectives.values()))
    return Trial(number, f"t{number}", settings, state, value, objectives, [value - 0.1, value])


def play(sampler, numbers):
    points = []
    for number in numbers:
        points.append(sampler.settings(number))
        sampler.tell(ended(number, points[-1]))
    return points


def trials(*rates, chosen, key="learning_rate"):
    state = DONE if chosen in rates else FAILED
    every = [
        Trial(number, f"t{number}", {key: rate}, state, 0.8 if rate == chosen else 0.7)
        for number, rate in enumerate(rates)
    ]
    return Trials("toy", "AUC", "max", every)
