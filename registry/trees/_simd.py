"""Vector instructions for numba kernels: work on several numbers at once.

numba makes vector instructions of a loop only where it can prove that nothing overlaps, which it
seldom can for a loop of eight. Here the eight are one value: ``load`` eight neighbours, calculate
with ``+ - * /``, ``store`` them. A processor with narrower registers does it in two or four steps.
Only compiled code can call these functions, and nothing checks that a place is inside its array.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

DOUBLES = 8
"""Numbers of 53 bits worked on at once: as many as the widest registers hold."""

SINGLES = 16
"""Numbers of 24 bits worked on at once."""


WORDS = 16
"""Words of bits worked on at once, of 32 or 64 bits each."""


class Lanes(types.Type):
    """The type of some numbers, or words of bits, side by side."""

    def __init__(self, number: types.Number, count: int, vector: ir.VectorType) -> None:
        self.count, self.vector = count, vector
        super().__init__(f"Lanes({number}, {count})")


LANES = {
    types.float64: Lanes(types.float64, DOUBLES, ir.VectorType(ir.DoubleType(), DOUBLES)),
    types.float32: Lanes(types.float32, SINGLES, ir.VectorType(ir.FloatType(), SINGLES)),
    types.int32: Lanes(types.int32, WORDS, ir.VectorType(ir.IntType(32), WORDS)),
    types.int64: Lanes(types.int64, WORDS, ir.VectorType(ir.IntType(64), WORDS)),
}

INSTRUCTION = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul",
               operator.truediv: "fdiv"}  # fmt: skip


@register_model(Lanes)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)  # type: ignore[no-untyped-call]


def _lane_by_lane(sign: Any) -> None:
    class OfLanes(AbstractTemplate):
        def generic(self, given, _):  # type: ignore[no-untyped-def]
            if isinstance(given[0], Lanes) and given[1:] == given[:1]:
                return signature(given[0], *given)  # type: ignore[no-untyped-call]
            return None

    def lower(_, builder, __, given):  # type: ignore[no-untyped-def]
        # "contract": a product and a sum may be one instruction that rounds once
        return getattr(builder, INSTRUCTION[sign])(*given, flags=("contract",))

    infer_global(sign)(OfLanes)  # type: ignore[no-untyped-call]
    lower_builtin(sign, Lanes, Lanes)(lower)  # type: ignore[no-untyped-call]


for _sign in INSTRUCTION:
    _lane_by_lane(_sign)


def _place(context: Any, builder: Any, array: Any, given: Any, vector: Any) -> Any:
    value, index = given
    data = context.make_array(array)(context, builder, value).data
    at = builder.mul(index, ir.Constant(index.type, vector.count))
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _repeated(builder: Any, number: Any, vector: Any) -> Any:
    empty, first = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    return builder.shuffle_vector(
        builder.insert_element(empty, number, first(0)),
        empty,
        ir.Constant(ir.VectorType(first, vector.count), [0] * vector.count),
    )


def _load(_, array, index):  # type: ignore[no-untyped-def]
    """The lanes number ``index`` of a flat array."""
    lanes = LANES[array.dtype]

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], given, lanes.vector)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


def _store(_, array, index, lanes):  # type: ignore[no-untyped-def]
    """Write the lanes number ``index`` of a flat array."""

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], given[:2], lanes.vector)
        builder.store(given[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


def _every(_, number):  # type: ignore[no-untyped-def]
    """The same number in every lane."""
    lanes = LANES[number]

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        return _repeated(builder, given[0], lanes.vector)

    return lanes(number), generate


def _at_most(_, codes, index, more, last):  # type: ignore[no-untyped-def]
    """1 where ``code + more <= last`` in 16 bits, else 0, for the lanes number ``index``."""
    words = ir.VectorType(ir.IntType(16), SINGLES)

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], given[:2], words)
        code = builder.add(builder.load(place, align=2), _repeated(builder, given[2], words))
        is_left = builder.icmp_unsigned("<=", code, _repeated(builder, given[3], words))
        return builder.uitofp(is_left, LANES[types.float32].vector)

    return LANES[types.float32](codes, types.intp, types.uint16, types.uint16), generate


def _still(_, words, codes, index, more, last, others):  # type: ignore[no-untyped-def]
    """Words as they are where ``code + more <= last`` in 16 bits, else their bits of ``others``."""
    in_16_bits = ir.VectorType(ir.IntType(16), words.count)

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[1], given[1:3], in_16_bits)
        code = builder.add(builder.load(place, align=2), _repeated(builder, given[3], in_16_bits))
        is_left = builder.icmp_unsigned("<=", code, _repeated(builder, given[4], in_16_bits))
        kept = builder.or_(
            builder.sext(is_left, words.vector), _repeated(builder, given[5], words.vector)
        )
        return builder.and_(given[0], kept)

    word = types.Integer(f"int{words.vector.element.width}")
    return words(words, codes, types.intp, types.uint16, types.uint16, word), generate


def _add_to(_, sums, index, singles):  # type: ignore[no-untyped-def]
    """Add to as many sums of 53 bits, number ``index`` of a flat array."""
    vector = ir.VectorType(ir.DoubleType(), SINGLES)

    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], given[:2], vector)
        total = builder.fadd(builder.load(place, align=8), builder.fpext(given[2], vector))
        builder.store(total, place, align=8)
        return context.get_dummy_value()

    return types.void(sums, types.intp, singles), generate


load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
every: Any = intrinsic(_every)
at_most: Any = intrinsic(_at_most)
still: Any = intrinsic(_still)
add_to: Any = intrinsic(_add_to)
