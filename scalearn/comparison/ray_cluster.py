"""A Ray cluster before work begins: reached, with room for the work, the same versions everywhere and one store.

ray                  a Ray of this machine's own, which ends with the command; or the cluster that RAY_ADDRESS names
auto                 the cluster that runs on this machine (`ray start`, `ray symmetric-run`)
HOST:PORT            a cluster that this machine belongs to, by its head's port (6379)
ray://HOST:PORT      a cluster from a machine outside, by Ray's client (10001)
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scalearn.comparison.remote_worker import answers, differing, probe, versions_here
from tasksel.errors import UserError, one_line

LOCAL, RUNNING, CLIENT = "ray", "auto", "ray://"
REACHED, ANSWERED = 10.0, 60.0  # seconds that an address, and a node, may take
SEEN = 90.0  # seconds after which a shared file system shows a new file everywhere; NFS takes up to 60
OBJECTS = 100 * 2**20  # bytes that a Ray of our own holds of what goes to and fro: strings
FORMS = "give ray, auto, HOST:PORT or ray://HOST:PORT"


def check_address(on: str) -> None:
    """Refuses what is no place to run on, before anything is imported or computed.

    Raises:
        UserError: another word; an address without a port.

    >>> check_address("10.0.0.1:6379")
    >>> check_address("slurm")
    Traceback (most recent call last):
    tasksel.errors.UserError: --on slurm: give ray, auto, HOST:PORT or ray://HOST:PORT
    """
    if on not in (LOCAL, RUNNING):
        _host_and_port(on)


def _host_and_port(on: str) -> tuple[str, int]:
    try:
        parts = urlsplit(on if on.startswith(CLIENT) else f"//{on}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"--on {on:.60}: {one_line(error)}; {FORMS}") from error
    if (
        not host
        or not port
        or not host.isprintable()
        or " " in on
        or parts.path
        or parts.query
        or parts.username is not None
    ):
        raise UserError(f"--on {on:.60}: {FORMS}")
    return host, port


def the_library() -> Any:
    """The module `ray`.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless a user says so
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"--on needs Ray, which is not installed ({one_line(error)}): pip install 'scalearn[ray]'"
        ) from error
    return ray


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """The module `ray`, connected; a Ray of this machine's own ends with the block.

    Raises:
        UserError: Ray is not installed, an address does not answer or is of another version.
    """
    check_address(on)
    ray = the_library()
    address = os.environ.get("RAY_ADDRESS", LOCAL) if on == LOCAL else on
    if address not in (LOCAL, "local", RUNNING):
        _reach(address)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address in (LOCAL, "local"):
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECTS}
    else:
        options["address"] = address
    if ray.is_initialized():  # by whoever calls from Python
        yield ray
        return
    try:
        with _own_signals():
            ray.init(**options)
    except ImportError as error:  # Ray's client without grpc
        raise UserError(
            f"--on {on}: Ray's client is not installed ({one_line(error)}): pip install 'ray[client]', or start the command on a machine of "
            "the cluster, --on auto"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(f"--on {on}: no connection ({one_line(error):.300})") from error
    try:
        _silence()
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Refuses an address where nothing listens: Ray itself tries for ever."""
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=REACHED).close()
    except OSError as error:
        raise UserError(
            f"--on {address}: does not answer ({error.strerror or one_line(error)}); is the cluster up? `ray status` on its head says so"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets a handler of SIGTERM that skips ours."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _silence() -> None:
    """Ray prints what it knows of a dead worker or node, many lines of it, to standard output; here each is one line of ours."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_args, **_options: None


@dataclass(frozen=True)
class Slots:
    """How many workers a cluster takes at once, and what each takes of it.

    Attributes:
        nodes: how many machines. gpu: the share of a GPU that a worker has; 0 on a cluster without.
        threads: of a worker.
    """

    count: int
    nodes: int
    gpu: float
    threads: int

    @property
    def options(self) -> dict[str, float]:
        """What Ray reserves for a worker."""
        return {"num_gpus": self.gpu, "num_cpus": 0} if self.gpu else {"num_cpus": 1}


def slots(ray: Any, *, per_gpu: int | None, jobs: int | None) -> Slots:
    """The slots of a connected cluster.

    Args:
        per_gpu: workers that share a GPU. jobs: at most so many workers.

    Raises:
        UserError: no room for one worker: it would wait for ever.
    """
    alive = _alive(ray)
    cpus, gpus = (int(sum(node["Resources"].get(name, 0) for node in alive)) for name in ("CPU", "GPU"))
    said = f"the cluster has {len(alive)} {'node' if len(alive) == 1 else 'nodes'}, {cpus} CPUs and {gpus} GPUs"
    if per_gpu is not None and not gpus:
        raise UserError(f"--per-gpu {per_gpu}: {said}; leave it out, and each CPU has a worker")
    if not gpus and not cpus:
        raise UserError(f"--on: {said}: no worker would ever start; start its nodes with --num-cpus or --num-gpus")
    share = (
        int(10_000 / (per_gpu or 1)) / 10_000 if gpus else 0.0
    )  # Ray counts in ten-thousandths, and 6 x 0.1667 is more than 1
    room = gpus * (per_gpu or 1) if gpus else cpus
    threads = max(1, cpus // room) if gpus else 1
    return Slots(min(room, jobs or room), len(alive), share, threads)


def check_nodes(ray: Any, store: Path) -> None:
    """Asks every node that has room for workers for its versions, and whether it sees and writes the store that the driver writes.

    Raises:
        UserError: the first node that differs.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    file, content = f".partial-seen-{secrets.token_hex(4)}", secrets.token_hex(16)
    store.mkdir(parents=True, exist_ok=True)
    question = json.dumps({"folder": str(store), "file": file, "content": content})
    ask = ray.remote(probe)
    nodes = {
        node["NodeID"]: node["NodeManagerAddress"] for node in _alive(ray) if {"CPU", "GPU"} & set(node["Resources"])
    }
    try:
        (store / file).write_text(content)
        pinned = {node: NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes}
        calls = {
            node: ask.options(num_cpus=0, scheduling_strategy=pin).remote(question) for node, pin in pinned.items()
        }
        received = [_answer(ray, call, node, nodes[node]) for node, call in calls.items()]
        for address, answer in zip(nodes.values(), received, strict=True):
            if answer is not None:
                _check_answer(address, answer, store)
        _wait_for_answers(store, file, sum(answer is not None for answer in received))
    finally:
        for path in (store / file, *answers(store, file)):
            path.unlink(missing_ok=True)


def _alive(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _wait_for_answers(store: Path, file: str, count: int) -> None:
    """Waits until what so many nodes wrote is seen here."""
    until = time.monotonic() + SEEN
    while len(answers(store, file)) < count:
        if time.monotonic() > until:
            raise UserError(
                f"{store}: what the nodes write there is not seen here: it must be one folder of a shared file system"
            )
        time.sleep(0.2)


def _answer(ray: Any, call: Any, node: str, address: str) -> dict[str, Any] | None:
    """What a node says; None if it is gone by now."""
    try:
        answer: dict[str, Any] = json.loads(ray.get(call, timeout=ANSWERED))
        return answer
    except ray.exceptions.RayError as error:
        if node not in {alive["NodeID"] for alive in _alive(ray)}:
            return None
        if isinstance(error, ray.exceptions.GetTimeoutError):
            why = f"no answer within {ANSWERED:.0f} s; `ray status` on the cluster's head says what it does"
        elif isinstance(getattr(error, "cause", None), ImportError) or "No module named" in str(error):
            why = "scalearn is not installed there, or in another Python; install there what is installed here"
        else:
            why = f"{one_line(error):.200}"
        raise UserError(f"node {address}: {why}") from error


def _check_answer(node: str, answer: dict[str, Any], store: Path) -> None:
    others = differing(answer["versions"], versions_here())
    if others:
        raise UserError(f"node {node} ({answer['host']}): {', '.join(others)}; install there what is installed here")
    if answer["problem"]:
        raise UserError(
            f"node {node} ({answer['host']}): {answer['problem']}: {store}; --store must be a folder of a file system that all nodes share"
        )
