"""The losses, against arithmetic done by hand; and VGG weights, of which only the file's shape is known here."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fewstroke.engine import losses
from fewstroke.engine.errors import TrainingError


def vgg_file(path: Path) -> dict[str, torch.Tensor]:
    """A file as torchvision's is laid out, with random numbers."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for layer, (inputs, outputs) in {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128)}.items():
        state[f"features.{layer}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.05
        state[f"features.{layer}.bias"] = torch.randn(outputs, generator=generator) * 0.05
    state["classifier.0.weight"] = torch.zeros(4, 4)
    torch.save(state, path)
    return state


def test_masked_l1_counts_only_what_the_mask_says() -> None:
    painted, target = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    target[..., 0, 1] = 100
    assert losses.masked_l1(painted, target, mask) == pytest.approx(1.0)


def test_vgg_features_are_those_of_the_published_layers(tmp_path: Path) -> None:
    state = vgg_file(tmp_path / "vgg.pth")
    loss = losses.VggLoss(tmp_path / "vgg.pth")
    # An independent VGG front: torchvision's layer list, indexed as torchvision does
    front = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(64, 128, 3, padding=1),
    )  # fmt: skip
    front.load_state_dict({key.removeprefix("features."): value for key, value in state.items() if key[9] in "025"})
    picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (losses.VggLoss.MEAN, losses.VggLoss.STD))
    x = (picture - mean) / std
    with torch.no_grad():
        for got, depth in zip(loss.features(picture), (1, 4, 6), strict=True):
            assert torch.allclose(got, front[:depth](x), atol=1e-5)
    assert loss(picture, picture) == 0


def test_vgg_gradients_reach_the_picture(tmp_path: Path) -> None:
    vgg_file(tmp_path / "vgg.pth")
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    losses.VggLoss(tmp_path / "vgg.pth")(picture, torch.zeros(1, 3, 16, 16)).backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


@pytest.mark.parametrize("content", [None, b"not weights at all", "other"])
def test_a_wrong_weight_file_is_one_sentence(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "vgg.pth"
    if content == "other":
        torch.save({"features.0.weight": torch.zeros(1, 1, 1, 1)}, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"vgg\.pth.*(give|download)"):
        losses.VggLoss(path)


def test_the_cache_is_looked_at_and_nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert losses.cached_vgg() is None
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    vgg_file(folder / "vgg19-dcbb9e9d.pth")
    assert losses.cached_vgg() == folder / "vgg19-dcbb9e9d.pth"


def test_feature_distance_is_the_mean_over_layers() -> None:
    a, b = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 2, 2)], [torch.ones(1, 2, 4, 4), torch.full((1, 4, 2, 2), 3.0)]
    assert losses.feature_distance(a, b) == F.l1_loss(torch.tensor(0.0), torch.tensor(2.0))
