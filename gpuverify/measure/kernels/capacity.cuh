// Memory kernels: the capacity proof and the bandwidth measurement.
// One source for two compilers: NVRTC (PTX that the driver compiles) and, through a shim header
// that defines the same macros, a C++ compiler on the host. Integer arithmetic only, so that every
// result can be recomputed bit for bit. No shared memory, no barriers, no warp collectives.
#pragma once

#ifdef __CUDACC_RTC__
typedef unsigned long long u64;
typedef ulonglong2 cell_t;
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define RESTRICT __restrict__
#define GROUP ((u64)blockIdx.x)
// Cells lie one block apart for a thread, so that each access of a warp is one contiguous piece.
// A read beyond the end takes the last cell instead and its outcome is dropped: without a branch
// around each, the compiler can have all loads of a thread under way at once. So there must be a
// last cell: ncell is at least 1, which the caller sees to (packs.py, Kernel.blocks).
#define FOR_CELLS(per_thread, i)                                                 \
    {                                                                            \
        u64 first_ = GROUP * (256 * (per_thread)) + threadIdx.x;                 \
        _Pragma("unroll") for (int turn_ = 0; turn_ < (per_thread); turn_++) {   \
            u64 i = first_ + (u64)turn_ * 256;
#define END_CELLS }}
#define READ(buf, i) ((buf)[(i) < ncell ? (i) : ncell - 1])
#define WITHIN(i, value) ((i) < ncell ? (value) : (u64)0)
#define WRITE(buf, i, value) if ((i) < ncell) (buf)[i] = (value)
#define ADD64(where, value) atomicAdd((where), (value))
#define MIN64(where, value) atomicMin((where), (value))
#define MAX64(where, value) atomicMax((where), (value))
#define CELL(lo, hi) make_ulonglong2((lo), (hi))
#endif

// Two bijections of 64-bit words without a multiplication: cheap on the integer pipe of a GPU and
// on the vector unit of the CPU that recomputes them, and the host can invert a wrong word into
// the index that it was written for.
INLINE u64 mix_a(u64 z) {
    z ^= z << 13;
    z ^= z >> 7;
    z ^= z << 17;
    return z;
}

INLINE u64 mix_b(u64 z) {
    z ^= z >> 12;
    z ^= z << 25;
    z ^= z >> 27;
    return z;
}

INLINE u64 cell_lo(u64 index, u64 k0) { return mix_a(index + k0); }
INLINE u64 cell_hi(u64 lo, u64 k1) { return mix_b(lo + k1); }

KERNEL cap_write(cell_t* buf, u64 ncell, u64 base, u64 k0, u64 k1, u64 inv) {
    FOR_CELLS(4, i)
        u64 lo = cell_lo(base + i, k0);
        u64 hi = cell_hi(lo, k1);
        WRITE(buf, i, CELL(lo ^ inv, hi ^ inv));
    END_CELLS
}

// out: bad cells, lowest bad index, highest bad index, records wanted.
// rec: index, seen lo and seen hi (the inversion taken off), for the first recmax that come.
KERNEL cap_check(const cell_t* buf, u64 ncell, u64 base, u64 k0, u64 k1, u64 inv, u64* out,
                 u64* rec, u64 recmax) {
    u64 wrong = 0;
    FOR_CELLS(4, i)
        u64 lo = cell_lo(base + i, k0);
        u64 hi = cell_hi(lo, k1);
        cell_t seen = READ(buf, i);
        wrong |= WITHIN(i, (seen.x ^ inv ^ lo) | (seen.y ^ inv ^ hi));
    END_CELLS
    if (wrong == 0) return;
    // The slow path: on an honest card no thread takes it but for the planted faults.
    u64 found = 0;
    FOR_CELLS(4, i)
        u64 lo = cell_lo(base + i, k0);
        u64 hi = cell_hi(lo, k1);
        cell_t seen = READ(buf, i);
        if (WITHIN(i, (seen.x ^ inv ^ lo) | (seen.y ^ inv ^ hi)) != 0) {
            found = 1;
            ADD64(&out[0], (u64)1);
            MIN64(&out[1], base + i);
            MAX64(&out[2], base + i);
            u64 slot = ADD64(&out[3], (u64)1);
            if (slot < recmax) {
                rec[3 * slot] = base + i;
                rec[3 * slot + 1] = seen.x ^ inv;
                rec[3 * slot + 2] = seen.y ^ inv;
            }
        }
    END_CELLS
    // Wrong at the first look and right at the second is wrong: it counts, without a record.
    if (found == 0) ADD64(&out[0], (u64)1);
}

// What the memory holds, as keyed 64-bit sums: no order, no rounding, so the CPU gets the same.
KERNEL cap_digest(const cell_t* buf, u64 ncell, u64 base, u64 kd, u64 shift, u64* dig) {
    u64 sum = 0;
    FOR_CELLS(16, i)
        cell_t seen = READ(buf, i);
        sum += WITHIN(i, mix_b(mix_a(seen.x + (base + i) + kd) ^ seen.y));
    END_CELLS
    ADD64(&dig[GROUP >> shift], sum);
}

// After s stages a cell depends on 2^s cells that lie chunks apart. In place and reversible.
KERNEL butterfly(cell_t* RESTRICT a, cell_t* RESTRICT b, u64 ncell, u64 k) {
    FOR_CELLS(4, i)
        cell_t x = READ(a, i);
        cell_t y = READ(b, i);
        u64 m0 = mix_a(x.x + y.y + k);
        u64 m1 = mix_b((x.y ^ y.x) + (i + k));
        WRITE(a, i, CELL(x.x + m1, x.y ^ m0));
        WRITE(b, i, CELL(y.x ^ m0, y.y + m1));
    END_CELLS
}

KERNEL bw_write(cell_t* buf, u64 ncell, u64 val) {
    FOR_CELLS(4, i)
        WRITE(buf, i, CELL(val + i, val ^ i));
    END_CELLS
}

// The sum is exact, so a read that did not happen shows in it; 256 slots keep the adds apart.
KERNEL bw_read(const cell_t* buf, u64 ncell, u64* out) {
    u64 sum = 0;
    FOR_CELLS(16, i)
        cell_t seen = READ(buf, i);
        sum += WITHIN(i, seen.x + seen.y);
    END_CELLS
    ADD64(&out[GROUP & 255], sum);
}

KERNEL bw_copy(cell_t* RESTRICT dst, const cell_t* RESTRICT src, u64 ncell) {
    FOR_CELLS(4, i)
        WRITE(dst, i, READ(src, i));
    END_CELLS
}
