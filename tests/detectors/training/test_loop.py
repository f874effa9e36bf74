"""A training goes the same way whether it is cut off, divided or short of memory, and says where it cannot."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from detectors.datasets import UNKNOWN, Place, equator_bounds
from detectors.datasets.tiles import read_tiles
from detectors.errors import DatasetInvalid, EngineUnavailable
from detectors.segmentation.mxnet_runtime import load_mxnet
from detectors.training.checkpoint import CHECKPOINT, Checkpoint
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler
from detectors.training.curve import Course, read_course
from detectors.training.learner import Learner, is_out_of_memory
from detectors.training.loop import _network, fit
from detectors.training.losses import segmentation_loss
from detectors.training.mixup import mix_batch
from detectors.training.team import Team
from detectors.training.trainer import contexts_of, find_checkpoint, train
from detectors.training.validation import Patience, Validation, set_aside

REPOSITORY = Path(__file__).resolve().parents[3]
#: `fit` alone, as a process that can be killed: CONFIG TOWN OUT.
PROGRAM = """
import sys
from contextlib import suppress
from pathlib import Path
sys.path.insert(0, {root!r})
from detectors.datasets import UNKNOWN, Place, equator_bounds
from detectors.datasets.tiles import read_tiles
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler
from detectors.training.loop import fit
from detectors.training.trainer import find_checkpoint
config, out = TrainingConfig.load(Path(sys.argv[1])), Path(sys.argv[3])
place = read_tiles(Path(sys.argv[2]), 19, 3)
recipe = {{"config": config.model_dump(mode="json")}}
sampler = CropSampler(config, [place], [place.held_out(0, 1)])
fit(config, sampler, out, start=find_checkpoint(out, recipe, None), recipe=recipe, progress=False)
print("done", flush=True)
"""


def changed(config, **sections):
    """A config with other values: section={"key": value}, or key=value."""
    raw = config.model_dump(mode="json")
    for name, values in sections.items():
        raw[name] = {**raw[name], **values} if isinstance(values, dict) else values
    return TrainingConfig.model_validate(raw)


@pytest.fixture
def config(workshop):
    base = TrainingConfig.load(workshop.recipe)
    return changed(base, optimiser={"steps": 6, "warmup": 2, "checkpoint_every": 2}, model={"widths": [4, 8]},
                   crops={"size": 32})


@pytest.fixture
def place(workshop):
    return read_tiles(workshop.data / "town", 19, 3)


def sampler_of(config, place):
    return CropSampler(config, [place], [place.held_out(0, 1)])


def weights_of(network):
    return [p.data(p.list_ctx()[0]).asnumpy() for p in network.collect_params().values()]


def losses_of(directory):
    return [record["loss"] for record in read_course(directory) if "loss" in record]


def step_losses(config, place, contexts=(), rounds=1, steps=6):
    """Loss of each step, and the weights at the end."""
    mx = load_mxnet()
    contexts = list(contexts) or [mx.cpu()]
    mx.random.seed(config.seed)
    network = _network(config, contexts)
    learner = Learner(config, network, contexts, Team())
    while learner.rounds < rounds:
        learner._halve(config.optimiser.batch, "as a trial")
    sampler = sampler_of(config, place)
    return [learner.step(sampler.batch(step), 1e-3) for step in range(steps)], weights_of(network)


def test_two_devices_share_a_batch_and_learn_the_same(config, place):
    """Batch normalisation sees half of these tiny crops on each, so the curves agree within a sixth, not exactly.

    That nothing else differs is seen beside one device that takes the same halves one after the other.
    """
    config = changed(config, optimiser={"batch": 8})
    alone, weights = step_losses(config, place)
    both, shared = step_losses(config, place, contexts_of((), cpus=2))
    assert len(contexts_of((), cpus=2)) == 2
    np.testing.assert_allclose(both, alone, rtol=0.16)
    halves, weights = step_losses(config, place, rounds=2)
    np.testing.assert_allclose(both, halves, rtol=1e-3)
    names = _network(config, [load_mxnet().cpu()]).collect_params()
    for parameter, one, other in zip(names, weights, shared, strict=True):
        if "_running_" not in parameter:
            np.testing.assert_allclose(one, other, atol=2e-3, err_msg=parameter)


def test_a_batch_divided_in_time_learns_the_same(config, place):
    config = changed(config, optimiser={"batch": 8})
    whole, _ = step_losses(config, place)
    parts, _ = step_losses(config, place, rounds=2)
    np.testing.assert_allclose(parts, whole, rtol=0.16)
    assert parts != whole


def start_process(recipe, town, out):
    out.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(root=str(REPOSITORY)), str(recipe), str(town), str(out)],
        stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_killed_training_goes_on_to_the_same_end(config, workshop, tmp_path):
    """Killed by SIGKILL while it writes lines and checkpoints, at a step drawn at random; then started again."""
    raw = changed(config, optimiser={"steps": 120, "checkpoint_every": 7}).model_dump(mode="json")
    recipe = tmp_path / "recipe.json.toml"
    recipe.write_text(to_toml(raw))
    town = workshop.data / "town"
    whole = start_process(recipe, town, tmp_path / "whole")
    victim = start_process(recipe, town, tmp_path / "cut")
    after = random.Random().choice([20, 40, 60])
    course = tmp_path / "cut" / "training.jsonl"
    while victim.poll() is None and not any(r["step"] >= after for r in read_course(course.parent)):
        with suppress(subprocess.TimeoutExpired):
            victim.wait(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL, "it was done before it could be killed"
    stood = Checkpoint.load(tmp_path / "cut")
    assert stood is not None and 0 < stood.step < 120
    again = start_process(recipe, town, tmp_path / "cut")
    assert again.wait() == 0 and whole.wait() == 0
    one, other = (
        [(r["step"], r["loss"], r["rate"]) for r in read_course(tmp_path / name)] for name in ("whole", "cut")
    )
    assert [step for step, *_ in one] == [20, 40, 60, 80, 100, 120] == [step for step, *_ in other]
    np.testing.assert_allclose(other, one, rtol=2e-3)
    first, second = (Checkpoint.load(tmp_path / name) for name in ("whole", "cut"))
    assert first.arrays.keys() == second.arrays.keys() and first.step == second.step == 120
    for name, array in first.arrays.items():
        np.testing.assert_allclose(second.arrays[name], array, rtol=2e-2, atol=2e-3, err_msg=name)


def to_toml(raw):
    """TOML of a config's JSON form."""
    def value(v):
        return json.dumps(v)

    lines = [f"{k} = {value(v)}" for k, v in raw.items() if not isinstance(v, dict) and k != "sources"]
    for name, section in raw.items():
        if isinstance(section, dict):
            lines += [f"[{name}]", *(f"{k} = {value(v)}" for k, v in section.items() if v is not None)]
    for source in raw["sources"]:
        lines += ["[[sources]]", *(f"{k} = {value(v)}" for k, v in source.items() if v not in (None, {}))]
    return "\n".join(lines) + "\n"


