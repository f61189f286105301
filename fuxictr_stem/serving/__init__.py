"""A finished run as a folder that scores rows.

`run` opens the folder: the model from ``run.json`` and the weights, and the encoder of its columns.
`inputs` reads frames and files into blocks of ids; `predict` runs the model over them batch by batch, into
a frame or a file (`score_files`). `evaluate` reads labels, too, `measure` turns both into metrics, also by
the values of a column, and `evaluation` shows them. `embeddings` gives the vectors of a field's values
away, in frames or files; `gates` shows which experts the tasks listen to.

`scoring_module` is a model without what only training needs, made of `scoring_embedding` (tables as
`stored_rows`) and `scoring_layers`; `programs` writes it as programs of `torch.export` and ONNX, `compiled`
as machine code.
`export` makes an exported folder of them, tried on the raw rows that the run has kept (`export_rows`);
`export_report` compares the metrics of smaller tables. `export_folder` says what such a folder holds, and
judges whether it is whole.

`scorer` scores raw rows (`raw_rows`) by such a folder. It loads no PyTorch, and is imported here.
"""

from fuxictr_stem.serving.scorer import Scorer

__all__ = ["Scorer"]
