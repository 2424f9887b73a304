from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from promethios.errors import ConfigError
from promethios_serving.reviews.spool import Spool, SpoolFull
from tests.serving.reviews.conftest import FakeHub, emptied

ENGINE = """
import sys
from pathlib import Path
from promethios_serving.reviews.spool import Spool
spool = Spool(Path(sys.argv[1]), "engine-1", 10_000_000)
number = 0
while True:
    document = {"id": f"gov-{number}", "response": None}
    spool.write("reviews", document)
    print(document["id"], flush=True)
    number += 1
"""


def files(spool: Spool, kind: str = "reviews") -> list[Path]:
    return spool.oldest(kind, 1000, 10_000_000)


def test_documents_come_back_in_their_order_and_are_forgotten_only_on_demand(spool: Spool) -> None:
    for number in range(12):
        spool.write("reviews", {"id": number})
    assert [json.loads(file.read_bytes())["id"] for file in files(spool)] == list(range(12))
    assert spool.waiting == 12
    spool.remove(files(spool)[:11])
    assert [json.loads(file.read_bytes())["id"] for file in files(spool)] == [11]
    assert spool.waiting == 1


def test_a_batch_is_bounded_in_number_and_in_bytes_but_never_empty(spool: Spool) -> None:
    for _ in range(5):
        spool.write("reviews", {"text": "x" * 100})
    assert len(spool.oldest("reviews", 3, 10_000)) == 3
    assert len(spool.oldest("reviews", 10, 250)) == 2
    assert len(spool.oldest("reviews", 10, 1)) == 1


def test_kinds_do_not_mix(spool: Spool) -> None:
    spool.write("outcomes", {"id": "o"})
    assert files(spool) == []
    assert len(files(spool, "outcomes")) == 1


def test_above_its_limit_the_spool_is_full_until_something_was_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "engine-0", 150)
    spool.write("reviews", {"text": "x" * 100})
    with pytest.raises(SpoolFull, match="PROMETHIOS_SPOOL_MAX_BYTES"):
        spool.write("reviews", {"text": "x" * 100})
    spool.remove(files(spool))
    spool.write("reviews", {"text": "x" * 100})


def test_a_disk_that_cannot_be_written_is_full_and_keeps_no_half_document(spool: Spool) -> None:
    spool.write("reviews", {"id": 1})
    [folder] = {file.parent for file in files(spool)}
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(SpoolFull, match="No such file"):
        spool.write("reviews", {"id": 2})
    moved.rename(folder)
    spool.write("reviews", {"id": 3})
    assert [json.loads(file.read_bytes())["id"] for file in files(spool)] == [1, 3]
    assert spool.waiting == 2
    assert [file for file in folder.iterdir() if file.suffix != ".json"] == []


def test_a_root_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="file"):
        Spool(tmp_path / "file", "engine-0", 1000)


def test_what_a_living_engine_holds_is_left_alone(spool: Spool, tmp_path: Path) -> None:
    spool.write("reviews", {"id": 1})
    other = Spool(tmp_path, "engine-2", 1000)
    assert other.adopt() == []
    assert other.waiting == 0


def test_what_an_engine_left_is_adopted_once_and_its_empty_folder_goes(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "engine-1", 1000)
    dead.write("reviews", {"id": 1})
    dead.close()
    first, second = Spool(tmp_path, "engine-2", 1000), Spool(tmp_path, "engine-3", 1000)
    assert len(first.adopt()) == 1
    assert second.adopt() == []
    assert first.waiting == 1
    first.remove(files(first))
    first.adopt()
    assert sorted(folder.name.split("-")[1] for folder in tmp_path.iterdir()) == ["2", "3"]


def test_a_folder_that_was_being_removed_when_its_adopter_died_stops_nobody(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "engine-1", 1000)
    dead.write("reviews", {"id": 1})
    dead.close()
    (folder,) = tmp_path.iterdir()
    shutil.rmtree(folder / "outcomes")
    spool = Spool(tmp_path, "engine-2", 1000)
    assert spool.adopt() == [folder]
    assert spool.oldest("outcomes", 10, 1000) == []
    spool.remove(files(spool))
    assert spool.adopt() == [] and not folder.exists()


def test_closing_an_empty_spool_leaves_nothing_behind(spool: Spool, tmp_path: Path) -> None:
    spool.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [1, 7, 40])
def test_nothing_that_was_promised_is_lost_when_the_engine_is_killed(tmp_path: Path, hub: FakeHub, after: int) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    promised = [engine.stdout.readline().strip() for _ in range(after)]
    os.kill(engine.pid, signal.SIGKILL)
    promised += engine.stdout.read().split()
    engine.wait()

    async def adopted_and_sent() -> None:
        spool = Spool(tmp_path, "engine-2", 10_000_000)
        assert len(spool.adopt()) == 1
        async with hub.running() as url:
            await emptied(spool, url)

    asyncio.run(adopted_and_sent())
    assert set(promised) <= set(hub.taken)
    assert len(hub.taken) <= len(promised) + 1, "at most the one that was being written comes on top"
    assert set(hub.arrivals.values()) == {1}


def test_a_document_that_a_broken_disk_spoilt_is_put_aside_like_any_other(spool: Spool) -> None:
    spool.write("reviews", {"id": 1})
    [file] = files(spool)
    file.write_bytes(b"\x00\x00")
    aside = spool.reject(file, "not JSON")
    assert (files(spool), spool.waiting) == ([], 0)
    assert b"not JSON" in aside.read_bytes()
