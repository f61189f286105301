"""Which models there are, those of installed packages too, and how one is built."""

from collections import OrderedDict
from importlib.metadata import EntryPoint

import pytest

from fuxictr_stem import registry
from fuxictr_stem.errors import (
    AccessError,
    ConfigError,
    DataError,
    OutputError,
    TrainingError,
    UserError,
)
from tests.support.small_models import feature_map

KINDS = [AccessError, ConfigError, DataError, OutputError, TrainingError]


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_own_message_is_not_put_in_other_words(kind, monkeypatch):
    text = "pretrained_emb: the file cannot allocate what it says"

    class Refusing:
        def __init__(self, feature_map, **params):
            raise kind(text)

    monkeypatch.setattr(registry, "get_model", lambda name: Refusing)
    with pytest.raises(UserError) as caught:
        registry.build_model(
            {"model": "R", "model_id": "exp", "task_labels": ["y0"]}, feature_map()
        )
    assert type(caught.value) is kind
    assert str(caught.value) == text


@pytest.fixture
def installed(monkeypatch):
    """Have models of other packages installed, by their names the places of their classes."""

    def install(*entries):
        points = [EntryPoint(name, place, registry.ENTRY_POINT_GROUP) for name, place in entries]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        # The process has looked before, and must look again afterwards.
        monkeypatch.setattr(registry, "_places", registry._places.__wrapped__)

    return install


def test_each_model_is_where_the_registry_says():
    for name in registry._MODELS:
        assert registry.get_model(name).__name__ == name


def test_a_model_of_another_package_is_listed_and_imported_when_asked_for(installed):
    installed(("Theirs", "collections:OrderedDict"), ("Absent", "no_such_package:Absent"))
    ours = set(registry._MODELS)
    assert {*registry.list_models()} == {"Theirs", "Absent", *ours}
    assert registry.get_model("Theirs") is OrderedDict
    with pytest.raises(ImportError, match="no_such_package"):
        registry.get_model("Absent")
    with pytest.raises(ConfigError, match="no model 'Thiers'. Did you mean 'Theirs'"):
        registry.get_model("Thiers")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [("STEMNet", "other:Net")],
            "'STEMNet': fuxictr_stem.models.stemnet:STEMNet and other:Net",
        ),
        ([("New", "a:New"), ("New", "b:New")], "'New': a:New and b:New"),
    ],
)
def test_two_models_of_one_name_are_rejected(installed, entries, message):
    installed(*entries)
    with pytest.raises(ConfigError, match=f"Two models are called {message} .entry points of"):
        registry.list_models()


def test_one_package_that_is_found_twice_is_one(installed):
    installed(("New", "a:New"), ("New", "a:New"), ("PLE", registry._MODELS["PLE"]))
    assert registry.list_models() == sorted([*registry._MODELS, "New"])


def test_a_model_of_any_size_is_an_error_of_memory_or_its_own(monkeypatch):
    def building(error):
        def build(feature_map, **params):
            raise error

        monkeypatch.setattr(registry, "get_model", lambda name: build)
        params = {"model": "R", "model_id": "exp", "task_labels": ["y0"]}
        return lambda: registry.build_model(params, feature_map())

    with pytest.raises(
        ConfigError, match="exp: the model needs more memory than there is: can't a"
    ):
        building(RuntimeError("can't allocate memory"))()
    with pytest.raises(ConfigError, match="exp: depth must be odd"):
        building(ValueError("depth must be odd"))()
    with pytest.raises(RuntimeError, match="shapes differ"):
        building(RuntimeError("shapes differ"))()
