/* What the emulated driver and the translated kernels say to each other. C and C++. */
#pragma once
#include <stdint.h>

/* Costs that a thread collects; the first GPV_RATED of them have a rate per clock and SM. */
enum {
    GPV_FMA32, GPV_MULADD32, GPV_F64, GPV_F16, GPV_IMAD, GPV_ALU,
    GPV_T_F16, GPV_T_BF16, GPV_T_TF32, GPV_T_F64, GPV_T_S8, GPV_T_F8,
    GPV_RATED,
    GPV_READ = GPV_RATED, GPV_WRITE, /* bytes */
    GPV_LATENCY,                     /* cycles that one thread must wait at least */
    GPV_COSTS
};

typedef struct { uint64_t lo, hi; } gpv_range;

typedef struct gpv_launch {
    const char *params;
    uint32_t ntid, ncta, sm_count, resident; /* resident: blocks that share an SM at a time */
    double per_sm[GPV_RATED];                /* cycles that one such operation takes of an SM */
    double cycles_per_byte_memory, cycles_per_byte_l2; /* of one SM, all SMs busy */
    uint64_t l2_bytes;
    double ns_per_cycle, clock_factor, timer_factor;
    double base_cycles;                      /* device time at which the launch began */
    uint64_t timer_step_ns;
    const gpv_range *ranges;                 /* live allocations, sorted */
    int range_count;
    void *card;
    void (*fault)(void *card, const char *kernel, uint64_t address, int size, const char *what);
    uint32_t (*touch)(void *card, uint64_t address); /* latency of a load; null: not modelled */
} gpv_launch;

typedef struct gpv_block {
    const gpv_launch *launch;
    uint32_t cta, smid;
    double start_cycles;       /* since the launch began */
    double elapsed_cycles;     /* of the slowest thread, set by the kernel */
    uint64_t cost[GPV_COSTS];  /* of thread 0 */
    uint64_t lowest, highest;  /* addresses that thread 0, or every thread of a timed kernel, used */
} gpv_block;

typedef void (*gpv_function)(gpv_block *);

typedef struct {
    const char *name;
    gpv_function function; /* null: refused */
    const char *refused;
    int timed;             /* reads a clock */
    int stores;            /* writes to memory */
    int parameter_count;
    int offset[32], size[32];
} gpv_kernel;

typedef struct {
    int version, target;
    const gpv_kernel *kernels; /* ends with a null name */
} gpv_module;
