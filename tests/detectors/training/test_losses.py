"""Every part of the loss is what its paper says, and its gradient is that of its value."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import shapely

from detectors.datasets.targets import draw_ids
from detectors.segmentation.mxnet_runtime import load_mxnet
from detectors.training.config import Loss
from detectors.training.gaps import components_of, distances_of, gap_weights
from detectors.training.losses import planes_of, segmentation_loss

BUILDINGS = ("background", "building", "border")
LAND = ("water", "field", "forest", "town")
#: No part stands alone but these two; so little of one does not show.
OFF = {"cross_entropy": 1e-9, "dice": 0.0}


def settings(**parts):
    return Loss(**{**OFF, **parts})


def case(classes, shape=(2, 32, 32), seed=3):
    """Logits, blocky labels, and weights of which some are 0."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (shape[0], len(classes), *shape[1:])).astype(np.float32)
    coarse = random.integers(0, len(classes), (shape[0], shape[1] // 4, shape[2] // 4))
    target = coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    weight = random.choice([0.0, 1.0, 1.5], shape, p=[0.2, 0.5, 0.3]).astype(np.float32)
    return logits, target, weight


def compute(loss, classes, logits, target, weight, hybrid=False):
    """Value and gradient in MXNet."""
    mx = load_mxnet()
    block = segmentation_loss(loss, classes)
    if hybrid:
        block.hybridize(static_alloc=True, static_shape=True)
    given = mx.nd.array(logits)
    given.attach_grad()
    more = [np.stack([distances_of(t, planes_of(classes)) for t in target])] if loss.boundary else []
    arrays = [mx.nd.array(a, dtype="float32") for a in (target, weight, *more)]
    with mx.autograd.record():
        value = block(given, *arrays)
    value.backward()
    return float(value.asscalar()), given.grad.asnumpy()


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float64)


def chance_of_label(p, target):
    return np.take_along_axis(p, target[:, None].astype(int), axis=1)[:, 0]


def planes(p, target, classes):
    return [(p[:, list(k)].sum(axis=1), np.isin(target, k)) for k in planes_of(classes)]


def reference_cross_entropy(p, target, weight, classes):
    return (-np.log(chance_of_label(p, target)) * weight).sum() / (weight.sum() + 1)


def reference_focal(p, target, weight, classes, gamma=2.0):
    q = chance_of_label(p, target)
    return (-np.log(q) * (1 - q) ** gamma * weight).sum() / (weight.sum() + 1)


def reference_dice(p, target, weight, classes):
    known, losses = weight > 0, []
    for chance, truth in planes(p, target, classes):
        both, sums = (chance * truth)[known].sum(), chance[known].sum() + truth[known].sum()
        losses.append(1 - (2 * both + 1) / (sums + 1))
    return np.mean(losses)


def reference_lovasz(p, target, weight, classes):
    """By the definition: the Lovasz extension as a sum over sorted errors of the rise of the Jaccard loss."""
    known, losses = (weight > 0).ravel(), []
    for chance, truth in planes(p, target, classes):
        chance, truth = chance.ravel()[known], truth.ravel()[known]
        errors = np.abs(truth - chance)
        value, before, wrong = 0.0, 0.0, np.zeros(len(truth), bool)
        for i in np.argsort(-errors, kind="stable"):
            wrong[i] = True
            union = truth.sum() + (wrong & ~truth).sum()
            now = 1 - (truth & ~wrong).sum() / union
            value += errors[i] * (now - before)
            before = now
        losses.append(value)
    return np.mean(losses)


def reference_boundary(p, target, weight, classes):
    known, total = weight > 0, 0.0
    for chance, truth in planes(p, target, classes):
        for n in range(len(truth)):
            other = {flag: np.argwhere(truth[n] == flag) for flag in (False, True)}
            for row, column in np.argwhere(known[n]):
                inside = truth[n, row, column]
                away = np.sqrt(((other[not inside] - (row, column)) ** 2).sum(axis=1).min()) - 0.5
                total += chance[n, row, column] * (-away if inside else away)
    return total / (known.sum() + 1) / len(planes_of(classes))


@pytest.mark.parametrize("classes", [BUILDINGS, LAND, ("background", "road")])
@pytest.mark.parametrize(("part", "reference"), [
    ("cross_entropy", reference_cross_entropy), ("focal", reference_focal), ("dice", reference_dice),
    ("lovasz", reference_lovasz), ("boundary", reference_boundary),
])
def test_each_part_is_what_numpy_says(part, reference, classes):
    logits, target, weight = case(classes)
    value, _ = compute(settings(**{part: 0.7}), classes, logits, target, weight)
    assert value == pytest.approx(0.7 * reference(softmax(logits), target, weight, classes), rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("loss", [
    settings(cross_entropy=1.0), settings(dice=1.0), settings(lovasz=1.0), settings(focal=1.0),
    settings(boundary=0.5), settings(cross_entropy=1.0, omission=0.3), settings(cross_entropy=1.0, registration_px=2),
], ids=["cross-entropy", "dice", "lovasz", "focal", "boundary", "omission", "registration"])
def test_the_gradient_is_that_of_the_value_and_unknown_pixels_have_none(loss):
    logits, target, weight = case(BUILDINGS, (1, 16, 16))
    value, gradient = compute(loss, BUILDINGS, logits, target, weight)
    hybrid_value, hybrid_gradient = compute(loss, BUILDINGS, logits, target, weight, hybrid=True)
    assert hybrid_value == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(hybrid_gradient, gradient, atol=1e-6)
    if not loss.registration_px:
        assert not gradient[:, :, weight[0] == 0].any()
    random = np.random.default_rng(0)
    for _ in range(3):
        way = random.normal(0, 1, logits.shape).astype(np.float32)
        step = 2e-3
        ahead, _ = compute(loss, BUILDINGS, logits + step * way, target, weight)
        behind, _ = compute(loss, BUILDINGS, logits - step * way, target, weight)
        assert (ahead - behind) / (2 * step) == pytest.approx(float((gradient * way).sum()), rel=0.05, abs=3e-3)


def test_dice_is_the_mean_over_classes_that_are_there():
    logits, target, weight = case(LAND)
    target[target == 3] = 0
    value, _ = compute(settings(dice=1.0), LAND, logits, target, weight)
    p, known = softmax(logits), weight > 0
    each = [
        1 - (2 * p[:, k][known & (target == k)].sum() + 1) / (p[:, k][known].sum() + (known & (target == k)).sum() + 1)
        for k in (0, 1, 2)
    ]
    assert value == pytest.approx(np.mean(each), rel=1e-4)


def test_an_omitted_building_costs_no_more_than_its_chance():
    logits = np.zeros((1, 2, 16, 16), np.float32)
    logits[:, 1] = 30.0  # sure of a building
    nothing, weight = np.zeros((1, 16, 16), np.uint8), np.full((1, 16, 16), 1e4, np.float32)
    classes = ("background", "building")
    robust, gradient = compute(settings(cross_entropy=1.0, omission=0.3, class_weights=(1, 1)), classes, logits,
                               nothing, weight)
    assert robust == pytest.approx(-np.log(0.3), rel=1e-3)
    assert np.abs(gradient).max() < 1e-9
    plain, _ = compute(settings(cross_entropy=1.0, class_weights=(1, 1)), classes, logits, nothing, weight)
    assert plain == pytest.approx(30, rel=1e-3)


def test_labels_beside_their_place_cost_nothing_within_reach():
    truth = np.zeros((1, 48, 48), np.uint8)
    truth[:, 18:30, 20:28] = 1
    logits = np.stack([np.where(truth, -20, 20), np.where(truth, 20, -20)], axis=1).astype(np.float32)
    weight = np.ones(truth.shape, np.float32)
    classes = ("background", "building")
    for down, right in itertools.product((-2, 0, 2), repeat=2):
        label = np.roll(truth, (down, right), axis=(1, 2))
        value, _ = compute(settings(cross_entropy=1.0, registration_px=2), classes, logits, label, weight)
        assert value < 1e-4, (down, right)
    beyond = np.roll(truth, 5, axis=2)
    assert compute(settings(cross_entropy=1.0, registration_px=2), classes, logits, beyond, weight)[0] > 0.5


def test_gap_weights_are_those_of_the_unet_paper():
    ids = draw_ids(np.array([shapely.box(4, 5, 14, 20), shapely.box(17, 4, 30, 18), shapely.box(8, 24, 28, 30)]),
                   (36, 36))
    found = gap_weights(ids, 10.0, 5.0)
    apart = np.stack([
        np.sqrt(((np.argwhere(ids == k)[None] - np.argwhere(ids == ids)[:, None]) ** 2).sum(axis=2)).min(axis=1)
        for k in (1, 2, 3)
    ])
    nearest = np.sort(apart, axis=0)
    expected = 10 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * 25)).reshape(36, 36)
    np.testing.assert_allclose(found, expected, atol=10 * np.exp(-8) * 1.01)
    assert found[10, 15] > found[10, 34]
    alone = np.where(ids == 1, ids, 0).astype(np.uint16)
    assert not gap_weights(alone, 10.0, 5.0).any()


