"""One product for the tests that only use it; tests that kill things start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes.product import Product, product


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/processes" in item.nodeid:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("product")) as started:
        yield started
