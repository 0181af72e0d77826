// The FP8 pack: PTX 8.4 for sm_89 and later.
#include "mma.cuh"

MMA_16X8(mma_e4m3, float, "f", "m16n8k32.row.col.f32.e4m3.e4m3.f32")
