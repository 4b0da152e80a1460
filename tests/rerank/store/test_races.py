"""Processes that meet in one folder: it appears, its files go, and it is deleted while others use it."""

import multiprocessing
from threading import BrokenBarrierError

import numpy as np

from rerank.isolation.attempts import ScoringAttempts
from rerank.store import ScoreStore, Snapshot
from rerank.store.folder import open_folder
from rerank.store.upkeep import compact, content, remove

PROCESSES = 3
WAIT_S = 60


def save(store, place):
    pair_hashes = np.arange(8, dtype=np.uint64).reshape(4, 2) + np.uint64(100 * place)
    store.append(pair_hashes, np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.int32))
    return pair_hashes


def meet_in_a_new_folder(store, place):
    store.parts()
    store.describe({"name": "tiny"})
    store.parts()
    save(store, place)
    assert content(store).parts >= 1
    assert store.description() == {"name": "tiny"}


def delete_while_others_write(store, place):
    save(store, place)
    store.describe({"name": "tiny"})
    if place == 0:
        remove(store)
    content(store)
    save(store, place)


def compact_at_once(store, place):
    pair_hashes = save(store, place)
    compact(store)
    assert Snapshot.open(store, f"{store.uri}-{place}").lookup(pair_hashes).known.all()


def mark_the_same_block(store, place):
    attempts = ScoringAttempts(open_folder(store.uri))
    attempts.begin("block", 1)
    attempts.unfinished("block")
    attempts.end("block", 1)


ACTIONS = [
    (meet_in_a_new_folder, 200),
    (delete_while_others_write, 60),
    (compact_at_once, 5),
    (mark_the_same_block, 60),
]


def take_part(root, place, barrier, problems):
    """Run the actions in one process of several, each round in a new folder that all of them enter together."""
    try:
        for action, rounds in ACTIONS:
            for number in range(rounds):
                barrier.wait(WAIT_S)
                action(ScoreStore(f"{root}/{action.__name__}-{number}", "f" * 32), place)
    except BrokenBarrierError:
        return  # another process has failed, and says so
    except BaseException as problem:
        problems.put(f"{action.__name__}, round {number}, process {place}: {problem!r}")
        barrier.abort()


def test_processes_that_meet_in_a_folder_do_not_fail(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, problems = spawn.Barrier(PROCESSES), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=take_part, args=(str(tmp_path), place, barrier, problems)) for place in range(PROCESSES)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(WAIT_S)
        assert problems.empty(), problems.get()
        assert [process.exitcode for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
            process.join()
