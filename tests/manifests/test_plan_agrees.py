"""The manifests keep what `promethios plan` says that a run needs."""

from __future__ import annotations

import json

import pytest

from promethios import plan
from tests.manifests.rendered import GPU_OVERLAYS, OVERLAYS, Object, one, overlay, quantity, training_pod

HOST_BYTES_PER_RANK = 8e9
"""A process with CUDA, its libraries, pinned buffers and loading workers."""


@pytest.fixture
def planned(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> tuple[list[Object], Object]:
    """An overlay and the plan of just that run, with the grace period to be checked."""
    objects = overlay(request.param)
    job, settings = one(objects, "PyTorchJob"), one(objects, "ConfigMap")["data"]
    pod = training_pod(objects)
    overrides = pod["containers"][0].get("args", [])
    code = plan.main(
        [
            *("--config", settings["PROMETHIOS_CONFIG"], "--num_examples", settings["PROMETHIOS_NUM_EXAMPLES"]),
            *("--node", job["metadata"]["annotations"]["promethios/node"], *overrides),
            *("--grace_period_seconds", str(pod["terminationGracePeriodSeconds"]), "--json"),
        ]
    )
    made = json.loads(capsys.readouterr().out)
    assert code == 0, made["problems"]
    return objects, made


@pytest.mark.parametrize("planned", OVERLAYS, indirect=True)
def test_the_grace_period_lets_one_save_end_and_another_be_made(planned: tuple[list[Object], Object]) -> None:
    objects, made = planned
    needed = made["checkpoint"]["needed_grace_seconds"]
    assert needed <= training_pod(objects)["terminationGracePeriodSeconds"] <= max(60, 2 * needed)


@pytest.mark.parametrize("planned", OVERLAYS, indirect=True)
def test_the_volume_holds_the_checkpoints_and_is_not_much_larger(planned: tuple[list[Object], Object]) -> None:
    objects, made = planned
    size = quantity(one(objects, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"])
    assert made["checkpoint"]["volume_bytes"] * 1.05 <= size <= max(2 * 2**30, made["checkpoint"]["volume_bytes"] * 1.5)


@pytest.mark.parametrize("planned", OVERLAYS, indirect=True)
def test_a_checkpoint_fits_into_scratch_and_the_pods_into_their_ephemeral_storage(
    planned: tuple[list[Object], Object],
) -> None:
    objects, made = planned
    pod = training_pod(objects)
    sizes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume}
    assert made["checkpoint"]["full_bytes"] * 1.1 <= quantity(sizes["scratch"]["sizeLimit"])
    on_disk = sum(quantity(each["sizeLimit"]) for each in sizes.values() if each.get("medium") != "Memory")
    assert on_disk < quantity(pod["containers"][0]["resources"]["limits"]["ephemeral-storage"])


@pytest.mark.parametrize("planned", GPU_OVERLAYS, indirect=True)
def test_the_memory_holds_every_rank_a_checkpoint_that_is_read_and_dev_shm(
    planned: tuple[list[Object], Object],
) -> None:
    objects, made = planned
    pod = training_pod(objects)
    shared = next(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "dshm")
    ranks = made["schedule"]["ranks"]
    needed = made["checkpoint"]["full_bytes"] + ranks * HOST_BYTES_PER_RANK + quantity(shared)
    assert needed <= quantity(pod["containers"][0]["resources"]["limits"]["memory"])


@pytest.mark.parametrize("planned", OVERLAYS, indirect=True)
def test_the_ranks_planned_are_the_ranks_started(planned: tuple[list[Object], Object]) -> None:
    objects, made = planned
    spec = one(objects, "PyTorchJob")["spec"]
    assert made["schedule"]["ranks"] == int(spec["nprocPerNode"]) * len(spec["pytorchReplicaSpecs"])
