import pytest

from automl.core import nursery
from automl.dataset_db.store import Store


@pytest.fixture
def recorder():
    store = Store()
    yield store
    store.close()


@pytest.fixture
def ready_nursery() -> None:
    """For tests with clocks: workers start at once, what they need is imported already."""
    nursery.spawn("time:sleep", [], 0).wait()
