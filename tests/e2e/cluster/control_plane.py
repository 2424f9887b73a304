"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: how they are started in a cluster's namespaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster.binaries import BIN
from tests.e2e.cluster.certificates import USERS, Authority, service_account_key

SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PODS = "10.244.0.0/24"


@dataclass(frozen=True)
class Component:
    """A process that the supervisor keeps running."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where one cluster lives: its folder, and its /30 network with this machine."""

    state: Path
    number: int

    @property
    def address(self) -> str:
        """The cluster's (single) real node and API server."""
        return f"10.250.{self.number}.1"

    @property
    def gateway(self) -> str:
        """This machine, as the cluster sees it."""
        return f"10.250.{self.number}.2"

    @property
    def server(self) -> str:
        return f"https://{self.address}:6443"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    def kubeconfig(self, user: str) -> Path:
        return self.state / f"{user}.kubeconfig"


def make_identities(place: Place) -> Authority:
    """The CA, the API server's certificates, and a kubeconfig for every user."""
    authority = Authority(place.pki)
    domain = ["kubernetes", "default", "svc", "cluster", "local"]
    names = [".".join(domain[:parts]) for parts in (1, 2, 3, 5)]
    authority.issue("apiserver", "kube-apiserver", hosts=[*names, "localhost", "127.0.0.1", place.address, API_SERVICE])
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    for user, (common_name, organisation) in USERS.items():
        authority.issue(user, common_name, organisation)
        authority.kubeconfig(place.kubeconfig(user), place.server, user)
    service_account_key(place.pki / "service-accounts.key")
    return authority


def components(place: Place) -> dict[str, Component]:
    """By name. etcd does not sync to disk: nothing here outlives the tests."""
    pki = place.pki
    etcd = [
        *(f"{BIN}/etcd", f"--data-dir={place.state}/etcd", "--unsafe-no-fsync", "--log-level=warn"),
        *("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"),
        "--listen-peer-urls=http://127.0.0.1:2380",
    ]
    api_server = [
        *(f"{BIN}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={place.address}"),
        *(f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key"),
        *(f"--client-ca-file={pki}/ca.crt", f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=Node,RBAC"),
        *(f"--kubelet-client-certificate={pki}/kubelet-client.crt", f"--kubelet-client-key={pki}/kubelet-client.key"),
        *("--kubelet-preferred-address-types=InternalIP", "--enable-admission-plugins=NodeRestriction"),
        *("--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--allow-privileged=true"),
        *(f"--service-account-{use}-file={pki}/service-accounts.key" for use in ("key", "signing-key")),
        "--enable-aggregator-routing=true",  # reach webhooks at their endpoints: *light* has no kube-proxy
    ]
    controllers = [
        *(f"{BIN}/kube-controller-manager", f"--kubeconfig={place.kubeconfig('kube-controller-manager')}"),
        *("--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1"),
        *(f"--service-account-private-key-file={pki}/service-accounts.key", f"--root-ca-file={pki}/ca.crt"),
        *(f"--cluster-cidr={PODS}", "--allocate-node-cidrs=false"),
    ]
    scheduler = [f"{BIN}/kube-scheduler", f"--kubeconfig={place.kubeconfig('kube-scheduler')}"]
    return {
        "etcd": Component(etcd),
        "kube-apiserver": Component(api_server),
        "kube-controller-manager": Component(controllers),
        "kube-scheduler": Component([*scheduler, "--leader-elect=false", "--bind-address=127.0.0.1"]),
    }
