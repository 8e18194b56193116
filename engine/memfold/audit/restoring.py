"""How an earlier state of a working memory is restored: by which update, the smallest. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from memfold.canonical import is_array, is_object, same
from memfold.definitions import Content
from memfold.errors import InvalidRequest
from memfold.merge import merge_patch


@dataclass(frozen=True, slots=True)
class Restored:
    """The update that restores a state."""

    mode: Literal["merge", "replace"]
    content: Content


class _Absent:
    """Stands for a part that is not there: unlike ``None`` it equals no JSON value."""


_ABSENT = _Absent()


def restored(now: Content | None, then: Content | None, path: str | None) -> Restored | None:
    """Return the update that makes ``now`` what it was ``then``; None where nothing differs.

    A memory that did not exist becomes an empty document of its present format. With ``path`` only
    that part of a JSON document is restored, or deleted if it was not there.

    Raises:
        InvalidRequest: a path in a text, or one that does not lead through objects.
    """
    if path:
        return _restored_part(now, then, _keys(path))
    if now is None and then is None:
        return None
    if then is None:
        then = "" if isinstance(now, str) else {}
    if now is not None and same(now, then):
        return None
    return Restored("replace", then)


def _restored_part(now: Content | None, then: Content | None, keys: list[str]) -> Restored | None:
    if isinstance(now, str) or isinstance(then, str):
        message = "a text is restored as a whole: leave out path"
        raise InvalidRequest(message)
    wanted = _part(then, keys)
    current = _part(now, keys)
    if isinstance(wanted, _Absent):
        if isinstance(current, _Absent):
            return None
        patch: Any = None
        target = _without(now or {}, keys)
    else:
        if not isinstance(current, _Absent) and same(current, wanted):
            return None
        patch = _patch(current, wanted)
        target = _with(now or {}, keys, wanted)
    for key in reversed(keys):
        patch = {key: patch}
    # A null that is stored in an object cannot be merged: then the whole document is put in place.
    if same(merge_patch(now, patch), target):
        return Restored("merge", patch)
    return Restored("replace", target)


def _patch(current: object, wanted: object) -> Any:  # noqa: ANN401  # any JSON value
    """Return a merge patch from one value to another, as far as there is one."""
    if not is_object(current) or not is_object(wanted):
        return wanted
    patch: dict[str, Any] = dict.fromkeys(current.keys() - wanted.keys())
    for key, value in wanted.items():
        if key not in current:
            patch[key] = value
        elif not same(current[key], value):
            patch[key] = _patch(current[key], value)
    return patch


def _keys(path: str) -> list[str]:
    if not path.startswith("/"):
        message = "path is a JSON Pointer, as in /address/city"
        raise InvalidRequest(message)
    return [key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/")]


def _part(content: object, keys: list[str]) -> Any:  # noqa: ANN401  # any JSON value, or that there is none
    for key in keys:
        if is_array(content):
            message = "a list is one value, and restored as a whole: shorten path"
            raise InvalidRequest(message)
        if not is_object(content) or key not in content:
            return _ABSENT
        content = content[key]
    return content


def _with(content: dict[str, Any], keys: list[str], value: object) -> dict[str, Any]:
    if len(keys) == 1:
        return {**content, keys[0]: value}
    inner = content.get(keys[0], {})
    if not is_object(inner):
        message = "a part above path is no object any more: restore that part"
        raise InvalidRequest(message)
    return {**content, keys[0]: _with(inner, keys[1:], value)}


def _without(content: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    if len(keys) == 1:
        return {key: value for key, value in content.items() if key != keys[0]}
    return {**content, keys[0]: _without(content[keys[0]], keys[1:])}
