// The tensor pack: PTX 7.0 for sm_80 and later.
#include "mma.cuh"

MMA_16X8(mma_f16, float, "f", "m16n8k16.row.col.f32.f16.f16.f32")
MMA_16X8(mma_bf16, float, "f", "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_16X8(mma_tf32, float, "f", "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA_16X8(mma_s8, int, "r", "m16n8k32.row.col.s32.s8.s8.s32")

struct mma_f64_op {
    typedef double operand;
    typedef double sum;
    enum { a_words = 1, b_words = 1, c_words = 2 };
    static __device__ __forceinline__ void step(double (&c)[2], double (&a)[1], double (&b)[1]) {
        asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                     : "+d"(c[0]), "+d"(c[1])
                     : "d"(a[0]), "d"(b[0]));
    }
};

KERNEL mma_f64(const double* afrag, const double* bfrag, u64 iters, u64* rec, u64* sink) {
    multiply<mma_f64_op>(afrag, bfrag, iters, rec, sink);
}
