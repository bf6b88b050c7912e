"""Rotated boxes: centre x, centre y, width, height, and the angle in radians by which the width turns from x to y."""

from __future__ import annotations

import numpy as np

_BLOCK = 128  # candidates whose overlaps are computed at once
_EPSILON = 1e-7  # keeps Ultralytics' formula away from 0 / 0 and log 0


def corners(boxes: np.ndarray) -> np.ndarray:
    """Return (n, 4, 2) corners, in turn, of boxes (n, 5)."""
    along = boxes[:, 2:3] / 2 * np.stack([np.cos(boxes[:, 4]), np.sin(boxes[:, 4])], axis=1)
    across = boxes[:, 3:4] / 2 * np.stack([-np.sin(boxes[:, 4]), np.cos(boxes[:, 4])], axis=1)
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[:, np.newaxis]
    turns = signs[..., :1] * along + signs[..., 1:] * across
    return np.asarray((boxes[:, :2] + turns).transpose(1, 0, 2))


def enclosing(points: np.ndarray) -> np.ndarray:
    """Return (n, 5) smallest rectangles around four points each (n, 4, 2), the longer side as width.

    A smallest rectangle has a side along an edge of the convex hull (Freeman and Shapira, 1975), and every such edge
    joins two of the four points: the best of all six directions is it.
    """
    first, second = np.triu_indices(4, 1)
    apart = points[:, second] - points[:, first]
    angles = np.arctan2(apart[..., 1], apart[..., 0])  # (n, 6); 0 for points that are one
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    normals = np.stack([-axes[..., 1], axes[..., 0]], axis=-1)
    spans = np.einsum("npd,nsad->nsap", points, np.stack([axes, normals], axis=2))
    low, high = spans.min(axis=3), spans.max(axis=3)
    sizes = high - low
    best = sizes.prod(axis=2).argmin(axis=1)
    lines = np.arange(len(points))
    size, middle, angle = sizes[lines, best], (low + high)[lines, best] / 2, angles[lines, best]
    centre = middle[:, :1] * axes[lines, best] + middle[:, 1:] * normals[lines, best]
    upright = size[:, 0] < size[:, 1]
    angle = (angle + np.where(upright, np.pi / 2, 0) + np.pi / 4) % np.pi - np.pi / 4
    return np.column_stack([centre, np.where(upright[:, np.newaxis], size[:, ::-1], size), angle])


def probabilistic_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n, m) probabilistic IoU of boxes (n, 5) and (m, 5), from 0 to 1.

    One minus the Hellinger distance of the Gaussians whose covariance is that of the boxes' area (Llerena et al.,
    arXiv 2106.06072, equations 3 to 6), with the constants of Ultralytics' ``batch_probiou``.
    """
    a1, b1, c1 = (value[:, np.newaxis] for value in _covariance(one))
    a2, b2, c2 = _covariance(other)
    x = one[:, np.newaxis, 0] - other[:, 0]
    y = one[:, np.newaxis, 1] - other[:, 1]
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    determinant = a * b - c**2
    near = (a * y**2 + b * x**2) / (determinant + _EPSILON) / 4 - (c * x * y) / (determinant + _EPSILON) / 2
    own = np.maximum(a1 * b1 - c1**2, 0) * np.maximum(a2 * b2 - c2**2, 0)
    alike = np.log(determinant / (4 * np.sqrt(own) + _EPSILON) + _EPSILON) / 2
    distance = np.clip(near + alike, _EPSILON, 100.0)
    return np.asarray(1 - np.sqrt(1 - np.exp(-distance) + _EPSILON))


def _covariance(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return xx, yy and xy of a uniform box: side² / 12 along its own axes, turned."""
    wide, high = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return wide * cosine**2 + high * sine**2, wide * sine**2 + high * cosine**2, (wide - high) * cosine * sine


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None, iou: float, limit: int) -> np.ndarray:
    """Return the indices that are kept of rotated boxes (n, 5), highest score first, at most ``limit``.

    Fast NMS (YOLACT, arXiv 1904.02689, section 3.3), as Ultralytics does it: a box goes where its probabilistic IoU
    with any of the same class (of any class, where ``classes`` is ``None``) and of higher rank exceeds ``iou``, were
    that one dropped itself.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order].astype(np.float64)
    kinds = None if classes is None else classes[order]
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(order)))
        above = np.arange(block[-1] + 1)
        exceeds = probabilistic_iou(ranked[above], ranked[block]) > iou
        if kinds is not None:
            exceeds &= kinds[above, np.newaxis] == kinds[block]
        exceeds &= above[:, np.newaxis] < block
        kept = np.concatenate([kept, block[~exceeds.any(axis=0)]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


def rotated_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n, m) IoU of boxes (n, 5) and (m, 5), by the area of the polygon that two of them share."""
    first, second = corners(one.astype(np.float64)), corners(other.astype(np.float64))
    overlaps = np.zeros((len(one), len(other)))
    if not overlaps.size:
        return overlaps
    near = np.maximum(first.min(axis=1)[:, np.newaxis], second.min(axis=1))
    far = np.minimum(first.max(axis=1)[:, np.newaxis], second.max(axis=1))
    rows, columns = np.nonzero((near < far).all(axis=2))  # those whose upright bounds meet
    shared = np.zeros_like(overlaps)
    shared[rows, columns] = _shared_area(first[rows], second[columns])
    areas = np.abs(one[:, 2] * one[:, 3])[:, np.newaxis].astype(np.float64), np.abs(other[:, 2] * other[:, 3])
    union = areas[0] + areas[1] - shared
    return np.asarray(np.divide(shared, union, out=overlaps, where=union > 0))


