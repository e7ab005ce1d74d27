"""The blob store: what goes in comes out, under its own name, or not at all."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.blobs import Blobs, Damaged
from models.errors import Invalid, NotFound, Unavailable

SOMETHING = b"what the agents made\n" * 1000
DIGEST = hashlib.sha256(SOMETHING).hexdigest()
MEGABYTE = 1024 * 1024


@pytest.fixture(params=["file", "memory"])
def blobs(request, tmp_path):
    return Blobs(f"file://{tmp_path}/the blobs" if request.param == "file" else "memory://")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
def on_disk(folder):
    return Blobs(f"file://{folder}")


def place(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest[2:4] / digest


def test_bytes_a_file_and_chunks_of_the_same_content_are_one_blob(blobs, tmp_path):
    path = tmp_path / "source"
    path.write_bytes(SOMETHING)
    chunks = (SOMETHING[at : at + 700] for at in range(0, len(SOMETHING), 700))
    assert {blobs.put(SOMETHING), blobs.put(path), blobs.put(chunks)} == {DIGEST}
    assert blobs.get(DIGEST) == b"".join(blobs.stream(DIGEST)) == SOMETHING
    assert blobs.size(DIGEST) == len(SOMETHING)


@pytest.mark.parametrize("source", [b"", iter(())])
def test_nothing_is_a_blob_too(blobs, source):
    digest = blobs.put(source)
    assert digest == hashlib.sha256(b"").hexdigest()
    assert blobs.get(digest) == b""


def test_what_nobody_stored_is_not_found(blobs, tmp_path):
    for ask in (blobs.get, blobs.size, lambda digest: blobs.save(digest, tmp_path / "out")):
        with pytest.raises(NotFound):
            ask(DIGEST)
    assert not blobs.exists(DIGEST)
    assert not (tmp_path / "out").exists()


def test_a_deleted_blob_is_gone_and_deleting_it_twice_is_deleting_it_once(blobs):
    blobs.put(SOMETHING)
    blobs.delete(DIGEST)
    blobs.delete(DIGEST)
    assert not blobs.exists(DIGEST)


def test_saving_replaces_the_file_whole(blobs, tmp_path):
    target = tmp_path / "out"
    target.write_text("before")
    blobs.save(blobs.put(SOMETHING), target)
    assert target.read_bytes() == SOMETHING


def test_making_a_store_touches_nothing_before_it_is_used(on_disk, folder):
    assert not folder.exists()
    on_disk.put(b"x")
    assert folder.exists()


def test_a_blob_lies_where_its_first_digits_say(on_disk, folder):
    on_disk.put(SOMETHING)
    assert place(folder, DIGEST).read_bytes() == SOMETHING


def test_a_damaged_blob_is_never_handed_out_as_whole(on_disk, folder, tmp_path):
    large = os.urandom(3 * MEGABYTE)
    digest = on_disk.put(large)
    place(folder, digest).write_bytes(large[:-1] + bytes([large[-1] ^ 1]))
    with pytest.raises(Damaged):
        on_disk.get(digest)
    with pytest.raises(Damaged):
        on_disk.save(digest, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]


def test_storing_again_mends_a_blob_torn_by_a_power_cut(on_disk, folder):
    on_disk.put(SOMETHING)
    place(folder, DIGEST).write_bytes(b"")
    on_disk.put(SOMETHING)
    assert on_disk.get(DIGEST) == SOMETHING


def test_a_source_that_breaks_leaves_nothing_behind(on_disk, folder):
    def broken():
        yield SOMETHING
        raise OSError("the network went away")

    with pytest.raises(OSError, match="went away"):
        on_disk.put(broken())
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_store_that_cannot_be_written_is_unavailable(folder):
    folder.write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        Blobs(f"file://{folder}").put(b"x")


@pytest.mark.parametrize("url", ["s3://bucket/path", "gs://bucket/path"])
def test_a_remote_store_is_opened_by_its_url_alone(url):
    assert Blobs(url)._bucket


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-fA-F./]{60,70}"), st.just(DIGEST + "\n")))
def test_no_name_but_a_digest_reaches_the_store(name):
    if re.fullmatch("[0-9a-f]{64}", name):
        return
    blobs = Blobs("file:///nowhere/that/exists")
    for ask in (blobs.get, blobs.size, blobs.exists, blobs.delete):
        with pytest.raises(Invalid):
            ask(name)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_however_it_is_cut_it_comes_back(chunks):
    blobs = Blobs("memory://")
    assert blobs.get(blobs.put(chunks)) == b"".join(chunks)


def _ask_after_fork(url, answers):
    try:
        Blobs(url).get(DIGEST)
    except Unavailable as error:
        answers.send(str(error))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_instead_of_waiting_for_ever(on_disk):
    on_disk.put(SOMETHING)
    fork = multiprocessing.get_context("fork")
    hear, say = fork.Pipe()
    child = fork.Process(target=_ask_after_fork, args=(on_disk.url, say))
    child.start()
    assert hear.poll(60)
    assert "forked" in hear.recv()
    child.join()


PUTTING = """
import re
import sys
from models.blobs import Blobs
print("on the way", flush=True)
Blobs(sys.argv[1]).put(bytes(1024 * 1024) for _ in range(int(sys.argv[2])))
"""


def test_a_putter_killed_at_any_moment_never_leaves_half_a_blob(on_disk, folder):
    zeros = hashlib.sha256(bytes(60 * MEGABYTE)).hexdigest()
    for pause in (0.05, 0.1, 0.15, 0.2):
        child = subprocess.Popen(
            [sys.executable, "-c", PUTTING, on_disk.url, "60"], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if on_disk.exists(zeros):
            assert on_disk.size(zeros) == 60 * MEGABYTE
            on_disk.delete(zeros)


@pytest.mark.slow
def test_a_large_blob_goes_in_and_out_in_little_memory(on_disk):
    code = PUTTING + (
        "for _ in Blobs(sys.argv[1]).stream(sys.argv[3]): pass\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    size = 300
    hashed = hashlib.sha256()
    for _ in range(size):
        hashed.update(bytes(MEGABYTE))
    said = subprocess.run(
        [sys.executable, "-c", code, on_disk.url, str(size), hashed.hexdigest()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(said.split()[-1]) < 200 * 1024  # KiB on Linux
