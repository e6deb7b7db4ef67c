# SPDX-License-Identifier: Apache-2.0
"""A recipe: what ``flow train`` does, as a TOML file. Every key is known, or it is an error."""

import inspect
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from flow.errors import RecipeError
from flow.quant.budget import Budget
from flow.quant.data import SOURCES
from flow.quant.methods import METHODS
from flow.quant.models import MODELS, Kit

_TABLES = ("data", "model", "method")


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        text: The file.
        data: ``name`` of the source, ``path`` where it needs one.
        model: ``name``, options of ``flow.quant.models.build``, and ``start``, a file of weights to start from.
        method: ``name``, and options of the method.
        budget: Options of ``flow.quant.budget.Budget``; None where widths may cost anything.
        epochs: Passes over the training data.
        batch: Frames of a step.
        lr: Rate of the weights at the start.
        optimiser: ``adam``, or ``sgd`` with a momentum of 0.9.
        weight_decay: Of the optimiser.
        schedule: ``cosine`` (to zero at the end) or ``constant``.
        task: ``classify`` (cross entropy), or ``rebuild`` the frame itself (mean squared error).
        seed: Of everything random.
        threads: Of torch on the CPU. Results depend on their number in the last bit; small networks gain nothing.
        device: ``auto`` (a GPU where there is one), or a name for torch.
    """

    text: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    epochs: int
    batch: int = 64
    lr: float = 3e-3
    optimiser: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    task: Literal["classify", "rebuild"] = "classify"
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    budget: Mapping[str, Any] | None = None


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe; the paths in it are relative to its folder.

    Raises:
        RecipeError: It cannot be read, or a key is unknown, missing or of the wrong kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {getattr(error, 'strerror', error)}", "check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}", "see docs/training.md for an example") from error
    hints = {field.name: get_type_hints(Recipe)[field.name] for field in fields(Recipe) if field.name != "text"}
    for table in _TABLES:
        if not isinstance(found.get(table), dict) or "name" not in found[table]:
            raise RecipeError(f"{path} has no [{table}] with a name", "see docs/training.md for an example")
    if "epochs" not in found:
        raise RecipeError(f"{path} does not say how many epochs", "add a line such as: epochs = 30")
    _check(found, hints, str(path), "")
    _check_table(found["data"], SOURCES, {"path": str}, "data", path)
    _check_table(
        found["model"], MODELS, {"hidden": Sequence[int], "start": str, **_options_of(Kit.__init__)}, "model", path
    )
    name = found["method"]["name"]
    _check_table(
        found["method"], METHODS, _options_of(METHODS[name].__init__) if name in METHODS else {}, "method", path
    )
    if "budget" in found:
        _check(found["budget"], _options_of(Budget.__init__), str(path), " in [budget]")
    for key, least in (("epochs", 1), ("batch", 2), ("seed", 0), ("threads", 1)):
        if found.get(key, least) < least:
            raise RecipeError(f"{path}: {key} = {found[key]}", f"{key} is {least} or more")
    if found.get("seed", 0) >= 1 << 31:
        raise RecipeError(f"{path}: seed = {found['seed']}", f"seed is less than {1 << 31}")
    for key in ("lr", "weight_decay"):
        if not found.get(key, 0.0) >= 0:
            raise RecipeError(f"{path}: {key} = {found[key]}", f"{key} is not negative")
    for table, key in (("data", "path"), ("model", "start")):
        if key in found[table]:
            found[table][key] = path.parent / found[table][key]
    return Recipe(text, **found)


def _options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a constructor and their types."""
    hints = get_type_hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters if name in hints}


def _check_table(
    table: Mapping[str, Any], known: Mapping[str, Any], options: Mapping[str, Any], title: str, path: Path
) -> None:
    if table["name"] not in known:
        raise RecipeError(f"{path}: there is no {title} '{table['name']}'", f"choose one of {', '.join(known)}")
    _check(table, {"name": str, **options}, str(path), f" in [{title}]")


def _check(found: Mapping[str, Any], hints: Mapping[str, Any], path: str, where: str) -> None:
    for key, value in found.items():
        if key not in hints:
            raise RecipeError(f"{path}: unknown key '{key}'{where}", f"the keys are {', '.join(hints)}")
        if not _fits(value, hints[key]):
            raise RecipeError(f"{path}: {key} = {value!r}{where}", f"{key} is {_words(hints[key])}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from TOML is of a type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(each, parts[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, dict) and (parts[1] is Any or all(_fits(each, parts[1]) for each in value.values()))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts if part is not type(None))
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin is Sequence:
        return f"a list, each {_words(parts[0])}"
    if origin is Mapping:
        return "a table" + ("" if parts[1] is Any else f", each {_words(parts[1])}")
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]
