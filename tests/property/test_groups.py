"""What holds of every split and every fold where images are in groups, whatever they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eyespot.head.rows import check_groups, dealt_folds, grouped_folds, stratified_folds
from eyespot.options import SplitStrategy
from eyespot.splitting import GroupCounts, connected, deal_groups, held_out_groups

SEEDS = st.integers(0, 2**64 - 1)
NAMES = st.one_of(st.none(), st.integers(0, 12).map(str))


@st.composite
def grouped_images(draw):
    """Files of several classes and groups, with duplicates and some that cannot be read."""
    n_classes = draw(st.integers(1, 5))
    one = st.tuples(
        st.integers(0, n_classes - 1), st.one_of(st.none(), st.integers(0, 60).map(str)), NAMES
    )
    files = draw(st.lists(one, min_size=1, max_size=80))
    targets, digests, groups = zip(*files, strict=True)
    return np.array(targets, np.int64), list(digests), list(groups), n_classes


@st.composite
def grouped_rows(draw, *, multi_label=False):
    """Rows to fit to: groups with several originals each, and copies of some of them."""
    n_classes = draw(st.integers(1, 4))
    n = draw(st.integers(2, 60))
    groups = np.array(draw(st.lists(st.integers(0, 15), min_size=n, max_size=n)))
    size = (n, n_classes) if multi_label else n
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    targets = rng.random(size) < 0.4 if multi_label else rng.integers(0, n_classes, size)
    copies = rng.random(n) < draw(st.sampled_from([0.0, 0.3]))
    copies[np.unique(groups, return_index=True)[1]] = False
    return targets if multi_label else targets.astype(np.int32), n_classes, groups, copies


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30))
def test_what_is_linked_by_any_chain_is_one(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if not pairs:
        return
    units = connected(first, second)
    assert (units <= np.arange(len(pairs))).all()
    assert (units[units] == units).all()
    n = len(pairs)
    linked = np.eye(n, dtype=bool)
    for labels in (first, second):
        linked |= np.array([[a is not None and a == b for b in labels] for a in labels])
    for _ in range(n):
        linked = linked @ linked
    np.testing.assert_array_equal(units[:, None] == units, linked)


@given(grouped_images(), st.integers(0, 80), SEEDS)
def test_no_group_and_no_content_is_on_both_sides(case, count, seed):
    targets, digests, groups, n_classes = case
    units = connected(digests, groups)
    mask = held_out_groups(targets, digests, units, n_classes, count, seed)
    known = np.array([digest is not None for digest in digests])
    assert not (mask & ~known).any()
    for labels in (digests, groups):
        outside = {labels[i] for i in np.flatnonzero(mask)} - {None}
        assert outside.isdisjoint(labels[i] for i in np.flatnonzero(~mask & known))


@given(grouped_images(), st.integers(0, 80), SEEDS)
def test_each_class_stays_and_not_much_more_than_asked_for_goes(case, count, seed):
    targets, digests, groups, n_classes = case
    known = np.array([digest is not None for digest in digests])
    count = min(count, int(known.sum()))
    units = connected(digests, groups)
    mask = held_out_groups(targets, digests, units, n_classes, count, seed)
    assert set(targets[known & ~mask]) == set(targets[known])
    largest = np.bincount(units[known], minlength=1).max(initial=0)
    assert mask.sum() <= max(count + largest / 2, known.sum() / 5)


@given(grouped_images(), st.integers(1, 80), SEEDS, st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_groups_matter(case, count, seed, random):
    targets, digests, groups, n_classes = case
    order = list(range(len(targets)))
    random.shuffle(order)
    straight = held_out_groups(targets, digests, connected(digests, groups), n_classes, count, seed)
    digests = [digests[i] for i in order]
    groups = [None if groups[i] is None else f"film {groups[i]}" for i in order]
    units = connected(digests, groups)
    shuffled = held_out_groups(targets[order], digests, units, n_classes, count, seed)
    assert shuffled.tolist() == straight[order].tolist()


@given(grouped_rows(multi_label=True), st.integers(0, 30), SEEDS)
def test_with_several_labels_an_image_each_is_borne_and_not_borne_by_some_that_stay(
    case, count, seed
):
    targets, n_classes, groups, _ = case
    digests = [str(i) for i in range(len(targets))]
    mask = held_out_groups(
        targets, digests, connected(groups.tolist()), n_classes, min(count, len(targets)), seed
    )
    assert set(groups[mask]).isdisjoint(groups[~mask])
    for bearing in (targets, ~targets):
        np.testing.assert_array_equal(bearing[~mask].any(axis=0), bearing.any(axis=0))


@given(st.lists(st.integers(5, 30), min_size=2, max_size=4), st.integers(2, 6), SEEDS)
def test_groups_of_one_size_are_held_out_in_proportion(sizes, each, seed):
    """Of groups of equal size each class gives its share to within one group."""
    targets = np.repeat(np.arange(len(sizes)), np.array(sizes) * each)
    groups = np.arange(len(targets)) // each
    digests = [str(i) for i in range(len(targets))]
    count = SplitStrategy.fixed(0.3, seed=seed).validation_count(len(targets))
    mask = held_out_groups(targets, digests, connected(groups.tolist()), len(sizes), count, seed)
    held = np.bincount(targets[mask], minlength=len(sizes))
    share = 0.3 * each * np.array(sizes)
    assert (np.abs(held - share) <= each).all()
    assert abs(int(mask.sum()) - count) <= each


@given(grouped_rows(), st.integers(2, 6), SEEDS)
def test_a_group_is_in_one_fold_as_a_whole(case, n_folds, seed):
    targets, n_classes, groups, copies = case
    group, scored = check_groups(groups, copies, len(targets))
    folds, n = grouped_folds(targets, n_classes, n_folds, seed, group, scored)
    check_folds(folds, n, n_folds, group, scored)
    if scored.sum() > group.max() + 1:
        for label in np.unique(targets[scored]):
            where = group[scored & (targets == label)]
            if (where == where[0]).all():
                assert (folds[group == where[0]] == -1).all()


@given(grouped_rows(multi_label=True), st.integers(2, 6), SEEDS)
def test_a_group_of_rows_with_several_labels_is_in_one_fold_as_a_whole(case, n_folds, seed):
    targets, n_classes, groups, copies = case
    group, scored = check_groups(groups, copies, len(targets))
    folds, n = dealt_folds(targets, n_classes, n_folds, seed, group, scored)
    check_folds(folds, n, n_folds, group, scored)
    for fold in range(n if (folds >= 0).any() else 0):
        rest = (folds != fold) & (folds != -2 - fold)
        np.testing.assert_array_equal(targets[rest].any(axis=0), targets[scored].any(axis=0))


def check_folds(folds, n, n_folds, group, scored):
    """Each group has one fold, its copies are left out of it, and none of the folds is empty."""
    out = np.where(folds < -1, -2 - folds, folds)
    for number in np.unique(group):
        assert len(set(out[group == number])) == 1
    assert ((folds >= -1) | ~scored).all()
    assert ((folds < 0) | scored).all()
    assert 1 <= n <= n_folds
    if (folds >= 0).any() and scored.sum() > group.max() + 1:
        assert set(folds[folds >= 0]) == set(range(n))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), SEEDS)
def test_groups_of_one_row_each_change_no_fold(targets, seed):
    y = np.array(targets, np.int32)
    folds, n = grouped_folds(y, 4, 5, seed, *check_groups(np.arange(len(y)) * 3, None, len(y)))
    assert n == 5
    np.testing.assert_array_equal(folds, stratified_folds(y, 4, 5, seed))


@given(st.integers(2, 60), st.integers(1, 6), st.integers(2, 6), SEEDS)
def test_dealing_leaves_no_part_empty(n_groups, n_classes, n_parts, seed):
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 3 * n_groups)])
    targets = rng.integers(0, n_classes, len(group))
    counts = GroupCounts.of(group, targets, n_groups, n_classes)
    parts = deal_groups(counts, n_parts, rng.permutation(n_groups))
    assert len(set(parts.tolist())) == min(n_parts, n_groups)
