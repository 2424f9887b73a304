"""200 jobs on 200 simulated nodes of 8 GPUs: API server, scheduler and training-operator are the real ones."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import scale
from tests.e2e.cluster.cluster import Cluster

pytestmark = pytest.mark.e2e

JOBS = 200


def test_200_jobs_run_at_once_each_on_a_node_of_its_own_and_all_succeed(light_cluster: Cluster) -> None:
    outcome = scale.run_jobs(light_cluster, JOBS)
    assert len(set(outcome.nodes)) == JOBS
    assert outcome.succeeded == JOBS
