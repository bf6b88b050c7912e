"""The cache: whole or not at all."""

import os
import threading

import pytest

from harness.cache import Cache, Entry, hash_tree
from harness.errors import HarnessError


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def maker(text, meta=None):
    def make(folder):
        (folder / "file").write_text(text)
        return meta or {"text": text}

    return make


def test_what_was_put_is_got(cache):
    assert cache.get("kind", "key") is None
    put = cache.put("kind", "key", maker("hello"))
    got = cache.get("kind", "key")
    assert (got.content / "file").read_text() == "hello"
    assert got.meta == put.meta == {"text": "hello"}
    assert got.size_bytes == 5


def test_a_maker_that_raises_leaves_no_trace(cache):
    def make(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        cache.put("kind", "key", make)
    assert cache.get("kind", "key") is None
    assert list(cache.root.iterdir()) == []


def test_the_first_to_finish_stays(cache):
    cache.put("kind", "key", maker("first"))
    assert cache.put("kind", "key", maker("second")).meta == {"text": "first"}


def test_a_broken_entry_is_replaced(cache):
    entry = cache.put("kind", "key", maker("first"))
    (entry.content.parent / "entry.json").write_text("{")
    assert cache.get("kind", "key") is None
    assert cache.put("kind", "key", maker("second")).meta == {"text": "second"}


def test_makers_at_once_agree(cache):
    found = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(cache.put("kind", "key", maker(str(i))).meta["text"]))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_prune_takes_the_least_recently_used_first(cache):
    for index, key in enumerate(("old", "middle", "new")):
        entry = cache.put("kind", key, maker("12345"))
        os.utime(entry.content.parent / "entry.json", (index, index))
    assert [entry.key for entry in cache.prune(keep_bytes=10)] == ["old"]
    assert {entry.key for entry in cache.entries()} == {"middle", "new"}
    cache.prune(keep_bytes=0)
    assert list(cache.entries()) == []


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HarnessError, match="cannot be written") as error:
        Cache(tmp_path / "file" / "cache").put("kind", "key", maker("x"))
    assert "HARNESS_CACHE" in error.value.hint


def test_the_hash_of_a_folder_tells_names_and_bytes(tmp_path):
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(content)
    first, size = hash_tree(tmp_path)
    assert size == 2
    (tmp_path / "b").rename(tmp_path / "c")
    renamed, _ = hash_tree(tmp_path)
    (tmp_path / "c").write_text("3")
    rewritten, _ = hash_tree(tmp_path)
    assert len({first, renamed, rewritten}) == 3


def test_an_interrupted_prune_leaves_no_half_entry(cache, monkeypatch):
    cache.put("kind", "key", maker("hello"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cache.shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.prune(keep_bytes=0)
    assert cache.get("kind", "key") is None
    assert list(cache.entries()) == []


def test_what_lies_beside_is_pruned_by_its_last_use_too(cache):
    for age, key in enumerate(("new", "old")):
        entry = cache.put("kind", key, maker("four"))
        os.utime(entry.folder / "entry.json", (1000 - age, 1000 - age))
    other = cache.root / "elsewhere" / "one"
    other.mkdir(parents=True)
    beside = Entry("elsewhere", "one", other, {}, 4, 999.5, other)
    assert [entry.key for entry in cache.prune(keep_bytes=4, beside=[beside])] == ["old", "one"]
    assert not other.exists()
    assert cache.get("kind", "new")
