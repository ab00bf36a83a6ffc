"""Files are whole or not there, nothing is written through a link, and a run has one writer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsuite.errors import UserError
from rlsuite.rundir.files import lock, new_directory, pack, read_safetensors, refuse_link, unpack, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and locks as POSIX has them")


def test_write_atomically_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"a much longer content", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_old_file_stays_if_the_replacement_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))
    write_atomically(tmp_path / "file", b"data")
    assert order == ["sync", "rename"]


def test_a_file_left_by_a_kill_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".file.tmp").write_bytes(b"half of wh")
    write_atomically(tmp_path / "file", b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"whole"}


@posix
@pytest.mark.parametrize("name", ["file", ".file.tmp"])
@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe"])
def test_nothing_is_written_through_a_link_of_that_name(name: str, kind: str, tmp_path: Path) -> None:
    """The link is replaced, what it points to stays, and a pipe that nobody reads does not stop the writer."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = tmp_path / "run"
    folder.mkdir()
    if kind == "symbolic":
        (folder / name).symlink_to(outside)
    elif kind == "hard":
        (folder / name).hardlink_to(outside)
    else:
        os.mkfifo(folder / name)
    write_atomically(folder / "file", b"new")
    assert outside.read_bytes() == b"mine"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"file": b"new"}
    assert not (folder / "file").is_symlink()


@posix
def test_what_would_be_written_through_is_refused(tmp_path: Path) -> None:
    plain, folder = tmp_path / "plain", tmp_path / "folder"
    plain.write_text("x")
    folder.mkdir()
    refuse_link(plain)
    refuse_link(tmp_path / "missing")
    links = {name: tmp_path / name for name in ("symbolic", "dangling", "pipe", "hard")}
    links["symbolic"].symlink_to(plain)
    links["dangling"].symlink_to(tmp_path / "nowhere")
    os.mkfifo(links["pipe"])
    links["hard"].hardlink_to(plain)
    for path in (*links.values(), folder):
        with pytest.raises(UserError, match=f"{path} is a link or no plain file"):
            refuse_link(path)


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(True), "c": np.zeros((0, 3), np.int64)}
    path.write_bytes(pack(arrays, {"n": 2**127, "list": [1, None]}))
    back, facts = unpack(path)
    assert facts == {"n": 2**127, "list": [1, None]}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_flipped_bit_and_every_cut_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "epoch_000001_rank_0.safetensors"
    arrays = {"a": np.arange(5.0), "b": np.zeros((2, 3), np.uint8), "c": np.array(3)}
    content = bytearray(pack(arrays, {"epoch": 1, "x": [1.5, "text"]}))
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    path.write_bytes(content)
    with pytest.raises(UserError, match="epoch_000001"):
        unpack(path)


def test_a_missing_file_and_one_of_another_kind_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing does not exist"):
        read_safetensors(tmp_path / "nothing")
    (tmp_path / "pickle").write_bytes(b"\x80\x04garbage" * 100)
    for path in (tmp_path / "pickle", tmp_path):
        with pytest.raises(UserError, match="can't be read"):
            read_safetensors(path)


@posix
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.safetensors")
    with pytest.raises(UserError, match="can't be read: it is no file"):
        read_safetensors(tmp_path / "policy.safetensors")


def test_a_new_directory_is_numbered_if_its_name_is_taken(tmp_path: Path) -> None:
    parent = tmp_path / "a" / "b"
    assert [new_directory(parent, "run").name for _ in range(3)] == ["run", "run_2", "run_3"]


LOCK = """
import sys
from pathlib import Path
from rlsuite.rundir.files import lock
lock(Path(sys.argv[1]))
"""


@posix
def test_a_run_has_one_writer_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    first = lock(tmp_path)
    assert first is not None
    with pytest.raises(UserError, match="is being trained by another process"):
        lock(tmp_path)
    other = [sys.executable, "-c", LOCK, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(other, env=environment, capture_output=True, text=True, check=False)
    assert "is being trained by another process" in done.stderr
    os.close(first)
    assert subprocess.run(other, env=environment, check=False).returncode == 0  # which ends without giving it back
    again = lock(tmp_path)
    assert again is not None
    os.close(again)
