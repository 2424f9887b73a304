"""Container images of the real cluster: single programs packed here, the others built from their Dockerfiles.

No registry: images go straight into containerd's store, which is kept in the cache, layer by layer what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.e2e.cluster.binaries import BIN, CACHE, cache_lock

ROOT = Path(__file__).parents[3]
BASE = "localhost/python:3.11-slim"
TAG = version("promethios")  # that manifests/base names, and the chart by default
TRAIN = f"promethios/train:{TAG}"
POSTGRESQL = "postgres:15"
BUILDAH = ["buildah", f"--root={CACHE}/buildah", "--storage-driver=overlay"]
LARGEST_LAYER_GB = 6
DEBIAN = ["python3.11", "python3-pip", "python3.11-venv", "ca-certificates"]


@dataclass(frozen=True)
class Image:
    """An OCI image: its name, manifest and blobs, the latter as bytes or as files."""

    name: str
    manifest: dict[str, Any]
    blobs: dict[str, bytes | Path]

    def write(self, stream: Any, known: set[str]) -> None:
        """As an OCI archive without the blobs that the reader has already."""
        manifest = json.dumps(self.manifest).encode()
        entry = {"mediaType": self.manifest["mediaType"], "digest": digest(manifest), "size": len(manifest)}
        entry["annotations"] = {"io.containerd.image.name": self.name}
        index = {"schemaVersion": 2, "manifests": [entry]}
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            add(archive, "index.json", json.dumps(index).encode())
            for name, content in {**self.blobs, digest(manifest): manifest}.items():
                if name not in known:
                    add(archive, f"blobs/sha256/{name.removeprefix('sha256:')}", content)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, Path):
        entry.size = content.stat().st_size
        with content.open("rb") as file:
            archive.addfile(entry, file)
    else:
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def program_image(name: str, program: str, entrypoint: str) -> Image:
    """One static program and nothing else, under an unprivileged user."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        content = (BIN / program).read_bytes()
        entry = tarfile.TarInfo(entrypoint.removeprefix("/"))
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    content = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"User": "65532:65532", "Entrypoint": [entrypoint]},
            "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
        }
    ).encode()
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": digest(content), "size": len(content)}],
    }
    return Image(name, manifest, {digest(config): config, digest(content): content})


def built_images() -> list[Image]:
    """Ours from images/, on a Debian base made here, and a PostgreSQL. Minutes the first time, later what changed."""
    with cache_lock("images"):
        _base()
        train = ROOT / "images/train/Dockerfile"
        # The engine's on top of what training needs: it has torch already, gigabytes that are kept once.
        _bud("train-dependencies", train, BASE, "--target=dependencies")
        engine = ("--build-arg=REQUIREMENTS=serve-cpu.txt", "--build-arg=PACKAGES=libnuma1")
        wrapped = ("--build-arg=REQUIREMENTS=serve-wrapped.txt", "--build-arg=PACKAGES=")
        return [
            _built(TRAIN, train, BASE),
            _built(f"promethios/engine-cpu:{TAG}", ROOT / "images/engine/Dockerfile", "train-dependencies", *engine),
            _built(f"promethios/engine-wrapped:{TAG}", ROOT / "images/engine/Dockerfile", BASE, *wrapped),
            _built(f"promethios/hub:{TAG}", ROOT / "images/hub/Dockerfile", BASE),
            _built(POSTGRESQL, Path(__file__).parent / "postgresql" / "Dockerfile", BASE),
        ]


def _bud(name: str, recipe: Path, base: str, *options: str) -> None:
    """Build an image in buildah's store; the repository is the context of our own."""
    _require_space()
    always = ["--layers", "--force-rm", "--format=oci", f"--tag={name}", f"--build-arg=BASE={base}"]
    ours = recipe.is_relative_to(ROOT / "images")
    # A package of the other makes a certificate, where this machine's would be mounted for reading only.
    settings = _machine_settings() if ours else []
    _buildah("bud", *always, *options, *settings, f"--file={recipe}", str(ROOT if ours else recipe.parent))


