// Lets a C++ compiler take kernels/capacity.cuh as it is: one call of a kernel does the work of
// one thread block, whose number stands in `current_group`. For tests and benchmarks only.
#pragma once

typedef unsigned long long u64;
struct alignas(16) cell_t {
    u64 x, y;
};

static thread_local u64 current_group;

#define KERNEL extern "C" void
#define INLINE static inline
#define RESTRICT __restrict__
#define GROUP (current_group)
// The cells of a block are one contiguous piece; on a CPU they are taken in order.
#define FOR_CELLS(per_thread, i)                                                 \
    {                                                                            \
        u64 first_ = GROUP * (256 * (per_thread));                               \
        u64 end_ = first_ + 256 * (per_thread);                                  \
        if (end_ > ncell) end_ = ncell;                                          \
        for (u64 i = first_; i < end_; i++) {
#define END_CELLS }}
#define READ(buf, i) ((buf)[i])
#define WITHIN(i, value) (value)
#define WRITE(buf, i, value) (buf)[i] = (value)
#define ADD64(where, value) __atomic_fetch_add((where), (value), __ATOMIC_RELAXED)
#define CELL(lo, hi) (cell_t{(lo), (hi)})

static inline void MIN64(u64* where, u64 value) {
    u64 old = __atomic_load_n(where, __ATOMIC_RELAXED);
    while (old > value && !__atomic_compare_exchange_n(where, &old, value, false,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

static inline void MAX64(u64* where, u64 value) {
    u64 old = __atomic_load_n(where, __ATOMIC_RELAXED);
    while (old < value && !__atomic_compare_exchange_n(where, &old, value, false,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}
