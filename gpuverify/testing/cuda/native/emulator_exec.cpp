// The exported driver API: modules, launches, streams, events, error names, and the emulator's
// own three functions, whose presence tells that this is not a driver.
#include "emulator_api.hpp"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>

// ---- modules
static void tell(const std::string &log, unsigned count, int *options, void **values)
{
    char *buffer = nullptr;
    size_t size = 0;
    for (unsigned i = 0; options && values && i < count; i++) {
        if (options[i] == 5) buffer = (char *)values[i];          // CU_JIT_ERROR_LOG_BUFFER
        if (options[i] == 6) size = (size_t)(uintptr_t)values[i]; // CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES
    }
    if (!buffer || !size) return;
    size_t length = std::min(size - 1, log.size());
    memcpy(buffer, log.data(), length);
    buffer[length] = 0;
}
EXPORT CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options, void **values)
{
    CURRENT("cuModuleLoadDataEx");
    std::string log;
    CUresult result = load_module(card, (const char *)image, module, &log);
    if (result) tell(log, count, options, values);
    return result;
}
EXPORT CUresult cuModuleLoadData(void **module, const void *image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
EXPORT CUresult cuModuleUnload(void *module)
{
    CURRENT("cuModuleUnload");
    return module ? OK : INVALID_HANDLE;
}
EXPORT CUresult cuModuleGetFunction(void **function, void *module, const char *name)
{
    CURRENT("cuModuleGetFunction");
    if (!module) return INVALID_HANDLE;
    for (const gpv_kernel *kernel = ((const gpv_module *)module)->kernels; kernel->name; kernel++) {
        if (strcmp(kernel->name, name)) continue;
        if (!kernel->function) {
            note("faults.log", std::string(name) + ": not emulated: " + kernel->refused);
            return NOT_SUPPORTED;
        }
        *function = (void *)kernel;
        return OK;
    }
    return NOT_FOUND;
}
EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, void *function)
{
    CURRENT("cuFuncGetAttribute");
    if (!function) return INVALID_HANDLE;
    *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0; // threads, registers; no local or shared memory
    return OK;
}
EXPORT CUresult cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                               unsigned shared, void *, void **parameters, void **extra)
{
    CURRENT("cuLaunchKernel");
    hang_if_told(card);
    const gpv_kernel *kernel = (const gpv_kernel *)function;
    if (!kernel) return INVALID_HANDLE;
    if (gy != 1 || gz != 1 || by != 1 || bz != 1 || shared || extra || (kernel->parameter_count && !parameters)) {
        note("faults.log", std::string(kernel->name) + ": launched with more than one dimension, shared memory or 'extra'");
        return INVALID_VALUE;
    }
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    return launch(card, kernel, gx, bx, parameters);
}

// ---- streams: everything is done in the order of the calls
EXPORT CUresult cuStreamCreate(void **stream, unsigned)
{
    CURRENT("cuStreamCreate");
    *stream = new char;
    return OK;
}
EXPORT CUresult cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
EXPORT CUresult cuStreamDestroy_v2(void *stream)
{
    CURRENT("cuStreamDestroy_v2");
    delete (char *)stream;
    return OK;
}
EXPORT CUresult cuStreamSynchronize(void *)
{
    CURRENT("cuStreamSynchronize");
    hang_if_told(card);
    return card->lost;
}
EXPORT CUresult cuStreamQuery(void *)
{
    CURRENT("cuStreamQuery");
    return card->hung ? 600 : card->lost; // CUDA_ERROR_NOT_READY
}
EXPORT CUresult cuStreamWaitEvent(void *, void *, unsigned)
{
    CURRENT("cuStreamWaitEvent");
    return OK;
}

