"""The number of threads, on simulated machines whose best number is known beforehand."""

from collections.abc import Callable

import pytest

from fewstroke.engine.threads import RETURN, Threads

Machine = Callable[[float, int], tuple[float, float]]
"""Of the time and a number of threads, how long a step takes and for how much of it a thread has a core, in seconds."""


def quiet(now: float, threads: int) -> tuple[float, float]:
    return 0.14 / threads**0.6, 0.139 / threads**0.6


def busy(now: float, threads: int) -> tuple[float, float]:
    """Measured on two cores, one of which another program keeps busy."""
    return {1: (0.134, 0.134), 2: (0.417, 0.265)}[threads]


def simulate(machine: Machine, most: int, seconds: float) -> list[tuple[float, int]]:
    """The time at which each step begins and its number of threads."""
    used, now, steps = [most], 0.0, []
    threads = Threads(most, used.append)
    while now < seconds:
        took, had = machine(now, used[-1])
        steps.append((now, used[-1]))
        threads.stepped(took, had)
        assert threads.count == used[-1]
        now += took
    return steps


@pytest.mark.parametrize("most", (1, 2, 16))
def test_on_a_quiet_machine_nothing_is_tried(most: int) -> None:
    assert {count for _, count in simulate(quiet, most, 120)} == {most}


def test_beside_a_busy_program_it_is_nearly_as_fast_as_with_the_best_number() -> None:
    steps = simulate(busy, 2, 120)
    assert len(steps) > 0.9 * 120 / busy(0, 1)[0]
    assert {count for now, count in steps if 5 < now < RETURN} == {1}


def test_when_the_other_program_ends_all_threads_come_back() -> None:
    steps = simulate(lambda now, threads: (busy if now < 40 else quiet)(now, threads), 2, 120)
    assert {count for now, count in steps if now > 40 + RETURN + 2} == {2}


def test_a_thread_that_waits_for_another_reason_keeps_its_threads() -> None:
    """As where threads sleep while they wait: the share tells nothing, but fewer threads are slower."""
    steps = simulate(lambda now, threads: (0.14 / threads**0.6, 0.08 / threads**0.6), 4, 120)
    assert sum(count == 4 for _, count in steps) > 0.95 * len(steps)


def test_many_threads_beside_much_else_settle_between() -> None:
    """Sixteen cores of which ten are taken: more than six threads wait for each other, and half of them no less."""

    def crowded(now: float, threads: int) -> tuple[float, float]:
        took = 0.2 / threads + (0.1 if threads > 6 else 0)
        return took, min(took, 0.2 / threads + 0.02)

    assert {count for now, count in simulate(crowded, 16, RETURN) if now > 15} == {4}
