"""Names for axes: every shape error says which axis, with which numbers, and shows all shapes."""

from collections.abc import Sequence

Operand = tuple[Sequence[int], str]  # a shape and the names of its axes, as in ((64, 3, 32, 32), "N IC IH IW")


def describe(operands: dict[str, Operand]) -> str:
    """`x(20, 3, 50, 100) as (N, IC, IH, IW), w(...) as (...)`."""
    return ", ".join(f"{name}{tuple(shape)} as ({', '.join(axes.split())})" for name, (shape, axes) in operands.items())


def bind(op: str, groups: int = 1, **operands: Operand) -> dict[str, int]:
    """The extent behind each axis name; the same name must mean the same number everywhere.

    `bind("conv2d", x=(x.shape, "N IC IH IW"), w=(w.shape, "OC IC/groups KH KW"))` returns {"N": ..., "IC": ..., ...}.
    ValueError on a wrong number of axes, a zero extent (N may be 0), extents that differ, groups that do not divide.
    """
    extents: dict[str, int] = {}
    owners: dict[str, str] = {}
    if groups == 1:
        operands = {name: (shape, axes.replace("/groups", "")) for name, (shape, axes) in operands.items()}
    for name, (shape, axes) in operands.items():
        _check_rank(op, name, shape, axes, operands)
        for axis, extent in zip(axes.split(), shape):
            if extent == 0 and axis != "N":
                raise ValueError(f"{op}: {name} has {axis}=0; only the batch N may be empty; got {describe(operands)}")
            expected = extents.setdefault(axis, extent)
            if extent != expected:
                hint = _channels_last(axis, {extent, expected}, operands)
                raise ValueError(f"{op}: {name} has {axis}={extent}, but {owners[axis]} has {axis}={expected}{hint}; got {describe(operands)}")
            owners.setdefault(axis, name)
    for axis in ("IC", "OC"):
        _check_groups(op, axis, groups, extents, owners, operands)
    return extents


def _check_rank(op: str, name: str, shape: Sequence[int], axes: str, operands: dict[str, Operand]) -> None:
    names = axes.split()
    if len(shape) == len(names):
        return
    missing = len(names) - len(shape) if names[0] == "N" else 0
    hint = f"; for a single example write {name}[None]" if missing == 1 else ""
    if _one_channel(names, operands) and missing == 1:
        hint += f", for images without an axis of channels {name}[:, None]"
    elif _one_channel(names, operands) and missing == 2:
        hint = f"; for a single image write {name}[None, None]"
    raise ValueError(f"{op}: {name} must have {len(names)} axes ({', '.join(names)}), got {len(shape)}{hint}; got {describe(operands)}")


def _one_channel(names: list[str], operands: dict[str, Operand]) -> bool:
    """Whether the others say that this operand has a single channel."""
    said = (dict(zip(axes.split(), shape)) for shape, axes in operands.values() if axes.split() != names)
    return len(names) > 2 and any(extents.get(names[1]) == 1 for extents in said)


def _channels_last(axis: str, extents: set[int], operands: dict[str, Operand]) -> str:
    """What to write where x has its channels last, as pictures in files have them; "" where it has not."""
    shape, axes = operands.get("x", ((0, 0, 0), "N C W"))
    N, C, *spatial = axes.split()
    if axis != C or not spatial or {shape[1], shape[-1]} != extents or shape[-1] > shape[1]:
        return ""
    order = ", ".join(map(str, (0, len(shape) - 1, *range(1, len(shape) - 1))))
    return f": x looks like ({', '.join((N, *spatial, C))}), write x.transpose({order})"


def _check_groups(op: str, axis: str, groups: int, extents: dict[str, int], owners: dict[str, str], operands: dict[str, Operand]) -> None:
    extent, share = extents.get(axis), extents.get(f"{axis}/groups")
    if groups == 1 or extent is None:
        return
    if extent % groups:
        raise ValueError(f"{op}: {axis}={extent} is not divisible by groups={groups}; got {describe(operands)}")
    if share is not None and share * groups != extent:
        raise ValueError(
            f"{op}: {owners[f'{axis}/groups']} has {axis}/groups={share}, but {owners[axis]} has {axis}={extent} "
            f"and groups={groups} make {extent // groups}; got {describe(operands)}"
        )
