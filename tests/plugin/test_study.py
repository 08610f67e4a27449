"""The file that a search's workers share, with Optuna as it is: who gets which candidate, whoever dies meanwhile."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewstroke.engine.errors import FewstrokeError, ParameterError
from fewstroke.plugin.study import (
    ATTEMPTS,
    SPACES,
    Candidate,
    Outcome,
    Queue,
    Result,
    Search,
    Study,
    default_parameters,
    parse_space,
)

GRID = parse_space("fast", ["patch=16,32,48", "batch=2,40", "rate=0.0004,0.001", "blocks=1", "filters=8,64"])


def search(**changes: Any) -> Search:
    values: dict[str, Any] = {
        "preset": "fast", "space": GRID, "sampler": "grid", "seconds": 1.0, "limit": None, "seed": 0, "patience": 60.0,
        "facts": {"--footage": "1-4 of 70x51"},
    }  # fmt: skip
    return Search(**{**values, **changes})


def outcome(candidate: Candidate) -> Outcome:
    """A loss that is the least for small networks, so that there is something to find."""
    loss = candidate.parameters["blocks"] + candidate.parameters["filters"] / 100 + candidate.parameters["rate"]
    return Outcome(loss, None, {"frame_seconds": 0.1, "l1": loss, "texture": 0.0, "psnr": 20.0, "steps": 3})


def points(results: list[Result]) -> list[tuple[float, ...]]:
    return [tuple(result.parameters.values()) for result in results]


def work(queue: Queue, trials: int, judge: Callable[[Candidate], Outcome] = outcome) -> None:
    while isinstance(candidate := queue.next(trials), Candidate):
        with queue.alive(candidate):
            assert queue.tell(candidate, judge(candidate))


def test_three_workers_try_every_point_of_a_grid_once(tmp_path: Path) -> None:
    queues = [Queue(tmp_path / "a.tune", search(), []) for _ in range(3)]
    threads = [threading.Thread(target=work, args=[queue, 1000]) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = points(Study(tmp_path / "a.tune").results())
    assert len(done) == len(set(done)) == 3 * 2 * 2 * 2
    assert {point[0] for point in done} == {16, 32, 48}


def test_the_number_of_trials_is_that_of_all_workers(tmp_path: Path) -> None:
    one, two = (Queue(tmp_path / "a.tune", search(sampler="tpe"), []) for _ in range(2))
    first, second = one.next(3), two.next(3)
    assert isinstance(first, Candidate) and isinstance(second, Candidate)
    third = one.next(3)
    assert isinstance(third, Candidate) and two.next(3) == "wait"
    for candidate in (first, second, third):
        one.tell(candidate, outcome(candidate))
    assert two.next(3) is None and isinstance(two.next(4), Candidate)


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_the_candidate_of_a_dead_worker_goes_to_another(tmp_path: Path, sampler: str) -> None:
    what = search(sampler=sampler, patience=0.5)
    dead, living = (Queue(tmp_path / "a.tune", what, []) for _ in range(2))
    lost = dead.next(4)
    assert isinstance(lost, Candidate)
    time.sleep(0.6)
    taken = living.next(4)
    assert isinstance(taken, Candidate) and taken.parameters == lost.parameters and taken.number != lost.number
    assert not dead.tell(lost, outcome(lost)), "it was given away"
    living.tell(taken, outcome(taken))
    work(living, 4)
    done = points(living.results())
    assert len(done) == len(set(done)) == 4


def test_a_worker_that_works_for_long_is_not_taken_for_dead(tmp_path: Path) -> None:
    slow, other = (Queue(tmp_path / "a.tune", search(patience=2.0), []) for _ in range(2))
    candidate = slow.next(1)
    assert isinstance(candidate, Candidate)
    with slow.alive(candidate):
        for _ in range(6):
            assert other.next(1) == "wait"
            time.sleep(0.5)
    assert slow.tell(candidate, outcome(candidate)) and other.next(1) is None


def test_a_candidate_that_workers_die_of_is_given_up(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "a.tune", search(patience=0.1), [])
    for _ in range(ATTEMPTS):
        assert isinstance(queue.next(1), Candidate)
        time.sleep(0.2)
    assert queue.next(1) is None
    (given_up,) = queue.results()
    assert given_up.outcome is None and queue.best() is None


def test_what_is_given_back_is_tried_next_and_as_often_as_need_be(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "a.tune", search(sampler="tpe"), [])
    tried = []
    for _ in range(ATTEMPTS + 2):
        candidate = queue.next(2)
        assert isinstance(candidate, Candidate)
        tried.append(candidate.parameters)
        queue.release(candidate)
    assert all(parameters == tried[0] for parameters in tried) and queue.results() == []
    work(queue, 2)
    assert len(queue.results()) == 2


def test_a_candidate_follows_from_the_seed_and_the_results_before(tmp_path: Path) -> None:
    what = search(sampler="tpe", space=SPACES["fast"])
    work(Queue(tmp_path / "straight.tune", what, []), 14)
    for trials in range(1, 15):
        work(Queue(tmp_path / "resumed.tune", what, []), trials)
    straight, resumed = (points(Study(tmp_path / f"{name}.tune").results()) for name in ("straight", "resumed"))
    assert straight == resumed and len(set(straight)) == 14


def test_the_presets_own_settings_come_first(tmp_path: Path) -> None:
    for sampler in ("tpe", "grid"):
        candidate = Queue(tmp_path / sampler, search(sampler=sampler, space=SPACES["fast"]), []).next(1)
        assert isinstance(candidate, Candidate) and candidate.parameters == default_parameters("fast")


def test_tpe_learns_what_is_refused_and_what_is_good(tmp_path: Path) -> None:
    def judge(candidate: Candidate) -> Outcome:
        took = candidate.parameters["blocks"] / 10
        if took > 0.35:
            return Outcome(None, "takes too long", {"frame_seconds": took})
        return Outcome(abs(candidate.parameters["filters"] - 48) / 100, None, {"frame_seconds": took})

    queue = Queue(tmp_path / "a.tune", search(sampler="tpe", space=SPACES["fast"], limit=0.35), [])
    work(queue, 50, judge)
    results = queue.results()
    early, late = results[:20], results[-20:]
    refused = [sum(bool(result.outcome and result.outcome.refused) for result in part) for part in (early, late)]
    assert refused[0] > refused[1]
    best = queue.best()
    assert best is not None and best.outcome is not None and best.outcome.loss == 0
    importances = queue.importances()
    assert max(importances, key=lambda name: importances[name]) == "filters"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seconds": 2.0}, "--time 1.0, this command says 2.0"),
        ({"limit": 0.5}, "--frame-time nothing, this command says 0.5"),
        ({"space": SPACES["fast"]}, "--search patch=16,32,48"),
        ({"sampler": "tpe"}, "--sampler grid"),
        ({"facts": {"--footage": "1-9 of 70x51"}}, "--footage 1-4 of 70x51"),
    ],
)
def test_a_study_of_another_search_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    Queue(tmp_path / "a.tune", search(), [])
    with pytest.raises(ParameterError, match="was begun with") as error:
        Queue(tmp_path / "a.tune", search(**changes), [])
    assert named in str(error.value)


def test_files_that_are_no_study_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no study\nnor is this\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "json").write_text(json.dumps({"op_code": 77}) + "\n")
    for name, said in (("text", "no study"), ("json", "no study"), (".", "cannot be opened"), ("none/a", "cannot be")):
        with pytest.raises(FewstrokeError, match=said):
            Queue(tmp_path / name, search(), [])
    for name, said in (("empty", "no study"), ("none", "there is no study")):
        with pytest.raises(FewstrokeError, match=said):
            Study(tmp_path / name)
    assert Queue(tmp_path / "empty", search(), []).results() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patch", "patch=16,32,48"),
        ("size=3", "one of patch, batch, rate, blocks, filters"),
        ("patch=big", "whole numbers"),
        ("patch=16.5", "whole numbers"),
        ("patch=18", "steps of 4"),
        ("patch=8", "12 at least"),
        ("filters=20", "steps of 8"),
        ("rate=x", "numbers"),
        ("rate=-1", "greater than 0"),
        ("rate=nan", "greater than 0"),
        ("batch=0", "greater than 0"),
        ("blocks=-1", "greater than 0"),
    ],
)
def test_a_search_that_cannot_be_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        parse_space("fast", [text])
