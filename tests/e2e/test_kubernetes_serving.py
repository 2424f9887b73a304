"""helm install in a real cluster, on the model trained there: ask, review, learn; roll, kill, fetch, remove."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store
from openai import APIError, OpenAI

from promethios.data.feedback import feedback_sha256, read_supervised
from tests.e2e.cluster import console, jobs, prometheus, webhook
from tests.e2e.cluster.images import TAG
from tests.e2e.cluster.jobs import JOB, Run
from tests.e2e.cluster.real import BUCKET, S3_KEY, S3_PORT, S3_SECRET, RealCluster
from tests.e2e.cluster.release import BIN, Release, claim, get_json, post_json, restricted_namespace

pytestmark = pytest.mark.e2e

CLIENTS = 8
STREAMS = 200
CLAIMS = ("spool", "audit")
Reaches = Callable[[str, int], bool]


@pytest.fixture(scope="module")
def release(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The rehearsal, trained; then the chart on what it left on its volume."""
    overlay = jobs.write_overlay(tmp_path_factory.mktemp("overlays") / "serving", "cpu-rehearsal", namespace="serving")
    run = Run(real_cluster, JOB, "serving")
    with run.applied(overlay):
        run.wait_until_succeeded()
        restricted_namespace(real_cluster, "serving")
        installed = Release(real_cluster, "serving")
        real_cluster.apply(*(claim(name, "serving") for name in CLAIMS))
        installed.make_keys()
        model = {"name": "promethios-training", "subPath": f"runs/{JOB}"}
        installed.install(model, *CLAIMS)
        yield installed


def client(release: Release, key: str = "app") -> OpenAI:
    return OpenAI(base_url=f"{release.engine_url}/v1", api_key=release.keys[key], max_retries=0, timeout=120)


def ask(release: Release, **more: Any) -> Any:
    """An answer with the decision's headers."""
    question = {"role": "user", "content": "May I take both tablets at once?"}
    raw = client(release, more.pop("key", "app")).chat.completions.with_raw_response
    return raw.create(model="promethios", messages=[question], max_tokens=8, **more)


def test_the_pods_are_ready_and_helm_s_own_test_passes(release: Release) -> None:
    assert [len(release.pods(part)) for part in ("engine", "hub", "postgresql")] == [1, 1, 1]
    release.helm("test", release.name, "--timeout=180s")


def test_openai_s_client_gets_an_answer_and_its_decision(release: Release) -> None:
    reply = ask(release)
    governance = json.loads(reply.text)["governance"]
    assert governance["decision"] == reply.headers["x-promethios-decision"]
    assert 0 <= governance["probability"] <= 1
    assert reply.parse().choices[0].message.content is not None


def test_a_stream_ends_with_its_decision(release: Release) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    stream = client(release).chat.completions.create(model="promethios", messages=messages, max_tokens=16, stream=True)
    chunks = [chunk.model_dump() for chunk in stream]
    assert chunks[-1]["governance"]["decision"]
    assert [c for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]


def test_a_stranger_is_refused(release: Release) -> None:
    with pytest.raises(APIError, match="API key"):
        OpenAI(base_url=f"{release.engine_url}/v1", api_key="pk-none", max_retries=0).models.list()


