"""RFC 7396 JSON Merge Patch, with the provenance of what it sets.

``null`` deletes a key; objects merge deeply; arrays and scalars replace; an object laid over a
non-object starts from ``{}``; emptied parents stay ``{}``; nulls inside arrays are kept.
"""

from __future__ import annotations

from typing import Any

from memfold.canonical import is_object, same
from memfold.provenance import Pointers, Position, leaves, pointer


def merge_patch(target: Any, patch: Any) -> Any:  # noqa: ANN401  # any JSON values
    """Return ``patch`` laid over ``target``; neither is changed, unchanged branches are shared."""
    merged, _ = merge(target, patch, {}, (0, 0))
    return merged


def merge(
    target: Any,  # noqa: ANN401  # any JSON value
    patch: Any,  # noqa: ANN401  # any JSON value
    known: Pointers,
    position: Position,
    *,
    in_place: bool = False,
) -> tuple[Any, bool]:
    """Lay ``patch`` over ``target`` and record in ``known`` (changed in place) what it set.

    Returns the merged value and whether it differs from ``target`` in canonical bytes. With
    ``in_place`` the objects of ``target`` are changed: quicker where nobody else has them.
    """
    return _merge(target, patch, known, position, "", in_place)


def _merge(
    target: Any,  # noqa: ANN401  # any JSON value
    patch: Any,  # noqa: ANN401  # any JSON value
    known: Pointers,
    position: Position,
    at: str,
    in_place: bool,  # noqa: FBT001  # passed on by position, once for each key
) -> tuple[Any, bool]:
    if not is_object(patch):
        if target is not _ABSENT and same(target, patch):
            return target, False
        _forget(target, known, at)
        known[at] = position
        return patch, True
    base: dict[str, Any] = target if is_object(target) else {}
    fresh = base is not target
    merged: dict[str, Any] | None = None
    if fresh:
        # The new object is a leaf until something is put into it.
        _forget(target, known, at)
        known[at] = position
    for key, value in patch.items():
        place = pointer(at, key)
        current = base if merged is None else merged
        if value is None:
            if key in current:
                merged = _own(base, in_place) if merged is None else merged
                _forget(merged.pop(key), known, place)
            continue
        if key in current:
            item, changed = _merge(current[key], value, known, position, place, in_place)
        else:
            item, changed = _merge(_ABSENT, value, known, position, place, in_place)
        if changed:
            merged = _own(base, in_place) if merged is None else merged
            merged[key] = item
    result = base if merged is None else merged
    if merged is not None:
        if merged:
            known.pop(at, None)
        else:
            known[at] = position
    return result, fresh or merged is not None


def _own(base: dict[str, Any], in_place: bool) -> dict[str, Any]:  # noqa: FBT001  # as above
    return base if in_place else dict(base)


class _Absent:
    """Stands for a key that is not there: unlike ``None`` it equals no JSON value."""


_ABSENT = _Absent()


def _forget(value: Any, known: Pointers, at: str) -> None:  # noqa: ANN401  # any JSON value
    """Drop the provenance of everything below a value that goes away."""
    if not isinstance(value, dict):
        known.pop(at, None)
        return
    for place, _ in leaves(value, at):
        known.pop(place, None)
