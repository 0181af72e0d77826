// The base pack: PTX 6.4 for sm_70 and later. Memory kernels and the arithmetic fingerprint.
#include "capacity.cuh"
#include "timing.cuh"

// The arithmetic is written as single PTX instructions: what is timed is then what is named, and
// neither compiler may fuse, split or drop it. Each iteration does 16 steps on 8 chains.
#define CHAINS 8
#define STEP_PAIRS 8

INLINE u32 start_value(u64 seed, int chain) {
    return (((u32)seed + 8 * LANE + chain) * 2654435761u) >> 22;
}

// What a chain computes with: how it starts, takes its constants, steps and shows its bits.
struct fma_f32 {
    typedef float value;
    static __device__ __forceinline__ value start(u32 n) { return (float)n; }
    static __device__ __forceinline__ value constant(u64 bits) {
        return __uint_as_float((u32)bits);
    }
    static __device__ __forceinline__ u64 bits(value x) { return __float_as_uint(x); }
    static __device__ __forceinline__ void step(value& x, value a, value b) {
        asm volatile("fma.rn.f32 %0, %0, %1, %2;" : "+f"(x) : "f"(a), "f"(b));
    }
};

// A multiplication and an addition that stay apart: silicon whose fused form is held back keeps
// this one fast.
struct mul_add_f32 : fma_f32 {
    static __device__ __forceinline__ void step(value& x, value a, value b) {
        asm volatile("mul.rn.f32 %0, %0, %1;" : "+f"(x) : "f"(a));
        asm volatile("add.rn.f32 %0, %0, %1;" : "+f"(x) : "f"(b));
    }
};

struct fma_f64 {
    typedef double value;
    static __device__ __forceinline__ value start(u32 n) { return (double)n; }
    static __device__ __forceinline__ value constant(u64 bits) {
        return __longlong_as_double((long long)bits);
    }
    static __device__ __forceinline__ u64 bits(value x) { return (u64)__double_as_longlong(x); }
    static __device__ __forceinline__ void step(value& x, value a, value b) {
        asm volatile("fma.rn.f64 %0, %0, %1, %2;" : "+d"(x) : "d"(a), "d"(b));
    }
};

// Two halves in a word. 0x6400 | n is the half-precision 1024 + n: no conversion is needed.
struct fma_f16x2 {
    typedef u32 value;
    static __device__ __forceinline__ value start(u32 n) { return (0x6400 | n) * 0x10001u; }
    static __device__ __forceinline__ value constant(u64 bits) { return (u32)bits; }
    static __device__ __forceinline__ u64 bits(value x) { return x; }
    static __device__ __forceinline__ void step(value& x, value a, value b) {
        asm volatile("fma.rn.f16x2 %0, %0, %1, %2;" : "+r"(x) : "r"(a), "r"(b));
    }
};

struct imad_u32 {
    typedef u32 value;
    static __device__ __forceinline__ value start(u32 n) { return n; }
    static __device__ __forceinline__ value constant(u64 bits) { return (u32)bits; }
    static __device__ __forceinline__ u64 bits(value x) { return x; }
    static __device__ __forceinline__ void step(value& x, value a, value b) {
        asm volatile("mad.lo.u32 %0, %0, %1, %2;" : "+r"(x) : "r"(a), "r"(b));
    }
};

template <class Op, bool Tally>
INLINE void chain(u64 a_bits, u64 b_bits, u64 c_bits, u64 seed, u64 iters, u64* rec, u64* sink) {
    typename Op::value a = Op::constant(a_bits);
    typename Op::value b = Op::constant(b_bits);
    typename Op::value c = Op::constant(c_bits);
    typename Op::value x[CHAINS];
    u32 tally = 0;
#pragma unroll
    for (int j = 0; j < CHAINS; j++) x[j] = Op::start(start_value(seed, j));
    clocks before = read_clocks();
#pragma unroll 1
    for (u64 n = 0; n < iters; n++) {
#pragma unroll
        for (int pair = 0; pair < STEP_PAIRS; pair++) {
#pragma unroll
            for (int j = 0; j < CHAINS; j++) Op::step(x[j], a, b);
#pragma unroll
            for (int j = 0; j < CHAINS; j++) Op::step(x[j], a, c);
        }
        // Half precision has no room to drift, so that its end value does not tell the number of
        // iterations; the tally does.
        if (Tally) tally += (u32)Op::bits(x[0]);
    }
    clocks after = read_clocks();
    record(rec, before, after);
    u64 sum = seed;
#pragma unroll
    for (int j = 0; j < CHAINS; j++) sum = fold(sum, Op::bits(x[j]));
    if (Tally) sum = fold(sum, tally);
    sink[THREAD] = sum;
}

