/* mma.sync by the fragment layouts of the PTX ISA ("Matrix Fragments for mma.m16n8k…"):
   group = lane / 4, member = lane % 4. Sums run over k in ascending order in the type of the
   accumulator; real tensor cores round in another order, so only exact sums may be compared. */
#pragma once
#include "gpv_device.h"

GPV_INLINE float gpv_mma_half(uint32_t word, int i) { return gpv_half(word >> (16 * i) & 0xffffu); }
GPV_INLINE float gpv_mma_bfloat(uint32_t word, int i) { return gpv_f32((word >> (16 * i) & 0xffffu) << 16); }
GPV_INLINE float gpv_mma_tfloat(uint32_t word) { return gpv_f32(word & 0xffffe000u); }
/* FP8 of the OCP specification: E4M3 has no infinity, E5M2 is a cut binary16. */
GPV_INLINE float gpv_mma_e4m3(uint32_t b)
{
    uint32_t exponent = b >> 3 & 15, mantissa = b & 7;
    float size = exponent ? gpv_f32((exponent + 120) << 23 | mantissa << 20) : (float)mantissa * 0x1p-9f;
    if ((b & 0x7f) == 0x7f) size = gpv_f32(0x7fc00000u);
    return b & 0x80 ? -size : size;
}
GPV_INLINE float gpv_mma_e5m2(uint32_t b) { return gpv_half(b << 8); }
GPV_INLINE float gpv_mma_byte_e4m3(uint32_t word, int i) { return gpv_mma_e4m3(word >> (8 * i) & 0xff); }
GPV_INLINE float gpv_mma_byte_e5m2(uint32_t word, int i) { return gpv_mma_e5m2(word >> (8 * i) & 0xff); }
GPV_INLINE int32_t gpv_mma_byte_s8(uint32_t word, int i) { return (int8_t)(word >> (8 * i)); }

#define GPV_PRODUCT(K) \
    for (int l = 0; l < 32; l++) for (int i = 0; i < 4; i++) { \
        int row = l / 4 + (i >= 2 ? 8 : 0), column = l % 4 * 2 + (i & 1); \
        for (int k = 0; k < (K); k++) d[i][l] += a[row][k] * b[k][column]; }

/* m16n8k16 (and k8 of Turing) of 16-bit types */
#define GPV_MMA_16BIT(NAME, READ, K) \
static __attribute__((unused, noinline)) void NAME(float d[][32], uint32_t A[][32], uint32_t B[][32]) { \
    float a[16][K], b[K][8]; \
    for (int l = 0; l < 32; l++) { int g = l / 4, t = l % 4; \
        for (int i = 0; i < (K) / 2; i++) a[g + (i & 2 ? 8 : 0)][t * 2 + (i & 1) + (i >= 4 ? 8 : 0)] = READ(A[i / 2][l], i & 1); \
        for (int i = 0; i < (K) / 4; i++) b[t * 2 + (i & 1) + (i >= 2 ? 8 : 0)][g] = READ(B[i / 2][l], i & 1); } \
    GPV_PRODUCT(K) }
GPV_MMA_16BIT(gpv_mma_f16_k16, gpv_mma_half, 16)
GPV_MMA_16BIT(gpv_mma_f16_k8, gpv_mma_half, 8)
GPV_MMA_16BIT(gpv_mma_bf16_k16, gpv_mma_bfloat, 16)

/* m16n8k32 of 8-bit types */
#define GPV_MMA_8BIT(NAME, READ, T) \
static __attribute__((unused, noinline)) void NAME(T d[][32], uint32_t A[][32], uint32_t B[][32]) { \
    T a[16][32], b[32][8]; \
    for (int l = 0; l < 32; l++) { int g = l / 4, t = l % 4; \
        for (int i = 0; i < 16; i++) a[g + (i & 4 ? 8 : 0)][t * 4 + (i & 3) + (i >= 8 ? 16 : 0)] = READ(A[i / 4][l], i & 3); \
        for (int i = 0; i < 8; i++) b[t * 4 + (i & 3) + (i >= 4 ? 16 : 0)][g] = READ(B[i / 4][l], i & 3); } \
    GPV_PRODUCT(32) }
GPV_MMA_8BIT(gpv_mma_s8_k32, gpv_mma_byte_s8, int32_t)
GPV_MMA_8BIT(gpv_mma_e4m3_k32, gpv_mma_byte_e4m3, float)
GPV_MMA_8BIT(gpv_mma_e5m2_k32, gpv_mma_byte_e5m2, float)

static __attribute__((unused, noinline)) void gpv_mma_tf32_k8(float d[][32], uint32_t A[][32], uint32_t B[][32])
{
    float a[16][8], b[8][8];
    for (int l = 0; l < 32; l++) {
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++) a[g + (i & 1 ? 8 : 0)][t + (i >= 2 ? 4 : 0)] = gpv_mma_tfloat(A[i][l]);
        for (int i = 0; i < 2; i++) b[t + 4 * i][g] = gpv_mma_tfloat(B[i][l]);
    }
    GPV_PRODUCT(8)
}
static __attribute__((unused, noinline)) void gpv_mma_f64_k4(double d[][32], double A[][32], double B[][32])
{
    double a[8][4], b[4][8];
    for (int l = 0; l < 32; l++) { a[l / 4][l % 4] = A[0][l]; b[l % 4][l / 4] = B[0][l]; }
    for (int l = 0; l < 32; l++) for (int i = 0; i < 2; i++)
        for (int k = 0; k < 4; k++) d[i][l] += a[l / 4][k] * b[k][l % 4 * 2 + i];
}
