"""A finished run as a folder that scores rows.

`run` opens the folder: the model from ``run.json`` and the weights, and the encoder of its columns.
`rows_to_score` reads frames and files into blocks of ids; `predict` runs the model over them batch by
batch, into a frame or a file (`score_files`). `evaluate` also reads labels, `measure` computes metrics, of
all rows and for each value of a column, and `evaluation_result` shows them. `field_vectors` has the vectors
of a field's values, in frames or files; `gate_frames` shows which experts the tasks listen to.

`scoring_module` is a model without what only training needs, made of `scoring_embedding` (tables as
`stored_rows`) and `scoring_layers`; `programs` writes it for `torch.export`, as machine code and as ONNX,
whose large maps `int8_maps` can store in 8 bits. `export` makes an exported folder of them, checked with
raw rows of the run and, with smaller weights, on its test split (`export_trial`). `export_folder` says what
such a folder holds, and checks that it is complete.

`scorer` scores raw rows (`raw_rows`) by such a folder. It loads no PyTorch, and is imported here.
"""

from fuxictr_stem.serving.scorer import Scorer

__all__ = ["Scorer"]