@contextmanager
def standing_by(release: Release, labels: dict[str, str], namespace: str | None = None) -> Iterator[Reaches]:
    """A pod with these labels, in the release's namespace or another one; yields whether it reaches a host and port."""
    visited = Release(release.cluster, namespace or release.namespace)
    container = {
        "name": "visitor",
        "image": f"promethios/engine-wrapped:{TAG}",
        "command": ["python", "-c", "import time; time.sleep(600)"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": secure, "terminationGracePeriodSeconds": 0}
    metadata = {"name": "visitor", "namespace": visited.namespace, "labels": labels}
    release.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    try:
        visited.kubectl("wait", "--for=condition=Ready", "pod/visitor", "--timeout=60s")
        yield partial(visited.reaches, "visitor")
    finally:
        visited.kubectl("delete", "pod", "visitor", "--wait")


def test_nothing_gets_through_that_no_policy_allows(release: Release) -> None:
    restricted_namespace(release.cluster, "strangers")
    engine, hub, database = (
        (f"{release.name}-promethios-{part}.{release.namespace}", port)
        for part, port in (("engine", 8000), ("hub", 8080), ("postgresql", 5432))
    )
    elsewhere = (release.cluster.place.address, S3_PORT)
    wait = release.cluster.wait  # for kube-router to learn of a pod
    with standing_by(release, {}) as neighbour_reaches:
        wait(lambda: neighbour_reaches(*engine) and neighbour_reaches(*hub), "the API is open to a neighbour")
        assert not neighbour_reaches(*database)
        assert neighbour_reaches(*elsewhere)  # it is not ours to forbid
    with standing_by(release, {}, "strangers") as stranger_reaches:
        assert not any(stranger_reaches(*part) for part in (engine, hub, database))
    [pod] = release.pods("engine")
    engine_reaches = partial(release.reaches, pod["metadata"]["name"])
    assert engine_reaches(*hub)
    assert not engine_reaches(*database) and not engine_reaches(*elsewhere)
    training = {"app.kubernetes.io/name": "promethios", "app.kubernetes.io/component": "training"}
    with standing_by(release, training) as trainer_reaches:  # without the components feedback and object-store
        wait(lambda: not trainer_reaches(*elsewhere), "its own policies hold")
        assert not any(trainer_reaches(*part) for part in (engine, hub, database, elsewhere))


def escalated(release: Release) -> str:
    """The id of a review: requests, with telemetry as bad as it can be, until one is handed to a person."""
    sensor = {"subject": {}, "telemetry": dict.fromkeys(("trust", "verify", "attest", "bound"), 0.01)}
    with release.forwarded("hub", 8080) as hub:
        post_json(f"{hub}/v1/telemetry", release.keys["sensor"], sensor)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        governance = json.loads(ask(release).text)["governance"]
        if governance["decision"] == "escalate":
            assert governance["review_id"]
            return str(governance["review_id"])
    raise AssertionError("no request was escalated")


def test_an_escalation_is_reviewed_and_the_cluster_trains_again_on_what_the_reviewer_did(
    release: Release, tmp_path: Path
) -> None:
    review_id = escalated(release)
    with release.forwarded("hub", 8080) as hub:
        review = release.cluster.wait(
            lambda: found(lambda: get_json(f"{hub}/v1/reviews/{review_id}", release.keys["ann"])), "the hub has it"
        )
        assert review["decision"] == "escalate"
        release.cluster.wait(
            lambda: get_json(f"{hub}/v1/reviews/{review_id}", release.keys["ann"])["response"], "its answer is complete"
        )
        with console.signed_in(hub, release.keys["ann"]) as page:
            console.override(page, hub, review_id, "answer", "Yes, with water.")
        reply = get_json(f"{hub}/v1/reviews/{review_id}/reply", release.keys["app"])
        assert (reply["decision"], reply["response"]) == ("answer", "Yes, with water.")
        export = [
            str(BIN / "promethios"),
            "feedback",
            "export",
            "--hub",
            hub,
            "--output_dir",
            str(tmp_path / "feedback"),
        ]
        environment = {"PROMETHIOS_HUB_KEY": release.keys["boss"], "PATH": "/usr/bin"}
        subprocess.run(export, check=True, env=environment, capture_output=True)
    lines = (tmp_path / "feedback" / "supervised.jsonl").read_text(encoding="utf-8").splitlines()
    assert review_id in [json.loads(line)["id"] for line in lines]
    run = train_again(release, tmp_path / "overlay")
    learned = run.folder.parent.parent / "feedback" / run.job
    assert review_id in [example.id for example in read_supervised(learned)[0]]
    facts = json.loads((run.folder / "training_run.json").read_text(encoding="utf-8"))
    assert facts["feedback_sha256"] == feedback_sha256(learned)


def found(look: Callable[[], Any]) -> Any:
    """What `look` returns, or None as long as there is no such thing, or no database behind the hub."""
    try:
        return look()
    except urllib.error.HTTPError as error:
        if error.code in (404, 503):
            return None
        raise


def train_again(release: Release, overlay: Path) -> Run:
    """The rehearsal once more beside the release, on what its hub's reviewers did; returns when it has succeeded."""
    jobs.write_overlay(
        overlay,
        "cpu-rehearsal",
        namespace=release.namespace,
        components=["feedback"],
        patches=[jobs.named("promethios-training-again", ["--set", "training.max_steps=3"])],
        secretGenerator=[
            {
                "name": "promethios-hub",
                "literals": [f"PROMETHIOS_HUB_KEY={release.keys['boss']}"],
                "options": {"disableNameSuffixHash": True},
            }
        ],
    )
    run = Run(release.cluster, "promethios-training-again", release.namespace)
    with run.applied(overlay):
        run.wait_until_succeeded()
    return run


class Load:
    """Clients that stream one answer after the other until they are told to stop; every answer's end is counted.

    Each request has a name of its own, so that one that was decided twice would be seen. Nothing is asked again.
    """

    def __init__(self, release: Release, clients: int) -> None:
        self.release = release
        self.ends: Counter[str] = Counter()
        self.escalated: set[str] = set()
        self.names: set[str] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=200)

    def _run(self) -> None:
        engine = client(self.release)  # one connection pool each, kept alive as applications do
        while not self._stop.is_set():
            try:
                end = self._stream(engine)
            except Exception as error:  # noqa: BLE001 whatever it is, it is counted
                end = "failed"
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                time.sleep(0.2)
            with self._lock:
                self.ends[end] += 1

    def _stream(self, engine: OpenAI) -> str:
        name, messages = f"load-{uuid.uuid4().hex}", [{"role": "user", "content": "Tell me about it"}]
        finished, governed = False, False
        with self._lock:
            self.names.add(name)
        options: dict[str, Any] = {"max_tokens": 60, "stream": True, "extra_headers": {"x-request-id": name}}
        create = engine.chat.completions.with_streaming_response.create
        with create(model="promethios", messages=messages, **options) as response:
            if response.headers["x-promethios-decision"] == "escalate":
                with self._lock:
                    self.escalated.add(response.headers["x-promethios-decision-id"])
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line.removeprefix("data: "))
                    finished |= any(choice["finish_reason"] for choice in chunk.get("choices", []))
                    governed |= "governance" in chunk
        return "whole" if finished and governed else "cut"