def test_a_checkpoint_of_another_config_is_refused_with_what_differs(config, place, tmp_path):
    recipe = {"config": config.model_dump(mode="json"), "fold": 0}
    fit(changed(config, optimiser={"steps": 2}), sampler_of(config, place), tmp_path, recipe=recipe, progress=False)
    assert find_checkpoint(tmp_path, recipe, None).step == 2
    other = {"config": changed(config, optimiser={"rate": 0.5}).model_dump(mode="json"), "fold": 0}
    with pytest.raises(DatasetInvalid, match=r"config\.optimiser\.rate was 0\.005, is 0\.5.*--restart"):
        find_checkpoint(tmp_path, other, None)
    assert find_checkpoint(tmp_path, other, False) is None
    with pytest.raises(DatasetInvalid, match="no checkpoint to resume from"):
        find_checkpoint(tmp_path / "nowhere", other, True)


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DatasetInvalid, match=r"checkpoint\.npz: not a readable checkpoint .*--restart"):
        Checkpoint.load(tmp_path)
    np.savez(tmp_path / CHECKPOINT, state=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DatasetInvalid, match="not a readable checkpoint"):
        Checkpoint.load(tmp_path)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, caplog):
    """The system's limit of a file's size stands for the disk: the write fails half-way, as it does on a full one."""
    small = {"weight/0": np.ones(10, np.float32)}
    assert Checkpoint(1, {}, {}, small).save(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert not Checkpoint(2, {}, {}, {"weight/0": np.ones(10**6, np.float32)}).save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Checkpoint.load(tmp_path).step == 1
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    assert "checkpoint of step 2 not written" in caplog.text


def ask_for_too_much():
    """Make MXNet fail to allocate 4 GiB, as it does on a full device: this process may have 1 GiB more than it has."""
    mx = load_mxnet()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        mx.nd.zeros((2**15, 2**15)).wait_to_read()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_out_of_memory_halves_the_batch_and_says_so(config, place, caplog):
    """There is room for four crops at a time."""
    config = changed(config, optimiser={"batch": 8})
    mx = load_mxnet()
    mx.random.seed(config.seed)
    network = _network(config, [mx.cpu()])
    learner = Learner(config, network, [mx.cpu()], Team())

    class Hungry:
        def __call__(self, pixels):
            if len(pixels) > 4:
                ask_for_too_much()
            return network(pixels)

        def __getattr__(self, name):
            return getattr(network, name)

    learner._network = Hungry()
    batch = sampler_of(config, place).batch(0)
    with caplog.at_level("WARNING"):
        first, second = learner.step(batch, 1e-2), learner.step(batch, 1e-2)
    assert learner.rounds == 2 and "out of memory with 8 crops at a time" in caplog.text
    assert caplog.text.count("out of memory") == 1
    parts, _ = step_losses(config, place, rounds=2, steps=1)
    assert np.isfinite([first, second]).all() and first == pytest.approx(parts[0], rel=1e-3)


def test_a_single_crop_without_room_ends_the_training_with_advice(config, place):
    mx = load_mxnet()
    learner = Learner(config, _network(config, [mx.cpu()]), [mx.cpu()], Team())
    learner._network = type("Full", (), {
        "__call__": lambda self, pixels: ask_for_too_much(), "hybridize": lambda *_, **__: None,
    })()
    with pytest.raises(DatasetInvalid, match=r"single crop of 32 px .* make crops.size or model.widths smaller"):
        learner.step(sampler_of(config, place).batch(0), 1e-3)


def test_an_allocation_that_fails_is_recognised():
    mx = load_mxnet()
    (mx.nd.ones((8, 8)) * 2).wait_to_read()
    with pytest.raises(mx.base.MXNetError) as failure:
        ask_for_too_much()
    assert is_out_of_memory(failure.value)
    with pytest.raises(mx.base.MXNetError) as other:
        mx.nd.dot(mx.nd.zeros((2, 3)), mx.nd.zeros((2, 3))).wait_to_read()
    assert not is_out_of_memory(other.value)


def test_gradients_are_clipped_together(config, place):
    limit = 1e-3
    free, _ = step_losses(changed(config, optimiser={"clip": 1e9}), place, steps=3)
    plain, _ = step_losses(config, place, steps=3)
    np.testing.assert_allclose(free, plain, rtol=1e-4)
    mx = load_mxnet()
    network = _network(config, [mx.cpu()])
    learner = Learner(changed(config, optimiser={"clip": limit}), network, [mx.cpu()], Team())
    learner.step(sampler_of(config, place).batch(0), 1e-3)
    squares = sum(float((p.grad().asnumpy() ** 2).sum()) for p in network.collect_params().values()
                  if p.grad_req != "null")
    assert np.sqrt(squares) == pytest.approx(limit, rel=1e-3)


def test_mixup_learns_from_two_crops_in_the_share_in_which_it_laid_them_over_each_other(config, place):
    config = changed(config, crops={"mixup": 0.4})
    mx = load_mxnet()
    batch, number = sampler_of(config, place).batch(3), 3
    parts = mix_batch(batch, config.crops.mixup, config.seed, number)
    assert len(parts) == 2 and all(0.001 < part.share < 0.999 for part in parts)
    network = _network(config, [mx.cpu()])
    learner = Learner(config, network, [mx.cpu()], Team())
    loss_of = segmentation_loss(config.loss, config.model.classes)
    with mx.autograd.record():  # batch normalisation uses the batch, as the step will
        answer = network(mx.nd.array(parts[0].batch.pixels, dtype="uint8"))
    wanted = sum(
        part.share * loss_of(answer, *(mx.nd.array(a, dtype="float32") for a in part.batch[1:3])).asscalar()
        for part in parts
    )
    assert learner.step(batch, 1e-3, number) == pytest.approx(wanted, rel=1e-4)
    assert learner.step(batch, 0.0, number + 1) != pytest.approx(wanted, rel=1e-3)


def test_training_stops_when_held_out_ground_gets_no_better_and_keeps_the_best(config, place, tmp_path):
    """With a rate of next to nothing the average stays what it is, so that no look after the first is better."""
    config = changed(config, validation={"share": 0.3, "windows": 4}, optimiser={
        "steps": 50, "rate": 1e-12, "evaluate_every": 2, "patience": 2, "warmup": 0, "weight_decay": 0.0})
    masks = set_aside(config, [place], [place.held_out(-1, 1)])
    assert masks[0].mean() == pytest.approx(0.3, abs=0.01)
    validation = Validation(config, [place], masks)
    sampler = CropSampler(config, [place], masks)
    fitted = fit(config, sampler, tmp_path, validation=validation, recipe={}, progress=False)
    looks = [(r["step"], r["held_out_f1"]) for r in read_course(tmp_path) if "held_out_f1" in r]
    assert fitted.summary["steps"] == looks[-1][0] < 50
    best = fitted.summary["best"]
    assert best["held_out_f1"] == pytest.approx(max(f1 for _, f1 in looks), abs=1e-4)
    assert best["step"] == next(step for step, f1 in looks if f1 == max(f for _, f in looks))
    mx = load_mxnet()
    assert validation.f1(fitted.network, mx.cpu()) == pytest.approx(best["held_out_f1"], abs=1e-3)
    assert Checkpoint.load(tmp_path).step == fitted.summary["steps"]


def test_patience_counts_looks_in_vain():
    patience = Patience(2)
    assert patience.look(1, 0.2) and patience.look(2, 0.4) and not patience.look(3, 0.4)
    assert not patience.over
    assert not patience.look(4, 0.3) and patience.over
    assert (patience.best, patience.best_step) == (0.4, 2)


def test_of_many_places_some_are_set_aside_as_a_whole(config, place):
    config = changed(config, validation={"share": 0.25}, optimiser={"evaluate_every": 1})
    masks = set_aside(config, [place] * 8, [place.held_out(-1, 1)] * 8)
    assert sum(mask.all() for mask in masks) == 2 and sum(mask.any() for mask in masks) == 2


def test_validation_without_any_building_is_refused(config, place):
    config = changed(config, validation={"share": 0.2}, optimiser={"evaluate_every": 1})
    empty = np.zeros(place.valid.shape, dtype=bool)
    empty[:8, :8] = True
    with pytest.raises(DatasetInvalid, match="has no labelled pixel of building, border"):
        Validation(config, [place], [empty])


def test_looks_need_ground_to_look_at(workshop, tmp_path):
    recipe = tmp_path / "looks.toml"
    recipe.write_text(workshop.recipe.read_text() + "evaluate_every = 2\n")
    with pytest.raises(DatasetInvalid, match=r"set validation\.share"):
        train(recipe, data=workshop.data, out=tmp_path, progress=False)


def test_no_place_is_no_training(config):
    with pytest.raises(DatasetInvalid, match="no place to train on"):
        CropSampler(config, [], [])


def test_a_loss_that_is_no_number_ends_the_training(config, place, tmp_path):
    with pytest.raises(DatasetInvalid, match=r"the loss is (nan|inf).*optimiser\.rate"):
        fit(changed(config, optimiser={"rate": 1e30, "warmup": 0, "steps": 20}), sampler_of(config, place), tmp_path,
            progress=False)


def test_lines_after_the_checkpoint_are_written_again(tmp_path):
    course = Course(tmp_path)
    for step in (20, 40, 60):
        course.add({"step": step, "loss": 1.0})
    course.close()
    with (tmp_path / "training.jsonl").open("a") as file:
        file.write('{"step": 80, "lo')
    course = Course(tmp_path, upto=45)
    course.add({"step": 60, "loss": 0.5})
    course.close()
    assert read_course(tmp_path) == [
        {"step": 20, "loss": 1.0}, {"step": 40, "loss": 1.0}, {"step": 60, "loss": 0.5}]


def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(EngineUnavailable, match="GPU 99"):
        contexts_of([99])


def test_many_bands_of_two_bytes_and_many_classes_are_learned(config, tmp_path):
    """Thirteen bands as a satellite gives them; the classes differ in some of them, part of the mask is unknown."""
    random_numbers = np.random.default_rng(4)
    mask = random_numbers.integers(0, 4, (12, 12)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
    spectra = random_numbers.integers(500, 6000, (5, 13))
    pixels = (spectra[mask] + random_numbers.normal(0, 200, (192, 192, 13))).clip(0, 65535).astype(np.uint16)
    mask[:20, :20] = UNKNOWN
    classes = ("water", "field", "forest", "town")
    place = Place("land", pixels, np.ones(mask.shape, bool), equator_bounds(mask.shape, 10.0), classes, mask)
    config = changed(
        config,
        model={"classes": classes, "bands": 13, "dtype": "uint16", "mean": [3000.0] * 13, "std": [1800.0] * 13,
               "gsd_m": 10.0, "gsd_range_m": [5.0, 20.0], "widths": [8, 16]},
        loss={"class_weights": [1.0] * 4, "lovasz": 0.3, "focal": 0.3, "boundary": 0.01, "gap": 2.0},
        optimiser={"steps": 40, "rate": 0.01, "evaluate_every": 20}, validation={"share": 0.2}, crops={"balanced": 0.5},
    )
    aside = set_aside(config, [place], [place.held_out(-1, 1)])
    validation = Validation(config, [place], aside)
    fitted = fit(config, CropSampler(config, [place], aside), tmp_path, validation=validation, recipe={},
                 progress=False)
    assert fitted.summary["best"]["held_out_f1"] > 0.7
    losses = losses_of(tmp_path)
    assert losses[-1] < 0.8 * losses[0]


def test_balanced_crops_are_centred_on_rare_classes_as_often_as_on_common_ones(config):
    mask = np.zeros((256, 256), np.uint8)
    mask[100:108, 200:208] = 1
    place = Place("rare", np.zeros((256, 256, 3), np.uint8), np.ones(mask.shape, bool),
                  equator_bounds(mask.shape, 0.2986), mask=mask)

    def share_on_rare(balanced):
        sampler = CropSampler(changed(config, crops={"balanced": balanced}), [place], [place.held_out(-1, 1)])
        return np.mean([sampler.crop(number)[1][16, 16] == 1 for number in range(120)])

    assert share_on_rare(0.0) < 0.05
    assert 0.3 < share_on_rare(1.0) < 0.7


def test_a_training_cut_off_after_its_last_step_is_not_done_again(config, place, tmp_path):
    recipe = {"config": config.model_dump(mode="json")}
    done = fit(config, sampler_of(config, place), tmp_path, recipe=recipe, progress=False)
    lines = (tmp_path / "training.jsonl").read_text()
    again = fit(config, sampler_of(config, place), tmp_path, start=find_checkpoint(tmp_path, recipe, True),
                recipe=recipe, progress=False)
    assert again.summary["steps"] == 6 and (tmp_path / "training.jsonl").read_text() == lines
    for one, other in zip(weights_of(done.network), weights_of(again.network), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