def _built(name: str, recipe: Path, base: str, *options: str) -> Image:
    """An image from its Dockerfile, with its layers as files of an OCI layout, to which only new layers are written."""
    _bud(name, recipe, base, *options)
    folder = CACHE / "images" / name.replace("/", "-").partition(":")[0]
    identity = _buildah("images", "--quiet", "--no-trunc", name).strip()
    if not (folder / "index.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of another form, or half pushed
        folder.mkdir(parents=True)
    elif (image := _image_in(folder, name)).manifest["config"]["digest"] == identity:
        return image
    _require_space()
    _buildah("push", "--disable-compression", name, f"oci:{folder}:{TAG}")
    return _image_in(folder, name)


def _require_space() -> None:
    """Before the next layer could fill a disk that other things on this machine live on, too.

    Raises:
        RuntimeError: It could.
    """
    free = shutil.disk_usage(CACHE).free / 1e9
    if free < LARGEST_LAYER_GB:
        raise RuntimeError(
            f"{CACHE} has {free:.1f} GB free and a layer takes up to {LARGEST_LAYER_GB} GB; free some, or remove the "
            "folder: it is a cache"
        )


def _image_in(folder: Path, name: str) -> Image:
    """What buildah pushed last into a folder; layers of earlier builds go."""
    index = json.loads((folder / "index.json").read_text())
    entry = index["manifests"][-1]
    store = folder / "blobs" / "sha256"
    manifest_file = store / entry["digest"].removeprefix("sha256:")
    manifest = json.loads(manifest_file.read_text())
    manifest.setdefault("mediaType", "application/vnd.oci.image.manifest.v1+json")
    parts = [manifest["config"], *manifest["layers"]]
    blobs: dict[str, bytes | Path] = {part["digest"]: store / part["digest"].removeprefix("sha256:") for part in parts}
    (folder / "index.json").write_text(json.dumps({**index, "manifests": [entry]}))
    for path in set(store.iterdir()) - set(blobs.values()) - {manifest_file}:
        path.unlink()
    repository = name if "/" in name else f"library/{name}"
    return Image(f"docker.io/{repository}", manifest, blobs)


def _base() -> None:
    """Stands in for python:3.11-slim where no registry can be reached: the same Debian, the same Python."""
    if _buildah("images", "--quiet", f"--filter=reference={BASE}").strip():
        return
    archive = CACHE / "base.tar"
    if not archive.exists():
        partial = CACHE / "base.partial.tar"
        without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        finish = 'ln -sf python3.11 "$1/usr/bin/python"; rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'
        subprocess.run(
            [
                *("mmdebstrap", "--variant=minbase", f"--include={','.join(DEBIAN)}", "--quiet", *without),
                *('--aptopt=APT::Install-Recommends "false"', f"--customize-hook={finish}"),
                *("bookworm", str(partial), "/etc/apt/sources.list.d/debian.sources"),
            ],
            check=True,
        )
        partial.rename(archive)
    container = _buildah("from", "scratch").strip()
    _buildah("add", container, str(archive), "/")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    _buildah("config", f"--env={path}", "--env=LANG=C.UTF-8", "--cmd=python3", container)
    _buildah("commit", "--rm", "--format=oci", container, BASE)


def _machine_settings() -> list[str]:
    """This machine's certificates and package index hold during the build, too; nothing of it stays in the image."""
    uv = CACHE / "uv.toml"
    uv.write_text("system-certs = true\n")
    seen = {"/etc/ssl/certs": "/etc/ssl/certs", "/etc/pip.conf": "/etc/pip.conf", str(uv): "/etc/uv/uv.toml"}
    return [f"--volume={source}:{target}:ro" for source, target in seen.items() if Path(source).exists()]


def _buildah(*words: str) -> str:
    """In mounts of its own: buildah would leave some on the machine."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    with tempfile.TemporaryDirectory() as run:
        command = ["unshare", "--mount", "--propagation=private", *BUILDAH, f"--runroot={run}", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"buildah {words[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def load(images: Iterable[Image], ctr: list[str], store: Path) -> None:
    """Into containerd, through its `ctr` command; blobs that its store has are not sent again, old images go."""
    images = list(images)
    names = subprocess.check_output([*ctr, "images", "ls", "--quiet"], text=True).split()
    if old := set(names) - {image.name for image in images}:
        subprocess.run([*ctr, "images", "rm", *old], check=True, stdout=subprocess.DEVNULL)
    for image in images:
        _require_space()
        known = set(subprocess.check_output([*ctr, "content", "ls", "--quiet"], text=True).split())
        # Whole the second time: containerd collects garbage meanwhile, and a blob may be gone when it is used.
        if failure := _import(image, ctr, known):
            failure = _import(image, ctr, set())
        if failure:
            raise RuntimeError(f"containerd did not take {image.name}:\n{failure}")
        for blob, path in image.blobs.items():
            same = store / "io.containerd.content.v1.content" / "blobs" / blob.replace(":", "/")
            if isinstance(path, Path) and same.exists() and not same.samefile(path):
                path.unlink()
                path.hardlink_to(same)  # gigabytes, once instead of twice


def _import(image: Image, ctr: list[str], known: set[str]) -> str:
    """Send an image without the blobs that are known; returns why containerd did not take it, or nothing."""
    with tempfile.TemporaryFile("w+") as errors:
        command = [*ctr, "images", "import", "-"]
        importer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert importer.stdin
        with contextlib.suppress(BrokenPipeError), importer.stdin as stream:  # what it did not like is in `errors`
            image.write(stream, known)
        if not importer.wait():
            return ""
        errors.seek(0)
        return errors.read() or f"ctr ended with {importer.returncode}"
