"""Each network takes any number of bands, gives logits of the input's size, and can be exported."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import DatasetInvalid
from detectors.segmentation.mxnet_runtime import load_mxnet
from detectors.segmentation.networks import NETWORKS, build, count_parameters, stride_of
from detectors.segmentation.networks.imagenet import gluon_arrays, read_state, weights_path
from detectors.training.config import Model

REFERENCE = Path(__file__).parent / "reference" / "lite0_features.npz"
WIDTHS = {"unet": (4, 8, 8), "lite0-unet": (4, 4, 8, 8), "fusion-unet": (4, 8, 8)}


def model(network: str, bands: int = 3, **more) -> Model:
    osm = ("building",) if network == "fusion-unet" else ()
    bands += len(osm)
    return Model(name="x", network=network, bands=bands, widths=WIDTHS.get(network, (4, 4)), mean=(100.0,) * bands,
                 std=(50.0,) * bands, osm_bands=osm, pretrained=False, **more)


@pytest.mark.parametrize("bands", [1, 3, 13, 20])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_number_of_bands_gives_logits_of_the_inputs_size(network, bands):
    mx = load_mxnet()
    settings = model(network, bands)
    side = 2 * stride_of(settings)
    pixels = mx.nd.array(np.random.default_rng(1).integers(0, 256, (2, settings.bands, side, 2 * side)), dtype="uint8")
    logits = build(settings)(pixels)
    assert logits.shape == (2, 3, side, 2 * side) and logits.dtype == np.float32
    assert np.isfinite(logits.asnumpy()).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_sixteen_bit_pixels_are_normalised_like_eight_bit_ones(network):
    mx = load_mxnet()
    block = build(model(network))
    side = stride_of(model(network))
    pixels = np.random.default_rng(2).integers(0, 256, (1, model(network).bands, side, side))
    answers = [block(mx.nd.array(pixels, dtype=dtype)).asnumpy() for dtype in ("uint8", "int32")]
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-5)


def test_the_learned_encoder_gives_the_features_that_pytorch_gives():
    """The reference is the answer of the package efficientnet-lite-pytorch 0.1.0 under PyTorch 1.13 to this input."""
    mx = load_mxnet()
    i = np.arange(3 * 32 * 32, dtype=np.float64)
    x = (2 * np.sin(i * 0.37) + np.cos(i * i * 0.011)).astype(np.float32).reshape(1, 3, 32, 32)
    encoder = build(model("lite0-unet").model_copy(update={"pretrained": True})).encoder
    with np.load(REFERENCE) as reference:
        for features, level in zip(encoder(mx.nd.array(x)), (2, 4, 8, 16), strict=True):
            np.testing.assert_allclose(features.asnumpy()[0], reference[f"at_{level}"], rtol=1e-3, atol=1e-4)


def test_every_learned_weight_finds_its_place():
    arrays = gluon_arrays(read_state(weights_path()))
    encoder = build(model("lite0-unet")).encoder
    assert {name: p.shape for name, p in encoder._collect_params_with_prefix().items()} == {
        name: array.shape for name, array in arrays.items()
    }


def test_learned_weights_are_refused_for_other_bands():
    with pytest.raises(DatasetInvalid, match=r"for 3 bands: .*set model.pretrained = false"):
        build(model("lite0-unet", 5).model_copy(update={"pretrained": True}))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    trapped = tmp_path / "weights.pth"
    trapped.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetInvalid, match="no business"):
        read_state(trapped)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b[: len(b) - 5], lambda b: b"PK" + b, lambda b: b""])
def test_a_damaged_file_of_weights_is_named(tmp_path, damage):
    broken = tmp_path / "weights.pth"
    broken.write_bytes(damage(weights_path().read_bytes()))
    with pytest.raises(DatasetInvalid, match=r"weights\.pth"):
        read_state(broken)


@pytest.mark.parametrize("network", NETWORKS)
def test_standardised_each_picture_counts_by_itself_whatever_its_light(network):
    mx = load_mxnet()
    settings = model(network).model_copy(update={"standardise": True})
    block, side = build(settings), stride_of(settings)
    dim = np.random.default_rng(5).integers(0, 100, (1, settings.bands, 2 * side, 2 * side))
    bright = 2 * dim + 40
    answers = [block(mx.nd.array(pixels, dtype="uint8")).asnumpy() for pixels in (dim, bright)]
    np.testing.assert_allclose(*answers, atol=0.05 * np.abs(answers[0]).max() + 1e-3)
    both = block(mx.nd.array(np.concatenate([dim, bright]), dtype="uint8")).asnumpy()
    np.testing.assert_allclose(both, np.concatenate(answers), atol=1e-3)


def test_fusion_reads_the_map_in_its_last_bands():
    mx = load_mxnet()
    block = build(model("fusion-unet"))
    pixels = np.random.default_rng(3).integers(0, 256, (1, 4, 16, 16))
    before = block(mx.nd.array(pixels, dtype="uint8")).asnumpy()
    pixels[:, 3] = 255 - pixels[:, 3]
    assert np.abs(block(mx.nd.array(pixels, dtype="uint8")).asnumpy() - before).max() > 1e-3


def test_parameters_are_counted_without_running_statistics():
    block = build(model("unet"))
    trained = [p for p in block.collect_params().values() if p.grad_req != "null"]
    with pytest.raises(Exception, match=r"(?i)shape|initial"):
        [p.data() for p in trained]  # shapes are known after the first batch
    block(load_mxnet().nd.zeros((1, 3, 16, 16), dtype="uint8"))
    assert count_parameters(block) == sum(p.data().size for p in trained)