def test_a_rolling_restart_under_streaming_clients_cuts_no_answer_and_fails_no_request(release: Release) -> None:
    before = {pod["metadata"]["name"] for pod in release.pods("engine")}
    with Load(release, CLIENTS) as load:
        release.cluster.wait(lambda: load.ends["whole"] > CLIENTS, "the clients stream", timeout=120)
        release.kubectl("rollout", "restart", f"deployment/{release.name}-promethios-engine")
        release.rolled_out(f"deployment/{release.name}-promethios-engine", timeout=500)
        release.cluster.wait(lambda: sum(load.ends.values()) >= STREAMS, "enough answers", timeout=400)
    after = {pod["metadata"]["name"] for pod in release.pods("engine")}
    assert not before & after
    assert load.ends == {"whole": load.ends["whole"]}, (load.ends, load.failures[:5])
    assert load.ends["whole"] >= STREAMS


def reviews_of(release: Release) -> set[str]:
    """The ids of the reviews in the hub."""
    ids: set[str] = set()
    with release.forwarded("hub", 8080) as hub:
        for state in ("open", "done"):
            after = 0
            while after is not None:
                page = get_json(f"{hub}/v1/reviews?state={state}&limit=200&after={after}", release.keys["ann"])
                ids.update(item["id"] for item in page["data"])
                after = page["next"]
    return ids


