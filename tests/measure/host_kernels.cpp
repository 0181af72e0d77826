// The memory kernels compiled for the host, with one entry that runs all blocks of a launch.
// Arguments are 64-bit words, as they are for the driver.
#include "host_shim.h"

#include "capacity.cuh"

typedef u64* words;
typedef cell_t* cells;

#define BLOCKS for (current_group = 0; current_group < blocks; current_group++)

extern "C" int run_kernel(int kernel, u64 blocks, const u64* a) {
    switch (kernel) {
        case 0: BLOCKS cap_write((cells)a[0], a[1], a[2], a[3], a[4], a[5]); return 0;
        case 1:
            BLOCKS cap_check((cells)a[0], a[1], a[2], a[3], a[4], a[5], (words)a[6], (words)a[7],
                             a[8]);
            return 0;
        case 2: BLOCKS cap_digest((cells)a[0], a[1], a[2], a[3], a[4], (words)a[5]); return 0;
        case 3: BLOCKS butterfly((cells)a[0], (cells)a[1], a[2], a[3]); return 0;
        case 4: BLOCKS bw_write((cells)a[0], a[1], a[2]); return 0;
        case 5: BLOCKS bw_read((cells)a[0], a[1], (words)a[2]); return 0;
        case 6: BLOCKS bw_copy((cells)a[0], (cells)a[1], a[2]); return 0;
        default: return 1;
    }
}
