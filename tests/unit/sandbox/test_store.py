"""The store: upserts, the switches for repeated and missing values, and what survives."""

from __future__ import annotations

import re
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from connector.sandbox.settings import Duplicates, Nulls
from connector.sandbox.signal_view import SignalView, default_attributes
from connector.sandbox.store import DuplicateSamplesError, Saved, Store, StoreError
from connector.sandbox.xid import new_id

NOW = 1_777_636_800.25


def insert(
    store: Store,
    times: list[int],
    series: dict[str, list[float | None]],
    *,
    duplicates: Duplicates = "newest",
    nulls: Nulls = "ignore",
) -> dict[str, Saved]:
    integration = store.integration().id
    return store.insert(integration, times, series, duplicates=duplicates, nulls=nulls, now=NOW)


def save(
    store: Store,
    key: str,
    attributes: dict[str, object] | None = None,
    annotations: dict[str, str] | None = None,
    *,
    create_only: bool = False,
    now: float = NOW,
) -> Saved:
    view = SignalView(default_attributes(key) | (attributes or {}), annotations or {})
    return store.save(store.integration().id, {key: view}, create_only=create_only, now=now)[key]


def test_an_insert_creates_signals_once_and_keeps_their_id(store: Store) -> None:
    first = insert(store, [10, 20], {"a": [1.0, None], "empty": [None, None]})
    assert first["a"].created
    assert first["empty"].created
    again = insert(store, [30], {"a": [3.0]})
    assert again["a"] == Saved(first["a"].id, created=False)
    assert store.samples("a") == [(10, 1.0), (30, 3.0)]
    assert store.samples("empty") == []
    assert store.samples("never seen") == []
    assert store.count_samples() == 2
    signal = store.signals()["a"]
    assert re.fullmatch("[a-v0-9]{20}", signal.id)
    assert signal.attributes == default_attributes("a")
    assert signal.created_us == signal.updated_us == 1_777_636_800_250_000


@pytest.mark.parametrize(("duplicates", "kept"), [("newest", 2.0), ("first", 1.0)])
def test_repeated_samples(store: Store, duplicates: Duplicates, kept: float) -> None:
    insert(store, [10], {"a": [1.0]})
    insert(store, [10, 20], {"a": [2.0, 5.0]}, duplicates=duplicates)
    assert store.samples("a") == [(10, kept), (20, 5.0)]


