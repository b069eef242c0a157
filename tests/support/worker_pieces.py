"""Pieces of work for tests of worker processes; nothing is imported here that takes long, for each worker imports it anew."""

import os
import signal
import time


def squarer():
    def act(piece):
        import torch

        return piece**2, os.getpid(), torch.get_num_threads()

    return act


def breaker():
    def act(piece):
        raise ValueError(f"piece {piece}")

    return act


def sleeper(folder):
    def act(piece):
        (folder / f"{piece}.pid").write_text(str(os.getpid()))
        time.sleep(600)

    return act


def victim():
    def act(piece):
        os.kill(os.getpid(), signal.SIGKILL)

    return act
