// One body for all tensor kernels: four accumulator tiles, eight mma an iteration.
#pragma once
#include "timing.cuh"

#define TILES 4

INLINE u64 bits_of(float x) { return __float_as_uint(x); }
INLINE u64 bits_of(int x) { return (u32)x; }
INLINE u64 bits_of(double x) { return (u64)__double_as_longlong(x); }

// The operands are small integers drawn from the nonce and every sum stays small, so that each
// accumulator is an exact integer that the host computes as well. The two B operands nearly
// cancel, which keeps sums small over many iterations: accumulators for FP8 hold fewer bits than
// their format says.
//
// Where a GPU has no such instruction, its compiler builds it from a product without accumulator
// and an addition, and then a product that two mma share, or that no iteration changes, would be
// computed once. So each tile has an A of its own, and which B comes first depends on the
// iteration.
template <class Op>
INLINE void multiply(const typename Op::operand* afrag, const typename Op::operand* bfrag, u64 iters,
                     u64* rec, u64* sink) {
    typename Op::operand a[TILES][Op::a_words], b[2][Op::b_words];
    typename Op::sum c[TILES][Op::c_words];
#pragma unroll
    for (int q = 0; q < TILES; q++) {
#pragma unroll
        for (int j = 0; j < Op::a_words; j++) a[q][j] = afrag[(32 * q + LANE) * Op::a_words + j];
#pragma unroll
        for (int j = 0; j < Op::c_words; j++) c[q][j] = 0;
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int j = 0; j < Op::b_words; j++)
            b[half][j] = bfrag[(32 * half + LANE) * Op::b_words + j];
    clocks before = read_clocks();
#pragma unroll 1
    for (u64 n = 0; n < iters; n++) {
        typename Op::operand turn[2][Op::b_words];
#pragma unroll
        for (int j = 0; j < Op::b_words; j++) {
            turn[0][j] = n & 1 ? b[1][j] : b[0][j];
            turn[1][j] = n & 1 ? b[0][j] : b[1][j];
        }
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int q = 0; q < TILES; q++) Op::step(c[q], a[q], turn[half]);
    }
    clocks after = read_clocks();
    record(rec, before, after);
    u64 sum = 0;
#pragma unroll
    for (int q = 0; q < TILES; q++)
#pragma unroll
        for (int j = 0; j < Op::c_words; j++) sum = fold(sum, bits_of(c[q][j]));
    sink[THREAD] = sum;
}

// A 16 x 8 tile from four A words and two B words a lane: the form of all types but f64.
#define MMA_16X8(NAME, SUM, LETTER, SHAPE_AND_TYPES)                                       \
    struct NAME##_op {                                                                     \
        typedef u32 operand;                                                               \
        typedef SUM sum;                                                                   \
        enum { a_words = 4, b_words = 2, c_words = 4 };                                    \
        static __device__ __forceinline__ void step(SUM (&c)[4], u32 (&a)[4], u32 (&b)[2]) {   \
            asm volatile("mma.sync.aligned." SHAPE_AND_TYPES                               \
                         " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"          \
                         : "+" LETTER(c[0]), "+" LETTER(c[1]), "+" LETTER(c[2]),           \
                           "+" LETTER(c[3])                                                \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
        }                                                                                  \
    };                                                                                     \
    KERNEL NAME(const u32* afrag, const u32* bfrag, u64 iters, u64* rec, u64* sink) {      \
        multiply<NAME##_op>(afrag, bfrag, iters, rec, sink);                               \
    }