def test_repeated_samples_as_an_error_name_their_inputs_and_store_nothing(store: Store) -> None:
    insert(store, [10], {"a": [1.0], "c": [1.0]})
    with pytest.raises(DuplicateSamplesError) as caught:
        insert(store, [10, 20], {"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [None, 3.0]}, duplicates="error")
    assert caught.value.inputs == ["a"]
    assert list(store.signals()) == ["a", "c"]
    assert store.count_samples() == 2


@pytest.mark.parametrize(("nulls", "left"), [("ignore", [(10, 1.0)]), ("erase", [])])
def test_null_over_a_stored_value(store: Store, nulls: Nulls, left: list[tuple[int, float]]) -> None:
    insert(store, [10], {"a": [1.0]})
    insert(store, [10], {"a": [None]}, nulls=nulls)
    assert store.samples("a") == left


def test_values_are_doubles_and_times_reach_the_year_one(store: Store) -> None:
    values: list[float | None] = [1.7976931348623157e308, 5e-324, -0.0, 0.1]
    insert(store, [-62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999], {"a": values})
    assert [value for _, value in store.samples("a")] == values


def test_saving_replaces_attributes_and_merges_annotations(store: Store) -> None:
    first = save(store, "a", {"engUnit": "bar", "description": "x"}, {"one": "1", "two": "2"})
    assert (first.created, first.updated) == (True, False)
    second = save(store, "a", {"engUnit": "Pa"}, {"two": "zwei"}, now=NOW + 1)
    assert second == Saved(first.id, created=False, updated=True)
    signal = store.signals()["a"]
    assert signal.attributes == default_attributes("a") | {"engUnit": "Pa"}
    assert signal.annotations == {"one": "1", "two": "zwei"}
    assert signal.updated_us - signal.created_us == 1_000_000


def test_saving_the_same_again_updates_nothing(store: Store) -> None:
    save(store, "a", {"labels": {"x": ["1"], "a": ["2"]}}, {"one": "1"})
    again = save(store, "a", {"labels": {"a": ["2"], "x": ["1"]}}, now=NOW + 1)
    assert (again.created, again.updated) == (False, False)
    assert store.signals()["a"].updated_us == 1_777_636_800_250_000


def test_create_only_leaves_existing_signals_alone(store: Store) -> None:
    created = save(store, "a", {"engUnit": "bar"}, create_only=True)
    assert (created.created, created.updated) == (True, False)
    kept = save(store, "a", {"engUnit": "Pa"}, {"one": "1"}, create_only=True)
    assert kept == Saved(created.id, created=False, updated=False)
    assert store.signals()["a"].attributes["engUnit"] == "bar"
    assert store.signals()["a"].annotations == {}


def test_a_save_after_an_insert_updates_the_signal(store: Store) -> None:
    made = insert(store, [10], {"a": [1.0]})["a"]
    assert save(store, "a", {"engUnit": "bar"}) == Saved(made.id, created=False, updated=True)


def test_a_failing_insert_leaves_nothing_and_the_store_usable(store: Store) -> None:
    with pytest.raises(ValueError, match="zip"):
        insert(store, [10, 20], {"good": [1.0, 2.0], "short": [1.0]})
    assert store.signals() == {}
    insert(store, [10], {"good": [1.0]})
    assert store.count_samples() == 1


def test_threads_may_write_together(store: Store) -> None:
    def write(first: int) -> None:
        for time in range(first, first + 50):
            insert(store, [time], {"a": [float(time)]})

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [time for time, _ in store.samples("a")] == list(range(200))
    assert len(store.signals()) == 1


def test_a_file_keeps_everything_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store.open(path) as store:
        integration = store.integration()
        insert(store, [10], {"a": [1.0]})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.with_name("store.sqlite-wal").stat().st_mode) == 0o600
    with Store.open(path) as store:
        assert store.integration() == integration
        assert store.samples("a") == [(10, 1.0)]


def test_a_reader_sees_what_a_writer_has_committed_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        insert(writer, [10], {"a": [1.0]})
        assert reader.samples("a") == [(10, 1.0)]
        insert(writer, [20], {"a": [2.0]})
        assert reader.count_samples() == 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            insert(reader, [30], {"a": [3.0]})


def test_a_new_signing_key_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store.open(path) as store:
        before = store.integration()
        store.renew_signing_key(before.id)
        after = store.integration()
    assert after.signing_key != before.signing_key
    assert after.client_secret == before.client_secret
    with Store.open(path) as store:
        assert store.integration() == after


def test_secrets_are_not_shown(store: Store) -> None:
    integration = store.integration()
    shown = repr(integration)
    assert integration.client_secret not in shown
    assert integration.password not in shown
    assert repr(integration.signing_key) not in shown


def test_what_is_no_sandbox_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no database, although it is long enough to have a header" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(text)
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE mine (x)")
    database.close()
    with pytest.raises(StoreError, match="another program"):
        Store.open(other)
    with pytest.raises(StoreError, match="cannot open the store"):
        Store.open(tmp_path / "missing" / "store")
    with pytest.raises(StoreError, match="cannot"):
        Store.open(tmp_path / "missing", read_only=True)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(StoreError, match="no sandbox has used it"):
        Store.open(empty, read_only=True)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store.open(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="version 99"):
        Store.open(path)


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_id(NOW + second) for second in range(3) for _ in range(500)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-v0-9]{20}", identity) for identity in ids)
    assert ids[0] < ids[500] < ids[1000]
