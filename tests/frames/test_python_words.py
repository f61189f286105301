"""Messages speak of arguments, not of keys, options and paths."""

import pytest

from fuxictr_stem.errors import DataError, OutputError, TrainingError
from fuxictr_stem.frames.python_words import (
    ArgumentsError,
    argument_at,
    check_arguments,
    in_python_words,
    python_words,
)
from tests.support.fitted import message


def test_an_error_within_training_says_resume_as_python_does(fit, monkeypatch):
    def stop(*_):
        raise TrainingError("Saved: the same command with --resume continues from there.")

    monkeypatch.setattr("fuxictr_stem.training.trainer.Trainer._evaluate", stop)
    text = message(TrainingError, fit)
    assert text == "Saved: the same call with resume=True continues from there."


@pytest.mark.parametrize(
    ("text", "reworded"),
    [
        (
            "Saved: the same command with --resume continues.",
            "Saved: the same call with resume=True continues.",
        ),
        ("--gpu 7: leave --gpu out", "gpu 7: leave gpu out"),
        ("feature_cols (or use_features) and label_col", "features and labels"),
        ("my_train_data and train_data_2 stay", "my_train_data and train_data_2 stay"),
        ("the folder /a/data_root/b", "the folder /a/data_root/b"),
        ("data_root: /tmp/x (train): cannot be read, /tmp/x", "out: train: cannot be read, train"),
    ],
)
def test_keys_options_and_paths_become_arguments(text, reworded):
    assert in_python_words(text, {"/tmp/x": "train"}) == reworded


@pytest.mark.parametrize(
    ("place", "argument"),
    [
        ("out/config/model_config.yaml, shop_x.epochs", "epochs"),
        ("out/config/model_config.yaml, shop_x.task_labels", "labels"),
        (
            "out/config/dataset_config.yaml, x.feature_cols[3] (price).dtype",
            "features['price'], dtype",
        ),
        (
            "out/config/dataset_config.yaml, x.label_col[0] (a (b)).missing",
            "labels['a (b)'], missing",
        ),
        (
            "out/config/dataset_config.yaml, x.feature_cols[0] (two\nlines)",
            "features['two\\nlines']",
        ),
    ],
)
def test_a_place_in_a_config_is_an_argument(place, argument):
    assert argument_at(place) == argument


def test_errors_for_people_are_reworded_once_and_others_are_not():
    for kind in (DataError, OutputError):
        with (
            pytest.raises(kind, match="^resume=True: rows of train$"),
            python_words({"/x": "train"}),
        ):
            raise kind("--resume: rows of /x")
    with pytest.raises(ArgumentsError, match="--resume"), python_words({}):
        raise ArgumentsError("--resume")
    with pytest.raises(ValueError, match="--resume"), python_words({}):
        raise ValueError("--resume")
    with pytest.raises(ArgumentsError, match="fuxictr_stem.fit: 2 problems"):
        check_arguments(["a", "b"])
    check_arguments([])