def audited(release: Release) -> list[dict[str, Any]]:
    """Every decision that an engine of the release wrote down; of a torn line the answer never left."""
    files = release.cluster.volume_of("audit", release.namespace).glob("*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def settle(release: Release, ids: set[str]) -> None:
    """A person decides each of them, and tries it once more."""
    with release.forwarded("hub", 8080) as hub:
        for review_id in ids:
            url = f"{hub}/v1/reviews/{review_id}"
            version = get_json(url, release.keys["ann"])["version"]
            decision = {"action": "override", "decision": "answer", "response": "Yes.", "version": version}
            assert post_json(f"{url}/decide", release.keys["ann"], decision)["state"] == "done"
            with pytest.raises(urllib.error.HTTPError, match="409"):
                post_json(f"{url}/decide", release.keys["ann"], decision)


def killed(release: Release, part: str) -> None:
    """kill -9, as by the kernel when memory is short; the container starts again."""
    [pod] = release.pods(part)
    release.kill(pod)


def lost(release: Release, part: str) -> None:
    """Without a word, as with its node; another pod takes its place."""
    [pod] = release.pods(part)
    release.kill(pod)
    release.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


@pytest.mark.parametrize(
    ("part", "disturb"), [("hub", killed), ("postgresql", killed), ("engine", killed), ("engine", lost)]
)
def test_no_review_is_lost_and_none_doubled_when_under_load(
    release: Release, part: str, disturb: Callable[[Release, str], None]
) -> None:
    escalated(release)  # telemetry is bad, so that there are reviews to lose
    with Load(release, 2) as load:
        release.cluster.wait(lambda: len(load.escalated) >= 3, "reviews are made", timeout=200)
        disturb(release, part)
        if part == "engine":
            release.rolled_out(f"deployment/{release.name}-promethios-engine", timeout=400)
        count = len(load.escalated)
        release.cluster.wait(lambda: len(load.escalated) >= count + 3, "reviews are made again", timeout=300)
    for workload in ("statefulset/{}-promethios-postgresql", "deployment/{}-promethios-hub"):
        release.rolled_out(workload.format(release.name))
    release.cluster.wait(
        lambda: load.escalated <= (found(lambda: reviews_of(release)) or set()),
        "every review arrives",
        timeout=180,
        poll=3,
    )
    decided = audited(release)
    named = [record["request_id"] for record in decided if record["request_id"] in load.names]
    assert len(named) >= load.ends["whole"] and set(Counter(named).values()) == {1}
    ids = Counter(record["id"] for record in decided)
    assert set(ids.values()) == {1}
    assert reviews_of(release) <= set(ids)  # no review without its one decision
    settle(release, load.escalated)
    place = release.cluster.place
    release.cluster.wait(lambda: load.escalated <= set(webhook.told(place)), "the webhook is told of every decision")
    assert {webhook.told(place)[review_id] for review_id in load.escalated} == {1}


def test_prometheus_scrapes_every_metric_that_dashboards_and_alerts_name(release: Release) -> None:
    from tests.helm.test_monitoring import DASHBOARDS, METRIC, SUFFIX, expressions, rules

    wanted = {name for board in DASHBOARDS.values() for each in expressions(board) for name in METRIC.findall(each)}
    wanted |= {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    ports = {"engine": 8000, "hub": 8080}
    prometheus.watch(
        release.cluster,
        [f"{pod['status']['podIP']}:{port}" for part, port in ports.items() for pod in release.pods(part)],
    )
    place = release.cluster.place
    release.cluster.wait(lambda: len(prometheus.query(place, "up{job='serving'} == 1")) == 2, "both are scraped")
    series = {item["metric"]["__name__"] for item in prometheus.query(place, '{job="serving"}')}
    known = series | prometheus.described(place)  # a counter with labels has no sample before its first event
    assert {name for name in wanted if not {name, SUFFIX.sub("", name)} & known} == set()


def upload(cluster: RealCluster, folder: Path, prefix: str) -> dict[str, Any]:
    """Put an exported model into the cluster's S3 server; returns what the chart is told of it."""
    store = S3Store(
        BUCKET,
        prefix=prefix,
        endpoint=cluster.s3_url,
        region="us-east-1",
        access_key_id=S3_KEY,
        secret_access_key=S3_SECRET,
        client_options={"allow_http": True},
    )
    for path in (path for path in folder.rglob("*") if path.is_file()):
        store.put(str(path.relative_to(folder)), path)
    endpoint = [{"name": "AWS_ENDPOINT_URL", "value": cluster.s3_url}, {"name": "AWS_REGION", "value": "us-east-1"}]
    return {"url": f"s3://{BUCKET}/{prefix}", "existingSecret": "object-store", "env": endpoint}


def test_a_model_of_an_object_store_is_served_when_its_bytes_are_those_that_were_exported(
    release: Release, tmp_path: Path
) -> None:
    cluster, keys = release.cluster, {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET}
    metadata = {"name": "object-store", "namespace": release.namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    trained = Run(cluster, JOB, release.namespace).folder
    export = [str(BIN / "promethios"), "export", "--model_path", str(trained), "--output_path", str(tmp_path / "model")]
    subprocess.run(export, check=True, capture_output=True)
    sound = upload(cluster, tmp_path / "model", "models/sound")
    weights = bytearray((tmp_path / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model" / "model.safetensors").write_bytes(weights)
    damaged = upload(cluster, tmp_path / "model", "models/damaged")

    stored = Release(cluster, release.namespace, name="stored")
    stored.install_engine(release, damaged)
    try:
        reason = cluster.wait(lambda: refusal(stored), "the damaged model is refused", explain=stored.explain)
        assert "belongs to weights" in reason
        [pod] = stored.pods("engine")
        assert {item["type"]: item["status"] for item in pod["status"]["conditions"]}["Ready"] == "False"
        stored.install_engine(release, sound)
        stored.rolled_out("deployment/stored-promethios-engine")
        assert json.loads(ask(stored).text)["governance"]["decision"]
    finally:
        stored.helm("uninstall", stored.name, "--wait", "--timeout=240s")


def refusal(stored: Release) -> str:
    """What `kubectl describe pod` says of an init container that failed; nothing until one has."""
    [pod] = stored.pods("engine")
    [status] = pod["status"]["initContainerStatuses"]
    ended = status["state"].get("terminated") or status["lastState"].get("terminated") or {}
    return str(ended.get("message", ""))


def test_an_experiment_shares_requests_out_among_the_engine_and_the_same_engine_wrapped(release: Release) -> None:
    """In a release of its own, whose outcomes go to the hub of the other one."""
    upstream = {"upstream": f"http://{release.name}-promethios-engine:8000/v1", "key_env": "ENGINE_KEY", "weight": 1}
    arms = {"native": {**upstream, "native": True}, "wrapped": {**upstream, "model": "promethios"}}
    experiment = json.dumps({"name": "native_or_wrapped", "arms": arms})
    metadata = {"name": "experiment", "namespace": release.namespace}
    data = {"experiment.yaml": experiment}
    release.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    compared = Release(release.cluster, release.namespace, name="compared")
    compared.install_wrapped(release, "experiment")
    try:
        compared.rolled_out("deployment/compared-promethios-engine")
        new = {"name": "native_or_wrapped", "control": "wrapped", "arms": list(arms)}
        with release.forwarded("hub", 8080) as hub:
            post_json(f"{hub}/v1/experiments", release.keys["boss"], new)
            for number in range(12):
                session = {"x-promethios-session": f"session-{number}"}
                assert json.loads(ask(compared, extra_headers=session).text)["governance"]["decision"]
                responses = client(compared).responses.with_raw_response
                reply = responses.create(model="promethios", input="May I?", max_output_tokens=8, extra_headers=session)
                assert reply.parse().output_text and json.loads(reply.text)["governance"]["decision"]

            def counted() -> dict[str, int]:
                found = get_json(f"{hub}/v1/experiments/native_or_wrapped", release.keys["boss"])
                return {arm["arm"]: arm["requests"] for arm in found["report"]}

            release.cluster.wait(lambda: sum(counted().values()) == 24, "every outcome arrives", timeout=60)
            assert min(counted().values()) > 0 and set(counted()) == set(arms)
    finally:
        compared.helm("uninstall", compared.name, "--wait", "--timeout=240s")


def test_an_upgrade_restarts_what_it_changes_and_uninstall_leaves_nothing(release: Release) -> None:
    def pods() -> dict[str, set[str]]:
        parts = ("engine", "hub", "postgresql")
        return {part: {pod["metadata"]["uid"] for pod in release.pods(part)} for part in parts}

    before = pods()
    release.upgrade()
    assert pods() == before, "nothing changed"
    release.values["hub"]["retentionDays"] = 30
    release.upgrade()
    after = pods()
    assert {part for part in after if after[part] != before[part]} == {"hub"}
    release.helm("uninstall", release.name, "--wait", "--timeout=240s")
    release.cluster.wait(
        lambda: not release.remains(), "everything is gone", explain=lambda: "\n".join(release.remains())
    )
    kept = release.kubectl("get", "pvc", "--output=name").split()  # the user's own
    assert set(kept) == {f"persistentvolumeclaim/{name}" for name in (*CLAIMS, "promethios-training")}
