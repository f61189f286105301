"""Columns of every kind, whose ids are compared with those of FuxiCTR's own processor."""

from tests.support.datasets import feature

CASES = {
    "categorical str": [feature("cat")],
    "categorical with a fill value": [feature("cat", fill_na="a")],
    "categorical with its own minimum": [feature("cat", min_categr_count=2)],
    "categorical int": [feature("num_id", dtype="int")],
    "categorical int, missing is no token": [feature("num_id", dtype="int", fill_na=-3)],
    "categorical float": [feature("num", dtype="float")],
    "numeric raw": [feature("num", "numeric", "float")],
    "numeric int": [feature("num_id", "numeric", "int", fill_na=5)],
    "numeric filled": [feature("num", "numeric", "float", fill_na=-1.5)],
    "numeric standard": [feature("num", "numeric", "float", normalizer="StandardScaler")],
    "numeric min-max": [feature("num", "numeric", "float", normalizer="MinMaxScaler")],
    "sequence": [feature("seq", "sequence")],
    "sequence pre": [feature("seq", "sequence", padding="pre")],
    "sequence cut": [feature("seq", "sequence", max_len=3)],
    "sequence cut pre": [feature("seq", "sequence", max_len=3, padding="pre")],
    "sequence of one": [feature("seq", "sequence", max_len=1)],
    "sequence longer than any": [feature("seq", "sequence", max_len=20, padding="pre")],
    "sequence with a missing token": [feature("seq", "sequence", fill_na="b")],
    "sequence filled with a number": [feature("seq", "sequence", fill_na=0)],
    "sequence filled with a fraction": [feature("seq", "sequence", fill_na=1e-7)],
    "sequence filled with tokens": [feature("seq", "sequence", fill_na="x^b", padding="pre")],
    "sequence and copy with other fill values": [
        feature("seq", "sequence", fill_na="b"),
        feature("twin", "sequence", preprocess="copy_from(seq)", fill_na="c"),
    ],
    "copy before its sequence, with other fill values": [
        feature("twin", "sequence", preprocess="copy_from(seq)", fill_na="c"),
        feature("seq", "sequence", fill_na="b^x"),
    ],
    "copy of an inactive sequence with a fill value": [
        feature("twin", "sequence", preprocess="copy_from(seq)", fill_na="c"),
        feature("cat"),
        feature("seq", "sequence", active=False, fill_na="b"),
    ],
    "shared cat + seq": [feature("cat"), feature("seq", "sequence", share_embedding="cat")],
    "shared seq + cat": [feature("seq", "sequence"), feature("cat", share_embedding="seq")],
    "shared cat + cat": [feature("cat"), feature("group", share_embedding="cat")],
    "shared by three": [
        feature("cat"),
        feature("group", share_embedding="cat"),
        feature("seq", "sequence", share_embedding="cat", fill_na="c", padding="pre"),
    ],
    "shared, a token missing in one only": [
        feature("seq", "sequence", fill_na="zz"),
        feature("cat", share_embedding="seq"),
    ],
    "shared without tokens of its own": [
        feature("cat"),
        feature("group", share_embedding="cat", remap=False),
    ],
    "meta": [feature("cat"), feature("group", "meta")],
    "meta int": [feature("cat"), feature("num_id", "meta", "int")],
    "meta raw": [feature("cat"), feature("num_id", "meta", "int", remap=False)],
    "meta raw, filled": [
        feature("cat"),
        feature("num_id", "meta", "int", remap=False, fill_na=-70000),
    ],
    "copy": [feature("cat"), feature("twin", "meta", preprocess="copy_from(cat)")],
    "copy first": [feature("twin", preprocess="copy_from(cat)"), feature("cat", fill_na="b")],
    "copy last": [
        feature("cat", fill_na="b"),
        feature("twin", preprocess="copy_from(cat)", fill_na="c"),
    ],
    "copy of an inactive column": [
        feature("twin", preprocess="copy_from(cat)"),
        feature("num_id", dtype="int"),
        feature("cat", active=False, fill_na="a"),
    ],
    "copy of a sequence": [
        feature("seq", "sequence", max_len=2),
        feature("twin", "sequence", preprocess="copy_from(seq)", padding="pre"),
    ],
    "all": [
        feature("cat", min_categr_count=2),
        feature("num_id", dtype="int"),
        feature("seq", "sequence", share_embedding="cat"),
        feature("num", "numeric", "float", normalizer="StandardScaler"),
        feature("group", "meta"),
    ],
}
