"""Colour against the standards it claims to follow, and the curve's own promises."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstroke.engine import color
from fewstroke.engine.errors import ColorError


@given(st.floats(-65504, 65504, width=32))
def test_decode_is_the_inverse_of_encode(value: float) -> None:
    back = float(color.decode(color.encode(np.array([value], np.float32)))[0])
    assert back == pytest.approx(value, rel=1e-5, abs=1e-7)


def test_up_to_one_the_curve_is_the_srgb_transfer_function_of_opencolorio() -> None:
    grey = np.repeat(np.linspace(0, 1, 1001, dtype=np.float32)[:, None, None], 3, axis=2)
    srgb = color.convert(grey, color.LINEAR_REC709, color.SRGB)
    assert np.abs(color.encode(grey) - srgb).max() < 1e-4


def test_the_curve_rises_and_is_smooth_at_its_joints() -> None:
    for joint in (0.0031308, 1.0):
        x = np.array([joint * 0.999, joint, joint * 1.001], np.float32)
        y = color.encode(x).astype(np.float64)
        slopes = np.diff(y) / np.diff(x)
        assert slopes[0] == pytest.approx(slopes[1], rel=0.03)
    wide = np.geomspace(1e-6, 65504, 5000, dtype=np.float32)
    assert (np.diff(color.encode(wide)) > 0).all()


def test_acescg_red_matches_the_published_matrix() -> None:
    # ACEScg to linear Rec.709 with Bradford adaptation, first column: S-2014-004 and the ACES 1.x matrices
    red = color.convert(np.array([[[1, 0, 0]]], np.float32), "ACEScg", color.LINEAR_REC709)[0, 0]
    assert np.allclose(red, [1.7051, -0.1302, -0.0240], atol=2e-3)


@pytest.mark.parametrize("name", ["sRGB", "srgb_rec709_scene", "sRGB - Texture"])
def test_what_people_call_srgb_is_found(name: str) -> None:
    assert color.resolve_space(name) == color.resolve_space("sRGB")


def test_an_unknown_space_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ColorError, match=r"'ACESgc'.*ACEScg"):
        color.resolve_space("ACESgc")


def test_linear_footage_is_worked_in_its_own_space_and_other_footage_in_rec709() -> None:
    assert color.working_space("ACEScg") == "ACEScg"
    assert color.working_space("sRGB") == color.resolve_space("lin_rec709")


def test_a_broken_config_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "/nowhere/config.ocio")
    with pytest.raises(ColorError, match=r"/nowhere/config\.ocio"):
        color.resolve_space("sRGB")


def test_a_space_is_linear_whether_its_config_says_so_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Blender's config and all of version 1: no encodings.
    (tmp_path / "config.ocio").write_text(
        "ocio_profile_version: 1\n"
        "roles: {default: Plain, scene_linear: Plain}\n"
        "displays: {d: [!<View> {name: v, colorspace: Plain}]}\n"
        "colorspaces:\n"
        "  - !<ColorSpace> {name: Plain}\n"
        "  - !<ColorSpace> {name: Wide, to_reference: !<MatrixTransform> {matrix: [2,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1]}}\n"
        "  - !<ColorSpace> {name: Curved, to_reference: !<ExponentTransform> {value: [2.2, 2.2, 2.2, 1]}}\n"
    )
    monkeypatch.setenv("OCIO", str(tmp_path / "config.ocio"))
    assert [color.is_scene_linear(name) for name in ("Plain", "Wide", "Curved")] == [True, True, False]
