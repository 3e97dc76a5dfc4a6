"""Scores of identities against cases worked out by hand, and against brute force written from the definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from segwatch.benchmarks.tracking_scores import Frame, hota, idf1, scot

#: one scene: (object, identity, IoU); None on one side: missed or made up
Pairs = list[tuple[int | None, int | None, float]]


def frame(pairs: Pairs) -> Frame:
    """Objects and identities overlap as listed, and not at all otherwise."""
    truth = sorted({one for one, _, _ in pairs if one is not None})
    proposed = sorted({other for _, other, _ in pairs if other is not None})
    iou = np.zeros((len(truth), len(proposed)))
    for one, other, value in pairs:
        if one is not None and other is not None:
            iou[truth.index(one), proposed.index(other)] = value
    return Frame(np.array(truth, np.int64), np.array(proposed, np.int64), iou)


def series(*scenes: Pairs) -> list[Frame]:
    return [frame(pairs) for pairs in scenes]


STEADY: Pairs = [(1, 10, 1.0), (2, 20, 1.0)]


def test_perfect_is_one() -> None:
    made = series(STEADY, STEADY, [*STEADY, (3, 30, 1.0)], STEADY)
    assert scot(made).combined == hota(made) == idf1(made) == 1.0


def test_nothing_to_track_and_nothing_reported_scores_one() -> None:
    made = series([], [])
    assert scot(made).combined == hota(made) == idf1(made) == 1.0


def test_nothing_found_is_zero() -> None:
    made = series([(1, None, 0.0)], [(1, None, 0.0), (2, None, 0.0)])
    assert scot(made).combined == hota(made) == idf1(made) == 0.0


def test_an_identity_switch_midway() -> None:
    """One object, four scenes; it is 10 in the first two and 11 in the last two."""
    before: Pairs = [(1, 10, 1.0)]
    after: Pairs = [(1, 11, 1.0)]
    made = series(before, before, after, after)
    result = scot(made)
    # four matched, the third contradicts the second: TP 3, FP 1, FN 1
    assert result.tracking == pytest.approx(3 / 4)
    # 11 is new and the object is not: nothing right, one wrong
    assert result.change == 0.0
    # the better of both identities covers two of four scenes
    assert idf1(made) == pytest.approx(2 / 4)
    # each of four pairs: 2 scenes together, 2 more of the object: A = 1/2; HOTA = sqrt(4 * 1/2 / 4)
    assert hota(made) == pytest.approx(math.sqrt(1 / 2))


def test_switching_back_contradicts_again() -> None:
    made = series([(1, 10, 1.0)], [(1, 11, 1.0)], [(1, 10, 1.0)], [(1, 10, 1.0)])
    # second and third scene contradict the pairing before them, the fourth agrees with the third
    assert scot(made).tracking == pytest.approx(2 / 4)


def test_two_objects_that_exchange_identities() -> None:
    made = series(STEADY, [(1, 20, 1.0), (2, 10, 1.0)])
    # four matched, the two of the second scene are mismatches, and no new id is claimed
    assert scot(made).tracking == pytest.approx(2 / 4)
    assert scot(made).change == 1.0
    assert idf1(made) == pytest.approx(2 / 4)


def test_a_missed_object() -> None:
    """Two objects, two scenes; the second is found in the first scene only."""
    made = series(STEADY, [(1, 10, 1.0), (2, None, 0.0)])
    assert scot(made).tracking == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert idf1(made) == pytest.approx(2 * 3 / (2 * 3 + 1))
    # pairs of 1: A = 1 twice; of 2: A = 1/2; three matched and one missed
    assert hota(made) == pytest.approx(math.sqrt((1 + 1 + 1 / 2) / 4))


def test_a_false_detection() -> None:
    made = series(STEADY, [*STEADY, (None, 30, 0.0)])
    assert scot(made).tracking == pytest.approx(2 * 4 / (2 * 4 + 1))
    assert scot(made).change == 0.0
    assert scot(made).combined == 0.0
    assert idf1(made) == pytest.approx(2 * 4 / (2 * 4 + 1))
    assert hota(made) == pytest.approx(math.sqrt(4 / 5))


def test_change_term_and_beta() -> None:
    """Two objects are new in the second scene; one is found then, the other a scene late."""
    first: Pairs = [(1, 10, 1.0)]
    made = series(first, [*first, (2, 20, 1.0), (3, None, 0.0)], [*first, (2, 20, 1.0), (3, 30, 1.0)])
    result = scot(made)
    # matched: one, two and three; missed: one
    assert result.tracking == pytest.approx(2 * 6 / (2 * 6 + 1))
    # right: 2 in its scene; wrong: 30 as a new one in the third scene; missed: 3 in the second
    assert result.change == pytest.approx(1 / 2)
    assert result.combined == pytest.approx(5 * (12 / 13) * (1 / 2) / (4 * (1 / 2) + 12 / 13))


def test_objects_of_the_first_scene_are_no_change() -> None:
    made = series([(1, 10, 1.0), (None, 20, 0.0)], [(1, 10, 1.0), (None, 20, 0.0)])
    assert scot(made).change == 1.0


@pytest.mark.parametrize(
    ("iou", "tracking", "identity", "accuracy"),
    [(0.24, 0.0, 0.0, 4 / 19), (0.25, 1.0, 0.0, 5 / 19), (0.5, 1.0, 1.0, 10 / 19), (0.96, 1.0, 1.0, 1.0)],
)
def test_how_much_overlap_counts(iou: float, tracking: float, identity: float, accuracy: float) -> None:
    made = series([(1, 10, iou)], [(1, 10, iou)])
    assert scot(made).tracking == tracking
    assert idf1(made) == identity
    # right at the thresholds 0.05, 0.10 .. up to the overlap
    assert hota(made) == pytest.approx(accuracy)


def test_as_many_pairs_as_possible_before_the_closest() -> None:
    """10 overlaps both objects, 20 only the first: taking the closest pair would leave one object alone."""
    made = [Frame(np.array([1, 2]), np.array([10, 20]), np.array([[0.8, 0.3], [0.3, 0.0]]))]
    assert scot(made).tracking == 1.0


# ---- brute force: every one-to-one choice, in plain Python


def _choices(rows: list[int], columns: list[int]) -> list[list[tuple[int, int]]]:
    """Every one-to-one choice of pairs."""
    if not rows:
        return [[]]
    head, rest = rows[0], rows[1:]
    found = _choices(rest, columns)
    for column in columns:
        others = [one for one in columns if one != column]
        found += [[(head, column), *more] for more in _choices(rest, others)]
    return found


def _overlaps(frames: list[Frame]) -> list[dict[tuple[int, int], float]]:
    return [
        {
            (one, other): float(scene.iou[row, column])
            for row, one in enumerate(scene.truth.tolist())
            for column, other in enumerate(scene.proposed.tolist())
        }
        for scene in frames
    ]


def _present(frames: list[Frame]) -> tuple[dict[int, int], dict[int, int]]:
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for scene in frames:
        for side, ids in zip(sides, (scene.truth, scene.proposed), strict=True):
            for one in ids.tolist():
                side[one] = side.get(one, 0) + 1
    return sides


def brute_idf1(frames: list[Frame]) -> float:
    objects, identities = _present(frames)
    overlaps = _overlaps(frames)
    best = max(
        sum(scene.get(pair, 0.0) >= 0.5 for scene in overlaps for pair in choice)
        for choice in _choices(list(objects), list(identities))
    )
    return 2 * best / (sum(objects.values()) + sum(identities.values()))


def brute_hota(frames: list[Frame]) -> float:
    objects, identities = _present(frames)
    overlaps = _overlaps(frames)
    total = 0.0
    for step in range(1, 20):
        alpha = step / 20 - 1e-9

        def together(one: int, other: int, alpha: float = alpha) -> int:
            return sum(scene.get((one, other), 0.0) >= alpha for scene in overlaps)

        matches: list[tuple[int, int]] = []
        for scene, frame_ in zip(overlaps, frames, strict=True):
            ranked = []
            for choice in _choices(frame_.truth.tolist(), frame_.proposed.tolist()):
                kept = [pair for pair in choice if scene[pair] >= alpha]
                worth = 0.0
                for one, other in kept:
                    common = together(one, other)
                    worth += (
                        1000 + common / (objects[one] + identities[other] - common) + scene[one, other] / 1000
                    )
                ranked.append((worth, kept))
            matches += max(ranked, key=lambda pair: pair[0])[1]
        agreement = 0.0
        for one, other in matches:
            common = matches.count((one, other))
            agreement += common / (objects[one] + identities[other] - common)
        missed = sum(objects.values()) - len(matches)
        wrong = sum(identities.values()) - len(matches)
        total += math.sqrt(agreement / (len(matches) + missed + wrong))
    return total / 19


@pytest.mark.parametrize("seed", range(12))
def test_brute_force_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(4):
        truth = np.flatnonzero(rng.random(3) < 0.8) + 1
        proposed = np.flatnonzero(rng.random(4) < 0.7) + 10
        made.append(Frame(truth, proposed, rng.random((len(truth), len(proposed)))))
    assert idf1(made) == pytest.approx(brute_idf1(made))
    assert hota(made) == pytest.approx(brute_hota(made))


def test_scores_do_not_depend_on_the_names_of_identities() -> None:
    rng = np.random.default_rng(5)
    names = list(itertools.islice(iter(rng.permutation(100)), 4))
    scenes = [rng.random((3, 4)) for _ in range(5)]
    plain = [Frame(np.arange(3), np.arange(4), iou) for iou in scenes]
    renamed = [Frame(np.arange(3), np.array(names), iou) for iou in scenes]
    assert scot(plain) == scot(renamed)
    assert idf1(plain) == idf1(renamed)
    assert hota(plain) == pytest.approx(hota(renamed))
