// Device memory: a range of addresses of the claimed size over pages of the real size. A fold is
// the same page mapped twice, so a kernel that writes one address has written the other.
#include "emulator.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t GRAIN = 2ull << 20; // cuMemAlloc's own granularity for large blocks

uint64_t Card::used()
{
    if (pool_used) return context_bytes + __atomic_load_n(pool_used, __ATOMIC_RELAXED);
    uint64_t bytes = context_bytes;
    for (auto &item : allocations) bytes += item.second;
    return bytes;
}

bool Card::inside(uint64_t address, uint64_t bytes) const
{
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    --after;
    return address + bytes >= address && address + bytes <= after->first + after->second;
}

static int backing(Card *card)
{
    std::string pool = text(card->settings, "pool", "");
    if (pool.empty()) return memfd_create("gpuverify-card", 0);
    std::string counter = machine.folder + "/pool-" + pool + ".used";
    int used = open(counter.c_str(), O_RDWR | O_CREAT, 0600);
    if (used >= 0 && ftruncate(used, 4096) == 0 && number(card->settings, "pool_counts", 1)) {
        void *page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, used, 0);
        if (page != MAP_FAILED) card->pool_used = (uint64_t *)page;
    }
    if (used >= 0) close(used);
    return open((machine.folder + "/pool-" + pool + ".memory").c_str(), O_RDWR | O_CREAT, 0600);
}

