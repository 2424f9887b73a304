"""Clusters for the tests of a session: made when first asked for, gone afterwards, whatever happens to the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import light, node, real
from tests.e2e.cluster.cluster import Cluster, missing
from tests.e2e.cluster.real import RealCluster


@pytest.fixture(scope="session")
def light_cluster() -> Iterator[Cluster]:
    """Control plane and training-operator, two simulated nodes with 8 GPUs each; see tests/e2e/cluster/README.md."""
    if reason := missing():
        pytest.skip(reason)
    cluster = light.start(owned=True)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[RealCluster]:
    """The same with a node whose pods really run, volumes, an S3 server, and the training image."""
    if reason := missing(node.PROGRAMS) or node.unsupported():
        pytest.skip(reason)
    cluster = real.start(owned=True)
    yield cluster
    cluster.stop()
