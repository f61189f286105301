"""The content-addressed cache of encoded splits.

``<data_root>/<dataset_id>/<fingerprint>/`` holds manifest.json, FuxiCTR's feature_map.json and
feature_vocab.json, the encoder (encoder.json and its vocabularies), one h5 file per split, and the
pretrained files. `fingerprint` names the folder by what it depends on; `open_cache` opens it, or has
`build` fill a temporary folder and puts that in place; `write_splits` encodes the rows, `h5_store` writes
and reads the h5 files; several processes that build together each take a share of the rows; `damage`
judges whether a cache is whole; `cache_folder` knows names, locks and readers. For the ``cache`` command,
`inventory` finds the caches of a folder, and `cache_commands` says which of them runs ask for, prints and
removes them.
"""
