// The exported driver API: devices, contexts, memory, copies. Launches and events: the next file.
#include "emulator_api.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sys/mman.h>

static std::mutex pinned_lock;
static std::map<uint64_t, size_t> pinned;

Card *card_of(CUdevice device)
{
    return device >= 0 && (size_t)device < machine.visible.size() ? machine.visible[(size_t)device] : nullptr;
}

EXPORT CUresult cuInit(unsigned)
{
    CUresult result = load_configuration();
    return result ? result : enter(nullptr, "cuInit");
}
EXPORT CUresult cuDriverGetVersion(int *version)
{
    ENTER(nullptr, "cuDriverGetVersion");
    *version = (int)number(machine.driver, "driver_version", 12040);
    return OK;
}
EXPORT CUresult cuDeviceGetCount(int *count)
{
    ENTER(nullptr, "cuDeviceGetCount");
    *count = (int)machine.visible.size();
    return OK;
}
EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (!card_of(ordinal)) return machine.started ? INVALID_DEVICE : NOT_INITIALIZED;
    ENTER(card_of(ordinal), "cuDeviceGet");
    *device = ordinal;
    return OK;
}
EXPORT CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    DEVICE("cuDeviceGetName");
    snprintf(name, (size_t)size, "%s", text(card->settings, "name", "NVIDIA").c_str());
    return OK;
}
static CUresult get_uuid(unsigned char *out, Card *card)
{
    std::string uuid = text(card->settings, "uuid", "").substr(4), digits;
    for (char c : uuid)
        if (c != '-') digits += c;
    for (size_t i = 0; i < 16; i++)
        out[i] = i * 2 + 1 < digits.size() ? (unsigned char)strtoul(digits.substr(i * 2, 2).c_str(), nullptr, 16) : 0;
    return OK;
}
EXPORT CUresult cuDeviceGetUuid(unsigned char *out, CUdevice device)
{
    DEVICE("cuDeviceGetUuid");
    return get_uuid(out, card);
}
EXPORT CUresult cuDeviceGetUuid_v2(unsigned char *out, CUdevice device)
{
    DEVICE("cuDeviceGetUuid_v2");
    return get_uuid(out, card);
}
EXPORT CUresult cuDeviceGetPCIBusId(char *out, int size, CUdevice device)
{
    DEVICE("cuDeviceGetPCIBusId");
    snprintf(out, (size_t)size, "%s", text(card->settings, "pci_bus_id", "0000:01:00.0").c_str());
    return OK;
}
EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *bus)
{
    ENTER(nullptr, "cuDeviceGetByPCIBusId");
    for (Card *card : machine.visible)
        if (text(card->settings, "pci_bus_id", "") == bus) {
            *device = card->ordinal;
            return OK;
        }
    return INVALID_DEVICE;
}
EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    DEVICE("cuDeviceTotalMem_v2");
    *bytes = number(card->settings, "told_total_bytes", card->claimed);
    return OK;
}
EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    DEVICE("cuDeviceGetAttribute");
    const Settings &s = card->settings;
    unsigned domain = 0, bus = 0, slot = 0;
    sscanf(text(s, "pci_bus_id", "").c_str(), "%x:%x:%x", &domain, &bus, &slot);
    uint64_t fp64 = (uint64_t)real(s, "rate_fp64_fma", 1);
    switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;
    case 4: *value = 64; break;
    case 5: *value = 0x7fffffff; break;
    case 6: case 7: *value = 65535; break;
    case 8: *value = 49152; break;
    case 10: *value = 32; break;
    case 12: case 82: *value = 65536; break;
    case 13: *value = (int)number(s, "reported_sm_clock_khz", (uint64_t)(card->sm_hz / 1e3)); break;
    case 16: *value = (int)number(s, "reported_sm_count", card->sm_count); break;
    case 32: *value = (int)number(s, "ecc", 0); break;
    case 33: *value = (int)bus; break;
    case 34: *value = (int)slot; break;
    case 36: *value = (int)number(s, "memory_clock_khz", 1000000); break;
    case 37: *value = (int)number(s, "bus_width_bits", 256); break;
    case 38: *value = (int)number(s, "reported_l2_bytes", number(s, "l2_bytes", 0)); break;
    case 39: *value = 2048; break;
    case 40: *value = 3; break;
    case 11: case 31: case 41: case 83: *value = 1; break;
    case 50: *value = (int)domain; break;
    case 75: *value = (int)number(s, "compute_major", 8); break;
    case 76: *value = (int)number(s, "compute_minor", 0); break;
    case 87: *value = fp64 ? (int)(real(s, "rate_fp32_fma", 64) / (double)fp64) : 0; break;
    case 106: *value = 32; break;
    default:
        if (attribute < 1) return INVALID_VALUE;
        *value = 0;
    }
    return OK;
}

