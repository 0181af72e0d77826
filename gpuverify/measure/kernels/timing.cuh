// Clock records and the folding of results, for all timed kernels.
// A record is five words a warp: SM, SM clock before and after, global timer before and after.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define THREAD ((u64)blockIdx.x * blockDim.x + threadIdx.x)
#define LANE (threadIdx.x & 31)

struct clocks {
    u64 cycles;
    u64 nanoseconds;
};

INLINE u32 sm_number() {
    u32 r;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(r));
    return r;
}

// The memory clobber and `volatile` keep the work between two readings from moving out.
INLINE clocks read_clocks() {
    clocks now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now.nanoseconds)::"memory");
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(now.cycles)::"memory");
    return now;
}

INLINE void write_record(u64* where, clocks before, clocks after) {
    where[0] = sm_number();
    where[1] = before.cycles;
    where[2] = after.cycles;
    where[3] = before.nanoseconds;
    where[4] = after.nanoseconds;
}

INLINE void record(u64* rec, clocks before, clocks after) {
    if (LANE == 0) write_record(rec + 5 * (THREAD >> 5), before, after);
}

INLINE u64 fold(u64 sum, u64 bits) { return (sum ^ bits) * 0x9E3779B97F4A7C15ull; }
