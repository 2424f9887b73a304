"""Fetch an exported model folder from an object store and verify it: the chart's init container runs this.

    python -m promethios_serving.fetch_model s3://bucket/models/promethios-8b /model

Credentials and endpoint come from the environment, as for the SDKs (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on). The
folder is whole or empty: every file is checked against `lineage.json`, calibration and certificate, which come last.
What is there already and still verifies is not fetched again, so that a restarted pod starts at once.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from promethios.errors import ConfigError, ModelFolderError, PromethiosError, ServingError
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.lineage import LINEAGE, load_lineage
from promethios.model.folder import check_model_folder

SCHEMES: Final = ("s3://", "gs://", "az://", "file:///")
_REPORT: Final = "evaluation_report.json"
_PART_BYTES: Final = 32 * 2**20
_REQUESTS: Final = 8
_RETRY_S: Final = 300


def fetch_model(url: str, folder: Path) -> int:
    """Bring `folder` to what stands below `url`; returns how many files were fetched.

    Raises ConfigError for a URL that is none, ServingError when the store does not answer or refuses, and
    ModelFolderError when what it holds is not one whole export.
    """
    if not url.startswith(SCHEMES):
        raise ConfigError(f"model URL {url!r}: give one that begins with {', '.join(SCHEMES)}")
    try:
        store = from_url(url.rstrip("/"), **({} if url.startswith("file:") else _OPTIONS))
        sizes = {item["path"]: item["size"] for item in obstore.list(store).collect()}
        if LINEAGE not in sizes:
            raise ModelFolderError(f"{url} holds no {LINEAGE}; upload the folder that `promethios export` made")
        if _is_the_same(folder, bytes(obstore.get(store, LINEAGE).bytes())):
            return 0
        _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # the lineage last: without it the folder is none
        names = sorted(sizes, key=lambda name: name == LINEAGE)
        with ThreadPoolExecutor(_REQUESTS) as threads:
            list(threads.map(lambda name: _download(store, name, sizes[name], folder), names[:-1]))
        _download(store, LINEAGE, sizes[LINEAGE], folder)
        verify_model(folder)
    except (BaseError, FileNotFoundError) as error:
        raise ServingError(f"{url} cannot be fetched: {error}") from None
    except ModelFolderError:
        _clear(folder)
        raise
    return len(sizes)


def verify_model(folder: Path) -> None:
    """Check that a folder is one whole export, by the hashes in its lineage. Raises ModelFolderError."""
    check_model_folder(folder)
    lineage = load_lineage(folder, Certificate.load(folder, Calibration.load(folder))) or {}
    if hashlib.sha256((folder / _REPORT).read_bytes()).hexdigest() != lineage.get("evaluation_report_sha256"):
        raise ModelFolderError(f"{folder / _REPORT} is not the file that was exported; upload the folder again")


def _is_the_same(folder: Path, lineage: bytes) -> bool:
    if not (folder / LINEAGE).is_file() or (folder / LINEAGE).read_bytes() != lineage:
        return False
    try:
        verify_model(folder)
    except (PromethiosError, OSError):
        return False
    return True


def _download(store: Any, name: str, size: int, folder: Path) -> None:
    """Read a file in parts, so that the time for one request bounds no file's size."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for start in range(0, size, _PART_BYTES):
            stream.write(obstore.get_range(store, name, start=start, end=min(start + _PART_BYTES, size)))


def _clear(folder: Path) -> None:
    """Remove what is in a folder; the folder itself may be a mounted volume."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


_OPTIONS: Final[dict[str, Any]] = {
    "retry_config": {"max_retries": 20, "retry_timeout": timedelta(seconds=_RETRY_S)},
    "client_options": {"allow_http": True, "connect_timeout": "10s", "timeout": "60s"},
}


def main(argv: Sequence[str]) -> int:
    """Fetch; returns the exit code."""
    if len(argv) != 2:
        sys.stderr.write("usage: python -m promethios_serving.fetch_model URL FOLDER\n")
        return 2
    url, folder = argv[0], Path(argv[1])
    try:
        fetched = fetch_model(url, folder)
    except PromethiosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stderr.write(f"{folder}: {f'{fetched} files fetched from {url}' if fetched else 'was there'}, verified\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
