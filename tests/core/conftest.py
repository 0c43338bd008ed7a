import pytest

from automl.dataset_db.store import Store


@pytest.fixture
def recorder():
    store = Store()
    yield store
    store.close()
