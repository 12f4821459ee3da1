"""What holds of every validation split, whatever the classes, the duplicates and the seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eyespot.options import SplitStrategy
from eyespot.splitting import group_by_content, held_out

SEEDS = st.integers(0, 2**64 - 1)
RATIOS = st.floats(0, 1)


@st.composite
def distinct_images(draw):
    """Classes of various sizes; every file has content of its own."""
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=8))
    targets = np.repeat(np.arange(len(sizes)), sizes)
    digests = [f"{label}-{i}" for i, label in enumerate(targets)]
    return targets, digests, len(sizes)


@st.composite
def images(draw):
    """Files with duplicates within and across classes, and some that cannot be read."""
    n_classes = draw(st.integers(1, 5))
    files = draw(
        st.lists(
            st.tuples(
                st.integers(0, n_classes - 1), st.one_of(st.none(), st.integers(0, 40).map(str))
            ),
            max_size=80,
        )
    )
    targets = np.array([label for label, _ in files], dtype=np.int64)
    return targets, [digest for _, digest in files], n_classes


@given(distinct_images(), RATIOS, SEEDS)
def test_without_duplicates_the_total_is_exact_and_each_class_has_its_share(case, ratio, seed):
    targets, digests, n_classes = case
    count = SplitStrategy.fixed(ratio, seed=seed).validation_count(len(targets))
    mask = held_out(targets, digests, n_classes, count, seed)
    sizes = np.bincount(targets, minlength=n_classes)
    most = int(np.maximum(sizes - 1, 0).sum())
    assert mask.sum() == min(count, most)
    if all(count * size // len(targets) + 1 < size for size in sizes if size):
        shares = np.bincount(targets[mask], minlength=n_classes)
        for share, size in zip(shares.tolist(), sizes.tolist(), strict=True):
            if size:
                assert count * size // len(targets) <= share <= -(-count * size // len(targets))


@given(images(), st.integers(0, 80), SEEDS)
def test_no_content_is_on_both_sides(case, count, seed):
    targets, digests, n_classes = case
    mask = held_out(targets, digests, n_classes, count, seed)
    validation = {digests[i] for i in np.flatnonzero(mask)}
    assert validation.isdisjoint(digests[i] for i in np.flatnonzero(~mask))
    assert None not in validation


@given(images(), st.integers(0, 80), SEEDS)
def test_never_too_many_and_never_the_last_content_of_a_class(case, count, seed):
    targets, digests, n_classes = case
    mask = held_out(targets, digests, n_classes, count, seed)
    assert mask.sum() <= count
    readable = {int(t) for t, digest in zip(targets, digests, strict=True) if digest is not None}
    left = {int(targets[i]) for i in np.flatnonzero(~mask) if digests[i] is not None}
    assert left == readable


@given(images(), st.integers(0, 80), SEEDS)
def test_contents_of_several_labels_are_trained_on(case, count, seed):
    targets, digests, n_classes = case
    mask = held_out(targets, digests, n_classes, count, seed)
    for group in group_by_content(digests).values():
        if len({int(targets[i]) for i in group}) > 1:
            assert not mask[group].any()


@given(images(), st.integers(0, 80), SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(case, count, seed, random):
    targets, digests, n_classes = case
    order = list(range(len(targets)))
    random.shuffle(order)
    straight = held_out(targets, digests, n_classes, count, seed)
    shuffled = held_out(targets[order], [digests[i] for i in order], n_classes, count, seed)
    assert shuffled.tolist() == straight[order].tolist()


@given(distinct_images(), st.integers(0, 60), SEEDS)
def test_more_held_out_keeps_what_was_held_out(case, count, seed):
    """Within a class the order is fixed, so a larger split of one class contains the smaller."""
    targets, digests, _ = case
    targets = np.zeros_like(targets)
    fewer = held_out(targets, digests, 1, count, seed)
    more = held_out(targets, digests, 1, count + 1, seed)
    assert not (fewer & ~more).any()


@settings(max_examples=20)
@given(SEEDS)
def test_each_image_is_held_out_about_as_often_as_the_others(seed):
    """Over 400 seeds an image of ten is held out 120 times on average, 9 standard deviation."""
    targets, digests = np.zeros(10, dtype=np.int64), [str(i) for i in range(10)]
    times = Counter()
    for step in range(400):
        mask = held_out(targets, digests, 1, 3, (seed + step) % 2**64)
        times.update(np.flatnonzero(mask).tolist())
    assert all(60 < times[i] < 180 for i in range(10))


@given(st.integers(0, 300_000))
def test_the_automatic_size_is_that_of_create_ml(n_images):
    count = SplitStrategy.automatic().validation_count(n_images)
    if n_images < 50:
        assert count == 0
    else:
        ratio = 0.1 if n_images < 200 else 0.05
        assert abs(count - min(n_images * ratio, 10_000)) <= 0.5 + 1e-9