def _shared_area(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (p,) areas that pairs of convex quadrilaterals (p, 4, 2) share.

    The shared polygon is convex; its corners are those of each that lie in the other, and where edges cross. Sorted by
    angle around their mean, the shoelace formula gives the area; points that coincide add nothing.
    """
    crossing, met = _crossings(one, other)
    points = np.concatenate([one, other, crossing], axis=1)
    valid = np.concatenate([_inside(one, other), _inside(other, one), met], axis=1)
    count = np.maximum(valid.sum(axis=1), 1)[:, np.newaxis]
    centre = (points * valid[..., np.newaxis]).sum(axis=1) / count
    apart = np.where(valid[..., np.newaxis], points - centre[:, np.newaxis], 0.0)
    angle = np.where(valid, np.arctan2(apart[..., 1], apart[..., 0]), np.inf)
    turned = np.take_along_axis(apart, np.argsort(angle, axis=1)[..., np.newaxis], axis=1)
    # What is not valid stands last and is moved onto the first corner, where it closes the polygon and adds nothing.
    last = np.arange(points.shape[1]) >= count
    turned = np.where(last[..., np.newaxis], turned[:, :1], turned)
    following = np.roll(turned, -1, axis=1)
    return np.asarray(np.abs((turned[..., 0] * following[..., 1] - turned[..., 1] * following[..., 0]).sum(axis=1)) / 2)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Return (p, 4) whether points (p, 4, 2) lie in convex polygons (p, 4, 2) or, but for rounding, on their edges."""
    edges = np.roll(polygon, -1, axis=1) - polygon
    away = points[:, :, np.newaxis] - polygon[:, np.newaxis]
    side = edges[:, np.newaxis, :, 0] * away[..., 1] - edges[:, np.newaxis, :, 1] * away[..., 0]
    slack = 1e-9 * np.abs(edges).max(axis=(1, 2))[:, np.newaxis, np.newaxis] ** 2
    return np.asarray((side >= -slack).all(axis=2) | (side <= slack).all(axis=2))


def _crossings(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (p, 16, 2) where each edge of one meets each of the other, and (p, 16) whether it does."""
    start, along = one[:, :, np.newaxis], (np.roll(one, -1, axis=1) - one)[:, :, np.newaxis]
    begin, across = other[:, np.newaxis], (np.roll(other, -1, axis=1) - other)[:, np.newaxis]
    apart = begin - start
    turn = along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]
    parallel = np.abs(turn) <= 1e-12 * (np.abs(along).max(axis=-1) * np.abs(across).max(axis=-1))
    divisor = np.where(parallel, 1.0, turn)
    share = (apart[..., 0] * across[..., 1] - apart[..., 1] * across[..., 0]) / divisor
    other_share = (apart[..., 0] * along[..., 1] - apart[..., 1] * along[..., 0]) / divisor
    met = ~parallel & (share >= 0) & (share <= 1) & (other_share >= 0) & (other_share <= 1)
    return (start + share[..., np.newaxis] * along).reshape(len(one), 16, 2), met.reshape(len(one), 16)
