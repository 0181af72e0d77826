/* Prelude of every translated kernel: bit casts, 16-bit floats, atomics, clocks. C11. */
#pragma once
#include "gpv_abi.h"
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#define GPV_INLINE static inline __attribute__((always_inline, unused))

GPV_INLINE float gpv_f32(uint32_t x) { float f; memcpy(&f, &x, 4); return f; }
GPV_INLINE double gpv_f64(uint64_t x) { double f; memcpy(&f, &x, 8); return f; }
GPV_INLINE uint32_t gpv_b32(float f) { uint32_t x; memcpy(&x, &f, 4); return x; }
GPV_INLINE uint64_t gpv_b64(double f) { uint64_t x; memcpy(&x, &f, 8); return x; }

/* ---- binary16, exactly rounded ---- */
GPV_INLINE float gpv_half(uint32_t bits)
{
#ifdef __F16C__
    return _cvtsh_ss((unsigned short)bits);
#endif
    uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ffu;
    if (exponent == 31) return gpv_f32(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        float small = (float)mantissa * 0x1p-24f;
        return sign ? -small : small;
    }
    return gpv_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}
/* A float whose last bit tells "more follows" (round to odd), so that the next rounding is the only one. */
GPV_INLINE float gpv_odd(double value)
{
    float f = (float)value;
    if ((double)f != value && f - f == 0) {
        uint32_t b = gpv_b32(f);
        double size = value < 0 ? -value : value, got = f < 0 ? -(double)f : (double)f;
        if (got > size) b--;
        f = gpv_f32(b | 1);
    }
    return f;
}
GPV_INLINE uint32_t gpv_to_half(float f)
{
    uint32_t b = gpv_b32(f), sign = b >> 16 & 0x8000u, m = b & 0x7fffffffu;
    if (m > 0x7f800000u) return 0x7fffu;
#ifdef __F16C__
    return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
#endif
    if (m >= 0x47800000u) return sign | 0x7c00u;
    if (m < 0x38800000u) { /* subnormal: 2^-24 is the last place */
        float scaled = gpv_f32(m) * 0x1p24f + 0x1p23f;
        return sign | (gpv_b32(scaled) & 0x7fffffu);
    }
    m += 0xc8000fffu + (m >> 13 & 1); /* rebias by -112, round to nearest even */
    return sign | m >> 13;
}
static __attribute__((unused, noinline)) uint32_t gpv_fma_half(uint32_t a, uint32_t b, uint32_t c)
{
    return gpv_to_half(gpv_odd((double)gpv_half(a) * (double)gpv_half(b) + (double)gpv_half(c)));
}
static __attribute__((unused, noinline)) uint32_t gpv_fma_half2(uint32_t a, uint32_t b, uint32_t c)
{
    return gpv_fma_half(a & 0xffff, b & 0xffff, c & 0xffff) | gpv_fma_half(a >> 16, b >> 16, c >> 16) << 16;
}

/* ---- memory ---- */
#ifdef GPV_CHECK
static __attribute__((unused)) int gpv_allowed(const gpv_block *block, const char *kernel, uint64_t a, int n)
{
    const gpv_launch *launch = block->launch;
    if (a % (uint64_t)n) { launch->fault(launch->card, kernel, a, n, "misaligned"); return 0; }
    int low = 0, high = launch->range_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (launch->ranges[middle].hi <= a) low = middle + 1; else high = middle;
    }
    if (low < launch->range_count && a >= launch->ranges[low].lo && a + (uint64_t)n <= launch->ranges[low].hi) return 1;
    launch->fault(launch->card, kernel, a, n, "out of bounds");
    return 0;
}
#define GPV_ALLOWED(a, n) gpv_allowed(block_, GPV_NAME, (a), (n))
#else
#define GPV_ALLOWED(a, n) 1
#endif

