"""The real node: containerd, kubelet and kube-proxy, so that pods really run, and kube-router for network policies."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.cluster.binaries import BIN
from tests.e2e.cluster.certificates import Authority
from tests.e2e.cluster.cluster import NODE
from tests.e2e.cluster.control_plane import DNS_SERVICE, PODS, SERVICES, Component, Place
from tests.e2e.cluster.keeper import controllers

PAUSE_IMAGE = "localhost/pause:1"
SOCKET = "/run/containerd/containerd.sock"  # inside the cluster's mount namespace
PROGRAMS = ("containerd", "ctr", "runc", "iptables", "ipset", "nft", "conntrack", "buildah")
PROGRAMS += ("mmdebstrap", "prometheus")

CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true  # works without CAP_SYS_RESOURCE, too
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "STATE/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

# ptp, not bridge: traffic between pods of the node is routed, so Services work without br_netfilter.
NETWORK = {
    "cniVersion": "0.4.0",
    "name": "promethios",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-ipam",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False},
    ],
}


def unsupported() -> str:
    """Why no pod could run on this machine, or nothing."""
    return "" if controllers() else "needs cgroup v1, which this machine does not have; kind works with v2"


def write_configuration(place: Place, authority: Authority) -> None:
    """Everything the node's components read."""
    authority.issue("kubelet", f"system:node:{NODE}", "system:nodes", hosts=[NODE, place.address])
    authority.kubeconfig(place.kubeconfig("kubelet"), place.server, "kubelet")
    (place.state / "containerd.toml").write_text(CONTAINERD.replace("STATE", str(place.state)))
    (place.state / "cni").mkdir()
    (place.state / "cni" / "10-ptp.conflist").write_text(json.dumps(NETWORK))
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/promethios{place.number}",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{place.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{place.pki}/kubelet.key",
        # The disk is the machine's: its filling up is not what is tested here.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "failSwapOn": False,
        "syncFrequency": "10s",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(place.kubeconfig("kube-proxy"))},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        # The connection table belongs to the machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    (place.state / "kubelet.json").write_text(json.dumps(kubelet))
    (place.state / "kube-proxy.json").write_text(json.dumps(proxy))


def components(place: Place) -> dict[str, Component]:
    kubelet = [f"{BIN}/kubelet", f"--kubeconfig={place.kubeconfig('kubelet')}", f"--config={place.state}/kubelet.json"]
    kubelet += [f"--hostname-override={NODE}", f"--node-ip={place.address}", "--root-dir=/var/lib/kubelet"]
    policies = [f"{BIN}/kube-router", f"--kubeconfig={place.kubeconfig('kube-router')}", f"--hostname-override={NODE}"]
    policies += [f"--service-cluster-ip-range={SERVICES}", "--health-port=0", "--v=1"]
    return {
        "containerd": Component(["/usr/bin/containerd", "--config", f"{place.state}/containerd.toml"]),
        "kubelet": Component(kubelet),
        "kube-proxy": Component([f"{BIN}/kube-proxy", f"--config={place.state}/kube-proxy.json"]),
        "kube-router": Component([*policies, "--run-firewall", "--run-router=false", "--run-service-proxy=false"]),
    }


def binds(place: Place, containerd_root: Path) -> dict[str, str]:
    """The node's own /var/lib and /var/log; containerd's images outlive the cluster, so that they load once."""
    for name in ("var-lib", "var-log"):
        (place.state / name).mkdir()
    return {
        "/var/lib": str(place.state / "var-lib"),
        "/var/log": str(place.state / "var-log"),
        "/var/lib/containerd": str(containerd_root),
    }
