"""The labels that a label is nested in."""

from fuxictr_stem.models.nested_labels import ancestors


def test_ancestors_end_at_a_label_without_parent_or_in_a_circle():
    chain = [{"name": "a"}, {"name": "b", "parent": "a"}, {"name": "c", "parent": "b"}]
    assert [ancestors(chain, name) for name in "abcx"] == [[], ["a"], ["b", "a"], []]
    chain[0]["parent"] = "c"
    assert ancestors(chain, "b") == ["a", "c", "b"]