#define GPV_ATOMICS(T, t) \
    GPV_INLINE T gpv_add_##t(T *p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); } \
    GPV_INLINE T gpv_or_##t(T *p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); } \
    GPV_INLINE T gpv_and_##t(T *p, T v) { return __atomic_fetch_and(p, v, __ATOMIC_RELAXED); } \
    GPV_INLINE T gpv_xor_##t(T *p, T v) { return __atomic_fetch_xor(p, v, __ATOMIC_RELAXED); } \
    GPV_INLINE T gpv_exch_##t(T *p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); } \
    GPV_INLINE T gpv_min_##t(T *p, T v) { T o = __atomic_load_n(p, __ATOMIC_RELAXED); \
        while (o > v && !__atomic_compare_exchange_n(p, &o, v, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { } return o; } \
    GPV_INLINE T gpv_max_##t(T *p, T v) { T o = __atomic_load_n(p, __ATOMIC_RELAXED); \
        while (o < v && !__atomic_compare_exchange_n(p, &o, v, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { } return o; }
GPV_ATOMICS(uint64_t, u64)
GPV_ATOMICS(uint32_t, u32)
GPV_ATOMICS(int64_t, s64)
GPV_ATOMICS(int32_t, s32)
GPV_ATOMICS(uint64_t, b64)
GPV_ATOMICS(uint32_t, b32)

/* ---- time: what a thread has done so far, priced by the card's profile ---- */
GPV_INLINE void gpv_range_of(gpv_block *block, uint64_t address, uint64_t size)
{
    if (address < block->lowest) block->lowest = address;
    if (address + size > block->highest) block->highest = address + size;
}
static __attribute__((unused)) double gpv_elapsed(const gpv_block *block, const uint64_t *cost)
{
    const gpv_launch *launch = block->launch;
    double shared = (double)launch->resident * launch->ntid, longest = (double)cost[GPV_LATENCY];
    for (int kind = 0; kind < GPV_RATED; kind++) {
        double cycles = (double)cost[kind] * shared * launch->per_sm[kind];
        if (cycles > longest) longest = cycles;
    }
    if (!launch->touch) {
        int near = block->highest > block->lowest && block->highest - block->lowest <= launch->l2_bytes;
        double each = near ? launch->cycles_per_byte_l2 : launch->cycles_per_byte_memory;
        double cycles = (double)(cost[GPV_READ] + cost[GPV_WRITE]) * shared * each;
        if (cycles > longest) longest = cycles;
    }
    return longest;
}
static __attribute__((unused)) uint64_t gpv_clock(const gpv_block *block, const uint64_t *cost)
{
    const gpv_launch *launch = block->launch;
    double cycles = launch->base_cycles + block->start_cycles + gpv_elapsed(block, cost);
    /* The counters of two SMs do not start together on a card either. */
    return (uint64_t)(cycles * launch->clock_factor) + (uint64_t)block->smid * 1000003u;
}
static __attribute__((unused)) uint64_t gpv_timer(const gpv_block *block, const uint64_t *cost)
{
    const gpv_launch *launch = block->launch;
    double cycles = launch->base_cycles + block->start_cycles + gpv_elapsed(block, cost);
    uint64_t ns = (uint64_t)(cycles * launch->ns_per_cycle * launch->timer_factor);
    return 1700000000000000000u + ns / launch->timer_step_ns * launch->timer_step_ns;
}
static __attribute__((unused)) void gpv_finish(gpv_block *block, const uint64_t *cost)
{
    double cycles = gpv_elapsed(block, cost);
    if (cycles > block->elapsed_cycles) block->elapsed_cycles = cycles;
}

/* ---- loads and stores of kernels that read a clock ---- */
#define GPV_LOADED(a, n) do { gpv_range_of(block_, (a), (n)); \
    if (block_->launch->touch) cost_[GPV_LATENCY] += block_->launch->touch(block_->launch->card, (a)); } while (0)
/* Where a timed kernel leaves its results says nothing about the memory that it measures. */
#define GPV_STORED(a, n) ((void)0)

/* ---- threads side by side ---- */
#ifdef __clang__
#define GPV_UNORDERED _Pragma("clang loop vectorize(assume_safety)")
#else
#define GPV_UNORDERED _Pragma("GCC ivdep")
#endif
#ifdef GPV_CHECK
#define GPV_CONVOY(function) (void)0
#else
#define GPV_CONVOY(function) if (function(block_)) return
#endif

/* ---- kernels that run warp by warp ---- */
#define GPV_DONE 0xffffffffu
#define GPV_LANES for (uint32_t l = 0; l < 32; l++) if (mask_ >> l & 1)
#define GPV_THREAD(name) GPV_INLINE void name(gpv_block *block_, const char *params_, uint32_t tid, \
    uint32_t ntid, const int timed_)
#define GPV_END_SCALAR \
    L_end_:; if (timed_) for (int i_ = 0; i_ < GPV_COSTS; i_++) block_->cost[i_] = cost_[i_];

#define GPV_MODULE __attribute__((visibility("default"))) const gpv_module gpv_this_module =