static bool map_pages(Card *card, int fd)
{
    const int how = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    uint64_t size = card->claimed, have = card->real_bytes, page = card->page;
    std::string layout = text(card->settings, "layout", "fold");
    if (layout == "permuted") {
        // Fibonacci hashing spreads the upper pages over the lower ones, as interleaved channels do.
        uint64_t real_pages = have / page;
        for (uint64_t p = 0; p < size / page; p++) {
            uint64_t to = p < real_pages ? p : p * 2654435761ull % real_pages;
            if (mmap(card->memory + p * page, page, PROT_READ | PROT_WRITE, how, fd, (off_t)(to * page)) == MAP_FAILED)
                return false;
        }
        return true;
    }
    bool drops = layout == "drop";
    for (uint64_t at = 0; at < (drops ? have : size); at += have) {
        uint64_t bytes = std::min(have, size - at);
        if (mmap(card->memory + at, bytes, PROT_READ | PROT_WRITE, how, fd, 0) == MAP_FAILED) return false;
    }
    if (drops) {
        if (mmap(card->memory + have, size - have, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
            return false;
    }
    return true;
}

CUresult map_memory(Card *card)
{
    if (card->memory) return OK;
    uint64_t size = card->claimed;
    bool plain = card->real_bytes >= size && text(card->settings, "pool", "").empty();
    char *place = (char *)mmap(nullptr, size + GRAIN, plain ? PROT_READ | PROT_WRITE : PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return OUT_OF_MEMORY;
    card->memory = (char *)(((uint64_t)place + GRAIN - 1) / GRAIN * GRAIN);
    munmap(place, (size_t)(card->memory - place));
    char *end = place + size + GRAIN, *used_end = card->memory + size;
    if (end > used_end) munmap(used_end, (size_t)(end - used_end));
    // No huge pages: where a hypervisor has to find them first, touching them is slower by far.
    if (plain) return OK;
    int fd = backing(card);
    if (fd < 0 || ftruncate(fd, (off_t)card->real_bytes) != 0 || !map_pages(card, fd)) {
        // Most often vm.max_map_count: too many permuted pages.
        note("faults.log", "memory could not be mapped (more pages than vm.max_map_count?)");
        if (fd >= 0) close(fd);
        munmap(card->memory, size);
        card->memory = nullptr;
        return OUT_OF_MEMORY;
    }
    close(fd);
    return OK;
}

void unmap_memory(Card *card)
{
    if (!card->memory) return;
    std::vector<uint64_t> left;
    for (auto &item : card->allocations) left.push_back(item.first);
    for (uint64_t address : left) release(card, address);
    munmap(card->memory, card->claimed);
    card->memory = nullptr;
    card->peers.clear();
}

CUresult allocate(Card *card, uint64_t bytes, uint64_t *address)
{
    if (!bytes) return INVALID_VALUE;
    uint64_t size = (bytes + GRAIN - 1) / GRAIN * GRAIN, used = card->used();
    uint64_t limit = std::min(card->claimed, card->allocatable);
    if (card->pool_used) limit = std::min(limit, card->real_bytes);
    if (size < bytes || used + size > limit) return OUT_OF_MEMORY;
    uint64_t at = (uint64_t)card->memory, end = at + card->claimed;
    for (auto &item : card->allocations) {
        if (at + size <= item.first) break;
        at = std::max(at, item.first + item.second);
    }
    if (at + size > end) return OUT_OF_MEMORY;
    card->allocations[at] = size;
    if (card->pool_used) __atomic_fetch_add(card->pool_used, size, __ATOMIC_RELAXED);
    *address = at;
    return OK;
}

CUresult release(Card *card, uint64_t address)
{
    auto found = card->allocations.find(address);
    if (found == card->allocations.end()) return INVALID_VALUE;
    if (card->pool_used) __atomic_fetch_sub(card->pool_used, found->second, __ATOMIC_RELAXED);
    card->allocations.erase(found);
    return OK;
}

Card *owner_of(uint64_t address)
{
    for (Card *card : machine.visible)
        if (card->memory && address >= (uint64_t)card->memory && address < (uint64_t)card->memory + card->claimed)
            return card;
    return nullptr;
}

// ---- faults of the cells ----

void before_read(Card *card)
{
    const Settings &settings = card->settings;
    double after = real(settings, "decay_after_s", 0);
    if (after <= 0 || card->decayed || card->last_write_s == 0 || seconds() - card->last_write_s < after) return;
    uint64_t step = number(settings, "decay_step_bytes", 32ull << 20);
    for (uint64_t at = number(settings, "decay_from_bytes", 0); at < card->claimed; at += step)
        if (card->inside((uint64_t)card->memory + at, 1)) card->memory[at] ^= 1;
    card->decayed = true;
}

void after_write(Card *card, const std::vector<Span> &touched)
{
    const Settings &settings = card->settings;
    uint64_t base = (uint64_t)card->memory;
    card->last_write_s = seconds();
    card->decayed = false;
    if (text(settings, "layout", "fold") == "drop" && card->real_bytes < card->claimed)
        for (const Span &span : touched) {
            uint64_t low = std::max(span.low, base + card->real_bytes);
            if (low < span.high) memset((void *)low, (int)number(settings, "drop_value", 0xff), span.high - low);
        }
    auto covers = [&](uint64_t at) {
        for (const Span &span : touched)
            if (base + at >= span.low && base + at < span.high) return true;
        return false;
    };
    unsigned char stuck = (unsigned char)number(settings, "stuck_mask", 4);
    for (const std::string &word : words(settings, "stuck_bytes")) {
        uint64_t at = strtoull(word.c_str(), nullptr, 0);
        if (at >= card->claimed || !covers(at)) continue;
        if (number(settings, "stuck_at_one", 1)) card->memory[at] |= (char)stuck; else card->memory[at] &= (char)~stuck;
    }
    if (settings.count("flip_byte") && !card->flipped) {
        uint64_t at = number(settings, "flip_byte", 0);
        if (at < card->claimed && covers(at) && ++card->covering_writes == number(settings, "flip_at_write", 1)) {
            card->memory[at] ^= (char)number(settings, "flip_mask", 0x10);
            card->flipped = true;
        }
    }
}

bool reaches_lost(Card *card, const std::vector<Span> &touched)
{
    if (!card->settings.count("lost_from_bytes")) return false;
    uint64_t from = (uint64_t)card->memory + number(card->settings, "lost_from_bytes", 0);
    for (const Span &span : touched)
        if (span.high > from) return true;
    return false;
}

double slowness(Card *card, const std::vector<Span> &touched)
{
    if (!card->settings.count("slow_from_bytes")) return 1;
    uint64_t from = (uint64_t)card->memory + number(card->settings, "slow_from_bytes", 0);
    uint64_t all = 0, slow = 0;
    for (const Span &span : touched) {
        all += span.high - span.low;
        if (span.high > from) slow += span.high - std::max(span.low, from);
    }
    double factor = real(card->settings, "slow_factor", 20);
    return all ? 1 + (factor - 1) * (double)slow / (double)all : 1;
}