KERNEL chain_fma_f32(u64 a, u64 b, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    chain<fma_f32, false>(a, b, c, seed, iters, rec, sink);
}

KERNEL chain_mul_add_f32(u64 a, u64 b, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    chain<mul_add_f32, false>(a, b, c, seed, iters, rec, sink);
}

KERNEL chain_fma_f64(u64 a, u64 b, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    chain<fma_f64, false>(a, b, c, seed, iters, rec, sink);
}

KERNEL chain_fma_f16x2(u64 a, u64 b, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    chain<fma_f16x2, true>(a, b, c, seed, iters, rec, sink);
}

KERNEL chain_imad_u32(u64 a, u64 b, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    chain<imad_u32, false>(a, b, c, seed, iters, rec, sink);
}

// Which SMs there are: short equal work in every block, and where it ran.
KERNEL census(u64 a, u64 c, u64 seed, u64 iters, u64* rec, u64* sink) {
    u32 x = start_value(seed, 0);
    clocks before = read_clocks();
#pragma unroll 1
    for (u64 n = 0; n < iters; n++) {
#pragma unroll
        for (int step = 0; step < 64; step++) imad_u32::step(x, (u32)a, (u32)c);
    }
    clocks after = read_clocks();
    record(rec, before, after);
    sink[THREAD] = fold(seed, x);
}

// All SMs read one set again and again, past the first-level cache.
KERNEL l2_read(const ulonglong2* buf, u64 ncell, u64 step, u64 loads, u64* rec, u64* sink) {
    u64 index = THREAD % ncell;
    u64 sum = 0;
    clocks before = read_clocks();
#pragma unroll 1
    for (u64 n = 0; n < loads; n += 8) {
#pragma unroll
        for (int turn = 0; turn < 8; turn++) {
            u64 lo, hi;
            asm volatile("ld.global.cg.v2.u64 {%0, %1}, [%2];"
                         : "=l"(lo), "=l"(hi)
                         : "l"(buf + index));
            sum += lo + hi;
            index += step;
            if (index >= ncell) index -= ncell;
        }
    }
    clocks after = read_clocks();
    record(rec, before, after);
    sink[THREAD] = sum;
}

// A single cycle through all slots: each holds the address of the next. The device builds it and
// the host knows any point of it without a walk, since the step is an affine map.
KERNEL chase_fill(u64 base, u64 slots, u64 stride, u64 a, u64 c) {
    u64 slot = THREAD;
    if (slot >= slots) return;
    u64 next = base + (a * slot + c) % slots * stride;
    asm volatile("st.global.u64 [%0], %1;" ::"l"(base + slot * stride), "l"(next) : "memory");
}

INLINE u64 walk(u64 where, u64 hops) {
#pragma unroll 1
    for (u64 n = 0; n < hops; n += 8) {
#pragma unroll
        for (int turn = 0; turn < 8; turn++)
            asm volatile("ld.global.u64 %0, [%0];" : "+l"(where)::"memory");
    }
    return where;
}

// One thread follows the cycle; the slots hold addresses, so that a hop is one load and no more.
KERNEL chase(u64 start, u64 warm, u64 hops, u64* rec) {
    u64 where = walk(start, warm);
    clocks before = read_clocks();
    where = walk(where, hops);
    clocks after = read_clocks();
    write_record(rec, before, after);
    rec[5] = where;
}
