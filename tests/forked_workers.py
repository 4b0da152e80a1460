"""Ray workers that are forked from a process which has imported what they need. Linux only.

A worker of Ray imports Ray twice and Ray Data once, 3 CPU seconds before it does anything, and a job has seven of them;
two of these import torch and transformers, for 4 more. A node with FORKED among its options runs this file instead of
Ray's own script. The first time, it starts a process that imports everything. Each time, it asks that process for a
worker, and waits until the worker ends.
"""

import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

# Options of a Ray node. A light one has forked workers, and neither an autoscaler nor who copies logs to drivers.
FORKED = {"setup_worker_path": __file__} if sys.platform == "linux" else {}
LIGHT_NODE = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True, **FORKED}

_REQUEST_BYTES = 128 * 1024  # at most: a command line and an environment


def give_to_new_nodes(options: dict[str, Any]) -> None:
    """Give options to all nodes that this process starts: `ray.init` does not take these."""
    from ray._private.parameter import RayParams

    RayParams.__init__ = partialmethod(RayParams.__init__, **options)


def ask() -> None:
    """Ask for a worker with our arguments, environment and standard streams, and wait for its end.

    Of a runtime environment, a worker gets the variables.
    """
    arguments, environment = [], dict(os.environ)
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name == "--serialized-runtime-env-context":
            environment |= json.loads(value)["env_vars"]
        elif name != "--language":
            arguments.append(word)
    request = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
    path = _socket_path()
    server = _ensure_served(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(path))
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        connection.recv(1)
    if server is not None:
        server.wait()  # so that all workers are descendants of the node


def _socket_path() -> Path:
    """Return where requests of this node are received; short, as the paths of sockets must be."""
    return Path(os.environ["RAY_TMPDIR"], f"workers-{os.environ['RAY_RAYLET_PID']}")


def _ensure_served(path: Path) -> subprocess.Popen[bytes] | None:
    """Start the process that forks workers, and return it; None if there is one.

    Each node has its own: Ray reads its configuration at import, and the process id of the node is among it.
    """
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return None
        command, folder = [sys.executable, "-m", "tests.forked_workers"], Path(__file__).parents[1]
        # The first as Ray sets it for a worker with one CPU. The second belongs to no job: Ray reads it at import, and
        # workers of other jobs than the first one on this node would be taken for workers of that one.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_JOB_ID": "ffffffff"}
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, start_new_session=True)
        assert server.stdout is not None
        server.stdout.read()  # until requests are accepted
        return server


def serve() -> None:
    """Fork a worker for each request, until the node ends."""
    _import_all()
    gc.freeze()  # a collection in a worker would copy the memory of all that was imported
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    node = os.pidfd_open(int(os.environ["RAY_RAYLET_PID"]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(_socket_path()))
        listener.listen()
        os.dup2(2, 1)  # closes the pipe, which tells that requests are accepted
        while node not in select.select([listener, node], [], [])[0]:
            connection, _ = listener.accept()
            with connection:  # in the worker it stays open, so that who asked ends with the worker
                request, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
                if os.fork() == 0:
                    listener.close()
                    os.close(node)
                    _become_worker(json.loads(request), files)
                for file in files:
                    os.close(file)


def _import_all() -> None:
    """Import what workers need, and leave the state of Ray's random numbers to each of them.

    Ray seeds it at its first use, by default for an actor class of Ray Data. Workers that inherit it give their objects
    the same ids, and wait for each other for ever.
    """
    import ray.actor

    class RandomOfPython:
        @staticmethod
        def from_random() -> ray.ActorClassID:
            return ray.ActorClassID(os.urandom(ray.ActorClassID.size()))

    ray.actor.ActorClassID = RandomOfPython
    import jobs.pipeline.dataset
    import jobs.pipeline.job
    import jobs.pipeline.writer  # noqa: F401
    import rerank.engines.cross_encoder  # noqa: F401

    if len({_random_id_of_a_fork() for _ in range(2)}) < 2:
        raise RuntimeError("an import used Ray's random numbers, which are now the same in all workers")


def _random_id_of_a_fork() -> bytes:
    """Return an id as a worker would make its first."""
    import ray

    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, ray.ObjectRef.from_random().binary())
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading, "rb") as answer:
        return answer.read()


def _become_worker(request: dict[str, Any], files: list[int]) -> None:
    """Run the script that was asked for, with its arguments, environment, folder and standard streams."""
    os.setpgid(0, 0)  # a node may kill the process group of a worker
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream, file in enumerate(files):
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["arguments"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        os._exit(1)  # a worker of Ray ends itself


if __name__ == "__main__":
    ask() if len(sys.argv) > 1 else serve()