// ---- events
struct Event { double ns; bool recorded; };
EXPORT CUresult cuEventCreate(void **event, unsigned)
{
    CURRENT("cuEventCreate");
    *event = new Event{0, false};
    return OK;
}
EXPORT CUresult cuEventRecord(void *event, void *)
{
    CURRENT("cuEventRecord");
    if (!event) return INVALID_HANDLE;
    *(Event *)event = Event{card->now_ns, true};
    return OK;
}
EXPORT CUresult cuEventSynchronize(void *event)
{
    CURRENT("cuEventSynchronize");
    hang_if_told(card);
    return event ? card->lost : INVALID_HANDLE;
}
EXPORT CUresult cuEventQuery(void *event)
{
    CURRENT("cuEventQuery");
    if (card->hung) return 600;
    return event ? card->lost : INVALID_HANDLE;
}
EXPORT CUresult cuEventElapsedTime(float *ms, void *start, void *end)
{
    CURRENT("cuEventElapsedTime");
    if (!start || !end || !((Event *)start)->recorded || !((Event *)end)->recorded) return INVALID_HANDLE;
    *ms = (float)((((Event *)end)->ns - ((Event *)start)->ns) * 1e-6 * real(card->settings, "event_factor", 1));
    return OK;
}
EXPORT CUresult cuEventElapsedTime_v2(float *ms, void *start, void *end) { return cuEventElapsedTime(ms, start, end); }
EXPORT CUresult cuEventDestroy_v2(void *event)
{
    CURRENT("cuEventDestroy_v2");
    delete (Event *)event;
    return OK;
}

// ---- names of result codes
static const char *name_of(int code)
{
    switch (code) {
    case 0: return "CUDA_SUCCESS";
    case 1: return "CUDA_ERROR_INVALID_VALUE";
    case 2: return "CUDA_ERROR_OUT_OF_MEMORY";
    case 3: return "CUDA_ERROR_NOT_INITIALIZED";
    case 34: return "CUDA_ERROR_STUB_LIBRARY";
    case 46: return "CUDA_ERROR_DEVICE_UNAVAILABLE";
    case 100: return "CUDA_ERROR_NO_DEVICE";
    case 101: return "CUDA_ERROR_INVALID_DEVICE";
    case 201: return "CUDA_ERROR_INVALID_CONTEXT";
    case 214: return "CUDA_ERROR_ECC_UNCORRECTABLE";
    case 217: return "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED";
    case 218: return "CUDA_ERROR_INVALID_PTX";
    case 221: return "CUDA_ERROR_JIT_COMPILER_NOT_FOUND";
    case 222: return "CUDA_ERROR_UNSUPPORTED_PTX_VERSION";
    case 400: return "CUDA_ERROR_INVALID_HANDLE";
    case 500: return "CUDA_ERROR_NOT_FOUND";
    case 600: return "CUDA_ERROR_NOT_READY";
    case 700: return "CUDA_ERROR_ILLEGAL_ADDRESS";
    case 702: return "CUDA_ERROR_LAUNCH_TIMEOUT";
    case 704: return "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED";
    case 719: return "CUDA_ERROR_LAUNCH_FAILED";
    case 801: return "CUDA_ERROR_NOT_SUPPORTED";
    case 802: return "CUDA_ERROR_SYSTEM_NOT_READY";
    case 803: return "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH";
    case 999: return "CUDA_ERROR_UNKNOWN";
    default: return nullptr;
    }
}
EXPORT CUresult cuGetErrorName(int code, const char **out)
{
    *out = name_of(code);
    return *out ? OK : INVALID_VALUE;
}
EXPORT CUresult cuGetErrorString(int code, const char **out) { return cuGetErrorName(code, out); }

// NVIDIA's own bindings ask for every function by name and version through this one.
EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **function, int, uint64_t, int *status)
{
    Dl_info self;
    *function = nullptr;
    if (!dladdr((void *)&cuGetProcAddress_v2, &self)) return NOT_FOUND;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    for (const char *suffix : {"_v2", ""})
        if (!*function && library) *function = dlsym(library, (std::string(symbol) + suffix).c_str());
    if (library) dlclose(library);
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : NOT_FOUND;
}
EXPORT CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}

// ---- the emulator's own
EXPORT int gpuverifyEmulator(void) { return 1; }
EXPORT uint64_t gpuverifyEmulatorClockNs(void) { return host_clock(); }
EXPORT void gpuverifyEmulatorRelease(void)
{
    for (Card *card : machine.visible) {
        card->hung = false;
        unmap_memory(card);
        card->contexts = 0;
        card->l1.resize(number(card->settings, "l1_bytes", 0));
        card->l2.resize(number(card->settings, "l2_bytes", 0));
    }
    current = nullptr;
}
