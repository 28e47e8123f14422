"""Near-duplicates among images, by the cosine of their vectors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backbones.errors import InvalidInput
from heads.results import SimilarPairs

Index = Literal["auto", "exact", "hnsw"]

# With more vectors, comparing all pairs takes minutes of a CPU at 2,560 values each.
MOST_EXACT = 30_000
_MOST_PAIRS = 5_000_000
_QUERIES_AT_ONCE = 4096
# Cosines of equal vectors in float32.
_ROUNDING = 1e-5


def near_duplicates(
    vectors: NDArray[np.float32], similarity: float = 0.998, *, index: Index = "auto", neighbours: int = 32
) -> SimilarPairs:
    """All pairs of vectors whose cosine is `similarity` or more, the most alike first.

    vectors: (N, D) float32, of any lengths above 0. index: "exact" looks at every pair; "hnsw" at each vector's nearest
    `neighbours`, found by a graph, which is approximate: of more copies than that some pairs are missing, and a few
    others may be; "auto" is exact up to 30,000 vectors.
    Raises InvalidInput for vectors and numbers that cannot be used, for millions of pairs, and without faiss.
    Source: Malkov and Yashunin (arXiv:1603.09320) for the graph; faiss for both.
    """
    if vectors.ndim != 2 or not vectors.size:
        raise InvalidInput("vectors", f"{vectors.shape} values", hint="give one vector an image, (N, D)")
    if not -1 <= similarity <= 1:
        raise InvalidInput("similarity", f"{similarity}", hint="give a cosine, such as 0.998; at most 1")
    unit = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(unit, axis=1, keepdims=True)
    sick = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(sick):
        raise InvalidInput(f"vectors.{sick[0]}", "the vector is 0, or holds NaN or infinity", hint="leave it out")
    unit = unit / lengths
    exact = index == "exact" or (index == "auto" and len(unit) <= MOST_EXACT)
    least = similarity - _ROUNDING
    first, second, cosine = _all_pairs(unit, least) if exact else _nearest_pairs(unit, least, neighbours)
    order = np.lexsort((second, first, -cosine))
    return SimilarPairs(first[order], second[order], np.minimum(cosine[order], 1.0))


def groups(pairs: SimilarPairs, count: int) -> list[list[int]]:
    """Images that are linked by pairs, directly or through others: the largest group first. count: of all images."""
    links = coo_array((np.ones(len(pairs.first), dtype=np.int8), (pairs.first, pairs.second)), shape=(count, count))
    _, belongs = connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for place in np.unique(np.concatenate([pairs.first, pairs.second])).tolist():
        groups.setdefault(int(belongs[place]), []).append(place)
    return sorted(groups.values(), key=lambda group: (-len(group), group))


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _all_pairs(unit: NDArray[np.float32], least: float) -> Pairs:
    """Every pair (i < j) of unit vectors (N, D) of that cosine at least."""
    flat = _faiss().IndexFlatIP(unit.shape[1])
    flat.add(unit)
    parts: list[Pairs] = []
    pair_count = 0
    for at in range(0, len(unit), _QUERIES_AT_ONCE):
        queries = unit[at : at + _QUERIES_AT_ONCE]
        limits, cosine, places = flat.range_search(queries, least)
        rows = at + np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
        upper = places > rows
        parts.append((rows[upper], places[upper].astype(np.int64), cosine[upper]))
        pair_count += int(upper.sum())
        if pair_count > _MOST_PAIRS:
            raise InvalidInput(
                "similarity", f"more than {_MOST_PAIRS:,} pairs have this similarity", hint="send a higher similarity"
            )
    first, second, cosine = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, cosine


def _nearest_pairs(unit: NDArray[np.float32], least: float, neighbours: int) -> Pairs:
    """Pairs (i < j) of unit vectors (N, D) of that cosine at least, among each one's nearest."""
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(unit.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 80, max(64, 2 * neighbours)
    graph.add(unit)
    cosine, places = graph.search(unit, min(neighbours + 1, len(unit)))
    rows = np.repeat(np.arange(len(unit)), cosine.shape[1])
    cosine, places = cosine.ravel(), places.ravel().astype(np.int64)
    alike = (places >= 0) & (places != rows) & (cosine >= least)
    pairs = np.stack([np.minimum(rows, places), np.maximum(rows, places)])[:, alike]
    unique, kept = np.unique(pairs, axis=1, return_index=True)
    return unique[0], unique[1], cosine[alike][kept]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InvalidInput(
            "duplicates", "the search needs faiss, which is not installed", hint="pip install 'diffsight[search]'"
        ) from error
    return faiss
