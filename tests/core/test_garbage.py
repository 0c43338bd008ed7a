"""Python's garbage collector is as it was once nobody needs it out of the way."""

import gc

from automl.core.garbage import settled, uncollected


def test_collections_go_on_afterwards() -> None:
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_there_was_is_collected_again_unless_somebody_else_had_left_it_out() -> None:
    frozen_by_the_suite = gc.get_freeze_count()
    gc.unfreeze()
    try:
        with settled():
            with settled():
                pass
            assert gc.get_freeze_count()  # the outer one's
        assert not gc.get_freeze_count()
        gc.freeze()
        with settled():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
        if frozen_by_the_suite:
            gc.freeze()
