"""Reading ahead: the next item is made while one is in use, and nothing is left open."""

import threading

import pytest

from fuxictr_stem.runtime.read_ahead import ahead


def test_the_next_item_is_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    passed_on = []
    for number in ahead(items()):
        passed_on.append(number)
        if number < 2:
            assert made[number + 1].wait(timeout=30)
    assert passed_on == [0, 1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_the_source_is_closed_where_its_reader_stops_or_it_fails(fails):
    closed = []

    def items():
        try:
            yield 1
            if fails:
                raise ValueError("row 2")
            yield 2
            yield 3
        finally:
            closed.append(threading.current_thread())

    reader = ahead(items())
    assert next(reader) == 1
    if fails:
        with pytest.raises(ValueError, match="row 2"):
            next(reader)
    reader.close()
    assert len(closed) == 1
