"""Training: it learns, stops, can be resumed, and repeats itself bit for bit."""

import itertools
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import identity

from fewstroke.engine.checkpoint import load_checkpoint, save_checkpoint
from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.errors import ParameterError, TrainingError
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.train import Budget, Report, Training

SMALL = TrainConfig(patch=16, batch=4)


def training(keyframe: Keyframe, config: TrainConfig = SMALL) -> Training:
    return Training([keyframe], NetworkConfig(), config, device="cpu")


def run(trainer: Training, steps: int) -> list[Report]:
    return list(trainer.run(Budget(steps=steps)))


def weights(trainer: Training) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trainer.generator.state_dict().values())


def test_it_learns(keyframe: Keyframe) -> None:
    reports = run(training(keyframe), 100)
    first, last = (np.mean([r.l1 for r in part]) for part in (reports[:10], reports[-10:]))
    assert last < 0.6 * first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
@pytest.mark.parametrize("network", [NetworkConfig(), NetworkConfig("fast", 9), NetworkConfig("paper")], ids=str)
def test_a_card_learns_what_the_processor_learns(
    keyframe: Keyframe, network: NetworkConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called, recorded and repeated, and after a checkpoint of the other."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    shown = replace(keyframe, source=seen(keyframe, network.channels))
    exemplars = [keyframe.frame] if network.channels > 6 else []
    losses = []
    for first, second in (("cpu", "cpu"), ("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")):
        trainer, resumed = (
            Training([shown], network, SMALL, device=device, exemplars=exemplars) for device in (first, second)
        )
        reports = run(trainer, 6)
        trainer.save(tmp_path / "checkpoint")
        assert resumed.resume(tmp_path / "checkpoint")
        reports += run(resumed, 12)
        losses.append([(r.l1, r.adversarial, r.perceptual, r.discriminator) for r in reports])
    losses = np.array(losses)
    # The last digits differ, and the two networks, each of which learns from the other, make more of it at every step.
    np.testing.assert_allclose(losses[1:, :6], [losses[0, :6]] * 3, rtol=0.02)
    np.testing.assert_allclose(losses[1:], [losses[0]] * 3, rtol=0.3)


def seen(keyframe: Keyframe, channels: int) -> np.ndarray:
    """The key frame with a guide and an ST map that leads to itself, as far as there are channels for them."""
    height, width = keyframe.mask.shape
    return np.concatenate([keyframe.source, keyframe.source, identity(height, width)], axis=2)[..., :channels]


def test_the_same_seed_gives_the_same_weights(keyframe: Keyframe) -> None:
    trainers = [training(keyframe), training(keyframe), training(keyframe, replace(SMALL, seed=1))]
    for trainer in trainers:
        run(trainer, 4)
    one, two, other = map(weights, trainers)
    assert one == two != other


def test_a_resumed_run_is_the_run_that_was_never_stopped(keyframe: Keyframe, tmp_path: Path) -> None:
    straight = training(keyframe)
    run(straight, 9)
    stopped = training(keyframe)
    run(stopped, 5)
    stopped.save(tmp_path / "checkpoint")
    resumed = training(keyframe)
    assert resumed.resume(tmp_path / "checkpoint")
    run(resumed, 9)
    assert weights(resumed) == weights(straight)
    assert resumed.losses == straight.losses


def test_a_resumed_run_still_prefers_what_was_wrong(
    keyframe: Keyframe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewstroke.engine.train.LOOK_BACK", 2)  # at 2, 4, 8 and so on
    config = replace(SMALL, hardness=0.9)
    straight = training(keyframe, config)
    run(straight, 9)
    stopped = training(keyframe, config)
    run(stopped, 5)
    stopped.save(tmp_path / "checkpoint")
    resumed = training(keyframe, config)
    assert resumed.resume(tmp_path / "checkpoint")
    run(resumed, 9)
    assert weights(resumed) == weights(straight)
    evenly = training(keyframe)
    run(evenly, 9)
    assert weights(evenly) != weights(straight)


def test_a_changed_painting_is_said_and_learning_goes_on(keyframe: Keyframe, tmp_path: Path) -> None:
    trainer = training(keyframe)
    run(trainer, 3)
    trainer.save(tmp_path / "checkpoint")
    repainted = training(replace(keyframe, target=keyframe.target * 0.5))
    assert not repainted.resume(tmp_path / "checkpoint")
    assert run(repainted, 5)[-1].step == 5


def test_a_checkpoint_of_another_run_is_refused(keyframe: Keyframe, tmp_path: Path) -> None:
    trainer = training(keyframe)
    trainer.save(tmp_path / "checkpoint")
    with pytest.raises(TrainingError, match="seed 0"):
        training(keyframe, replace(SMALL, seed=3)).resume(tmp_path / "checkpoint")


def test_a_checkpoint_from_before_a_number_existed_was_made_with_its_default(
    keyframe: Keyframe, tmp_path: Path
) -> None:
    path = tmp_path / "run.checkpoint"
    trainer = training(keyframe)
    run(trainer, 1)
    trainer.save(path)
    tensors, facts = load_checkpoint(path)
    del facts["config"]["rarity"]
    save_checkpoint(path, tensors, facts)
    assert training(keyframe).resume(path)
    with pytest.raises(TrainingError, match=r"rarity 0\.0; give the same"):
        training(keyframe, replace(SMALL, rarity=1.0)).resume(path)


@pytest.mark.parametrize("content", [None, b"", b"\x08\0\0\0\0\0\0\0{}      ", b"rubbish" * 100])
def test_a_damaged_checkpoint_is_one_sentence(keyframe: Keyframe, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(TrainingError, match=r"checkpoint.*(without --resume)"):
        training(keyframe).resume(tmp_path / "checkpoint")


def test_budgets_end_a_run_and_foretell_it(keyframe: Keyframe) -> None:
    reports = run(training(keyframe), 6)
    assert [r.step for r in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].seconds_left == 0
    timed = list(training(keyframe).run(Budget(seconds=0.5)))
    assert timed[0].seconds_left is not None and timed[-1].seconds_left is not None
    assert timed[-1].seconds_left <= timed[0].seconds_left <= 0.5


def test_a_run_without_limits_ends_at_the_plateau(keyframe: Keyframe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewstroke.engine.train.PLATEAU_PIXELS", 20 * SMALL.batch * SMALL.patch**2)
    monkeypatch.setattr("fewstroke.engine.train.PLATEAU_GAIN", 0.2)
    reports = list(itertools.islice(training(keyframe).run(Budget()), 2000))
    assert 40 <= len(reports) < 2000
    means = [np.mean([r.l1 for r in reports[i : i + 20]]) for i in range(0, len(reports), 20)]
    assert 1 - means[-1] / means[-2] < 0.2
    assert any(report.seconds_left is not None for report in reports)


@pytest.mark.parametrize("budget", [{"seconds": 0}, {"steps": -1}])
def test_an_impossible_budget_is_refused(budget: dict[str, int]) -> None:
    with pytest.raises(ParameterError):
        Budget(**budget)


def test_a_diverging_loss_is_said(keyframe: Keyframe) -> None:
    with pytest.raises(TrainingError, match="step 1"):
        run(training(replace(keyframe, target=np.full_like(keyframe.target, np.inf))), 3)


def test_breaking_off_keeps_what_was_learnt(keyframe: Keyframe) -> None:
    trainer = training(keyframe)
    for report in trainer.run(Budget(steps=100)):
        if report.step == 3:
            break
    assert trainer.step == 3
    run(trainer, 4)
    assert trainer.step == 4


def test_hdr_paintings_and_partial_masks_train(keyframe: Keyframe) -> None:
    mask = np.zeros_like(keyframe.mask)
    mask[:, :30] = 1
    trainer = training(replace(keyframe, target=keyframe.target * 4, mask=mask))
    assert np.isfinite(run(trainer, 5)[-1].l1)


def test_training_leaves_the_callers_random_state_alone(keyframe: Keyframe) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    training(keyframe)
    assert torch.equal(torch.rand(1), expected)


KILLED = """
import sys, numpy as np
from pathlib import Path
from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.train import Budget, Training
picture = np.random.default_rng(0).random((40, 40, 3), np.float32)
training = Training([Keyframe(1, picture, 1 - picture, np.ones((40, 40), np.float32))], NetworkConfig(),
                    TrainConfig(patch=16, batch=2), device="cpu")
for report in training.run(Budget(steps=10**6)):
    training.save(Path(sys.argv[1]))
    print(report.step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = int(process.stdout.readline())
            time.sleep(float(rng.uniform(0, 0.3)))
            process.send_signal(signal.SIGKILL)
        _, facts = load_checkpoint(path)
        assert facts["step"] >= said