def test_masks_without_objects_have_their_connected_parts():
    target = np.zeros((12, 12), np.uint8)
    target[1:4, 1:4], target[6:9, 1:4], target[6:9, 4:8] = 1, 1, 2
    parts = components_of(target)
    assert len(np.unique(parts)) == 4 and ((parts > 0) == (target > 0)).all()


def test_distances_are_negative_inside_and_nothing_without_an_edge():
    target = np.zeros((9, 9), np.uint8)
    target[2:7, 2:7] = 1
    (plane,) = distances_of(target, [(1,)])
    assert plane[4, 4] == -2.5 and plane[4, 2] == -0.5 and plane[4, 1] == 0.5 and plane[4, 0] == 1.5
    assert not distances_of(np.zeros((9, 9), np.uint8), [(1,)]).any()


def town(seed, omission):
    """Noisy ground with roofs and yards that look much alike; labels know the roofs, but for a share of them."""
    random = np.random.default_rng(seed)
    image = random.normal(0.0, 0.15, (64, 64)).astype(np.float32)
    truth, labels = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    for top, left in itertools.product(range(2, 58, 16), repeat=2):
        where = (slice(top, top + random.integers(7, 12)), slice(left, left + random.integers(7, 12)))
        image[where] += 1.0
        if random.random() < 0.62:
            truth[where] = True
            labels[where] = random.random() >= omission
    return cv2.GaussianBlur(image, (0, 0), 0.6), truth, labels


def f1_after_training(omission_tolerated):
    mx = load_mxnet()
    mx.random.seed(1)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(6, 3, padding=1, activation="relu"), mx.gluon.nn.Conv2D(2, 5, padding=2))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss = segmentation_loss(settings(cross_entropy=1.0, omission=omission_tolerated, class_weights=(1, 1)),
                             ("background", "building"))
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.02})
    towns = [town(seed, 0.3) for seed in range(8)]
    pixels = mx.nd.array(np.stack([image for image, _, _ in towns])[:, None])
    labels = mx.nd.array(np.stack([label for _, _, label in towns]).astype(np.float32))
    for _ in range(50):
        with mx.autograd.record():
            value = loss(net(pixels), labels, mx.nd.ones_like(labels))
        value.backward()
        trainer.step(1)
    unseen = [town(seed, 0.0) for seed in range(100, 104)]
    found = net(mx.nd.array(np.stack([image for image, _, _ in unseen])[:, None])).asnumpy().argmax(axis=1) > 0
    truth = np.stack([true for _, true, _ in unseen])
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_with_a_third_of_the_labels_missing_the_tolerant_loss_finds_more():
    assert f1_after_training(0.3) > f1_after_training(0.0) + 0.2