// ---- contexts: one for each card and process
EXPORT CUresult cuDevicePrimaryCtxRetain(void **context, CUdevice device)
{
    DEVICE("cuDevicePrimaryCtxRetain");
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    if (CUresult result = map_memory(card)) return result;
    card->contexts++;
    *context = card;
    return OK;
}
EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    DEVICE("cuDevicePrimaryCtxRelease_v2");
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    if (!card->contexts) return INVALID_CONTEXT;
    if (--card->contexts == 0) {
        unmap_memory(card);
        if (current == card) current = nullptr;
    }
    return OK;
}
EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    DEVICE("cuDevicePrimaryCtxGetState");
    *flags = 0;
    *active = card->contexts > 0;
    return OK;
}
EXPORT CUresult cuCtxSetCurrent(void *context)
{
    ENTER((Card *)context, "cuCtxSetCurrent");
    current = (Card *)context;
    return OK;
}
EXPORT CUresult cuCtxGetCurrent(void **context)
{
    ENTER(nullptr, "cuCtxGetCurrent");
    *context = current;
    return OK;
}
EXPORT CUresult cuCtxGetDevice(CUdevice *device)
{
    CURRENT("cuCtxGetDevice");
    *device = card->ordinal;
    return OK;
}
EXPORT CUresult cuCtxSynchronize()
{
    CURRENT("cuCtxSynchronize");
    hang_if_told(card);
    return card->lost;
}

// ---- memory
EXPORT CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    CURRENT("cuMemGetInfo_v2");
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    uint64_t used = card->used(), most = number(card->settings, "told_total_bytes", card->claimed);
    *total = most;
    *free_bytes = number(card->settings, "told_free_bytes", most > used ? most - used : 0);
    return OK;
}
EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    CURRENT("cuMemAlloc_v2");
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    return allocate(card, bytes, address);
}
EXPORT CUresult cuMemFree_v2(CUdeviceptr address)
{
    CURRENT("cuMemFree_v2");
    Card *owner = owner_of(address);
    if (!owner) return INVALID_VALUE;
    std::lock_guard<std::recursive_mutex> guard(owner->lock);
    return release(owner, address);
}
EXPORT CUresult cuMemHostAlloc(void **place, size_t bytes, unsigned)
{
    CURRENT("cuMemHostAlloc");
    size_t size = (bytes + 4095) / 4096 * 4096;
    *place = aligned_alloc(4096, size);
    if (!*place) return OUT_OF_MEMORY;
    std::lock_guard<std::mutex> guard(pinned_lock);
    pinned[(uint64_t)*place] = size;
    return OK;
}
EXPORT CUresult cuMemFreeHost(void *place)
{
    CURRENT("cuMemFreeHost");
    std::lock_guard<std::mutex> guard(pinned_lock);
    if (!pinned.erase((uint64_t)place)) return INVALID_VALUE;
    free(place);
    return OK;
}
EXPORT CUresult cuPointerGetAttribute(void *out, int attribute, CUdeviceptr address)
{
    CURRENT("cuPointerGetAttribute");
    Card *owner = owner_of(address);
    if (!owner || !owner->inside(address, 1)) return INVALID_VALUE;
    bool managed = number(owner->settings, "managed", 0) != 0;
    switch (attribute) {
    case 1: *(void **)out = owner; return OK;
    case 2: *(unsigned *)out = 2; return OK;
    case 8: *(unsigned *)out = managed; return OK;
    case 9: *(int *)out = owner->ordinal; return OK;
    default: return INVALID_VALUE;
    }
}

