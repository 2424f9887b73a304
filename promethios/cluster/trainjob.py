"""The same job for Kubeflow Trainer v2: a PyTorchJob as TrainingRuntime and TrainJob (trainer.kubeflow.org/v1alpha1).

What differs is only what the two operators differ in. The runtime belongs to this one job: a TrainJob's own fields can
say neither volumes nor security contexts of a container. Its container must be called `node`; exit codes that are final
fail the Job at once and evictions do not count (podFailurePolicy), as `restartPolicy: ExitCode` has it.
Written against kubeflow/trainer v2.3.0, pkg/apis/trainer/v1alpha1 and pkg/runtime/framework/plugins/torch.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from promethios.cluster.connection import Object
from promethios.errors import ClusterError

TRAINER_API: Final = "trainer.kubeflow.org/v1alpha1"
CONTAINER: Final = "node"
JOB_NAME_LABEL: Final = "training.kubeflow.org/job-name"
"""On the pods of a PyTorchJob by its operator; on those of a TrainJob by us, so that both are found and run alike."""
_FINAL_EXIT_CODES: Final = (1, 2, 3, 126, 127)
"""Of promethios/training/README.md below 128, and of a shell that cannot start its command."""
_BACKOFF_LIMIT: Final = 1000
"""The training's own ledger ends a crash loop, long before."""
_TRANSLATED: Final = {"cleanPodPolicy", "suspend", "activeDeadlineSeconds", "backoffLimit"}


def train_job(job: Object) -> list[Object]:
    """Return the TrainingRuntime and the TrainJob of a PyTorchJob. Raises ClusterError for what they cannot say."""
    spec, policy = job["spec"], job["spec"].get("runPolicy", {})
    if untranslated := policy.keys() - _TRANSLATED:
        raise ClusterError(f"--api trainjob: a TrainJob has no runPolicy.{sorted(untranslated)[0]}; remove it")
    replicas = spec["pytorchReplicaSpecs"]
    num_nodes = sum(replica.get("replicas", 1) for replica in replicas.values())
    shared = {key: job["metadata"][key] for key in ("name", "namespace", "labels") if key in job["metadata"]}
    job_spec = {
        "backoffLimit": policy.get("backoffLimit", _BACKOFF_LIMIT),
        "podReplacementPolicy": "Failed",  # two pods at once would write the same checkpoints
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(_FINAL_EXIT_CODES)},
                },
            ]
        },
        "template": _pod_template(replicas, shared["name"], num_nodes),
    }
    step = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    runtime = {
        "apiVersion": TRAINER_API,
        "kind": "TrainingRuntime",
        "metadata": copy.deepcopy(shared),
        "spec": {
            "mlPolicy": {"numNodes": num_nodes, "torch": {}},
            "template": {
                "spec": {"replicatedJobs": [{"name": "node", "template": {"metadata": step, "spec": job_spec}}]}
            },
        },
    }
    trainer: dict[str, Any] = {"numNodes": num_nodes}
    if str(spec.get("nprocPerNode", "auto")).isdigit():
        trainer["numProcPerNode"] = int(spec["nprocPerNode"])
    wanted = {key: policy[key] for key in ("suspend", "activeDeadlineSeconds") if key in policy}
    return [
        runtime,
        {
            "apiVersion": TRAINER_API,
            "kind": "TrainJob",
            "metadata": {**shared, "annotations": job["metadata"].get("annotations", {})},
            "spec": {
                "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": shared["name"]},
                "trainer": trainer,
                **wanted,
            },
        },
    ]


def _pod_template(replicas: dict[str, Object], name: str, num_nodes: int) -> Object:
    """Return the one template of all pods."""
    templates = [copy.deepcopy(replica["template"]) for replica in replicas.values()]
    template: Object = max(templates, key=lambda each: len(each["spec"].get("initContainers", [])))
    if any(_without_init(each) != _without_init(template) for each in templates):
        raise ClusterError("--api trainjob: all its pods are alike, and Master and Worker differ; make them equal")
    template.setdefault("metadata", {}).setdefault("labels", {})[JOB_NAME_LABEL] = name
    pod = template["spec"]
    pod["restartPolicy"] = "Never"
    for container in pod["containers"]:
        if container["name"] == "pytorch":
            container["name"] = CONTAINER
    if num_nodes > 1:  # the first pod makes the data, the others wait for them
        index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
        for container in pod.get("initContainers", []):
            container.setdefault("env", []).append({"name": "PET_NODE_RANK", "valueFrom": index})
    return template


def _without_init(template: Object) -> Object:
    return {**template, "spec": {key: value for key, value in template["spec"].items() if key != "initContainers"}}