// ---- copies
static bool is_pinned(uint64_t address)
{
    std::lock_guard<std::mutex> guard(pinned_lock);
    auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return false;
    --after;
    return address < after->first + after->second;
}
static double link_ns(Card *card, const char *key, size_t bytes, const void *host)
{
    // Pageable memory goes through a staging buffer at about half the rate.
    double rate = real(card->settings, key, 25e6) * (is_pinned((uint64_t)host) ? 1 : 0.5);
    return real(card->settings, "pcie_latency_ns", 1500) + (double)bytes / rate * 1e6;
}
static bool skipped(Card *card, const char *what)
{
    for (const std::string &word : words(card->settings, "skip_copies"))
        if (word == what || word == "*") return true;
    return false;
}
static CUresult reach(Card *card, uint64_t address, size_t bytes, std::vector<Span> &span)
{
    hang_if_told(card);
    if (!card->inside(address, bytes)) return INVALID_VALUE;
    span.push_back({address, address + bytes});
    if (!reaches_lost(card, span)) return OK;
    card->lost = (int)number(card->settings, "lost_code", UNKNOWN);
    return card->lost;
}
static CUresult to_device(const char *call, CUdeviceptr to, const void *from, size_t bytes)
{
    CURRENT(call);
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    std::vector<Span> span;
    if (CUresult result = reach(card, to, bytes, span)) return result;
    pass(card, link_ns(card, "pcie_h2d_kb_s", bytes, from));
    if (skipped(card, "h2d")) return OK;
    memcpy((void *)to, from, bytes);
    after_write(card, span);
    return OK;
}
static CUresult from_device(const char *call, void *to, CUdeviceptr from, size_t bytes)
{
    CURRENT(call);
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    std::vector<Span> span;
    if (CUresult result = reach(card, from, bytes, span)) return result;
    pass(card, link_ns(card, "pcie_d2h_kb_s", bytes, to));
    before_read(card);
    if (!skipped(card, "d2h")) memcpy(to, (void *)from, bytes);
    return OK;
}
static CUresult on_device(const char *call, CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    CURRENT(call);
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    std::vector<Span> read, written;
    if (CUresult result = reach(card, from, bytes, read)) return result;
    if (CUresult result = reach(card, to, bytes, written)) return result;
    pass(card, 2.0 * (double)bytes / real(card->settings, "memory_copy_kb_s", 1e9) * 1e6);
    before_read(card);
    if (skipped(card, "d2d")) return OK;
    memmove((void *)to, (void *)from, bytes);
    after_write(card, written);
    return OK;
}
static CUresult fill(const char *call, CUdeviceptr to, unsigned value, size_t count, size_t width)
{
    CURRENT(call);
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    std::vector<Span> span;
    if (CUresult result = reach(card, to, count * width, span)) return result;
    pass(card, (double)(count * width) / real(card->settings, "memory_write_kb_s", 1e9) * 1e6);
    if (skipped(card, "memset")) return OK;
    if (width == 1) memset((void *)to, (int)value, count);
    else for (size_t i = 0; i < count; i++) ((uint32_t *)to)[i] = value;
    after_write(card, span);
    return OK;
}
EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t n) { return to_device("cuMemcpyHtoD_v2", to, from, n); }
EXPORT CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n) { return from_device("cuMemcpyDtoH_v2", to, from, n); }
EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) { return on_device("cuMemcpyDtoD_v2", to, from, n); }
EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, void *) { return to_device("cuMemcpyHtoDAsync_v2", to, from, n); }
EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, void *) { return from_device("cuMemcpyDtoHAsync_v2", to, from, n); }
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, void *) { return on_device("cuMemcpyDtoDAsync_v2", to, from, n); }
EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t n) { return fill("cuMemsetD8_v2", to, value, n, 1); }
EXPORT CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t n) { return fill("cuMemsetD32_v2", to, value, n, 4); }

// ---- peers
static bool linked(Card *a, Card *b)
{
    return a != b && real(a->settings, "peer_kb_s", 0) > 0 && real(b->settings, "peer_kb_s", 0) > 0;
}
EXPORT CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    DEVICE("cuDeviceCanAccessPeer");
    if (!card_of(peer)) return INVALID_DEVICE;
    *can = linked(card, card_of(peer));
    return OK;
}
EXPORT CUresult cuCtxEnablePeerAccess(void *peer, unsigned flags)
{
    CURRENT("cuCtxEnablePeerAccess");
    if (flags) return INVALID_VALUE;
    if (!peer || !linked(card, (Card *)peer)) return PEER_UNSUPPORTED;
    return card->peers.insert(((Card *)peer)->ordinal).second ? OK : PEER_ALREADY_ENABLED;
}
EXPORT CUresult cuCtxDisablePeerAccess(void *peer)
{
    CURRENT("cuCtxDisablePeerAccess");
    card->peers.erase(((Card *)peer)->ordinal);
    return OK;
}
static CUresult peer_copy(const char *call, CUdeviceptr to, Card *to_card, CUdeviceptr from, Card *from_card, size_t bytes)
{
    CURRENT(call);
    if (!to_card || !from_card) return INVALID_CONTEXT;
    std::vector<Span> read, written;
    if (CUresult result = reach(from_card, from, bytes, read)) return result;
    if (CUresult result = reach(to_card, to, bytes, written)) return result;
    double rate = std::min(real(to_card->settings, "peer_kb_s", 0), real(from_card->settings, "peer_kb_s", 0));
    bool direct = linked(from_card, to_card) && (from_card->peers.count(to_card->ordinal) || to_card->peers.count(from_card->ordinal));
    // Without a direct path the bytes go through host memory, down and up one after the other.
    double ns = direct ? (double)bytes / rate * 1e6
                       : (double)bytes / real(from_card->settings, "pcie_d2h_kb_s", 25e6) * 1e6 +
                             (double)bytes / real(to_card->settings, "pcie_h2d_kb_s", 25e6) * 1e6;
    pass(card, ns + 1500);
    before_read(from_card);
    if (skipped(card, "peer")) return OK;
    memmove((void *)to, (void *)from, bytes);
    after_write(to_card, written);
    return OK;
}
EXPORT CUresult cuMemcpyPeer(CUdeviceptr to, void *to_card, CUdeviceptr from, void *from_card, size_t n) { return peer_copy("cuMemcpyPeer", to, (Card *)to_card, from, (Card *)from_card, n); }
EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, void *to_card, CUdeviceptr from, void *from_card, size_t n, void *) { return peer_copy("cuMemcpyPeerAsync", to, (Card *)to_card, from, (Card *)from_card, n); }
