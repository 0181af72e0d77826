// Running kernels, and the time that they are said to have taken.
#include "emulator.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <thread>
#include <unistd.h>

double seconds()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// ---- the host's clock as it would be: by thread, since a launch is only waited for by its thread
static const double START_NS = seconds() * 1e9;
static thread_local double host_ns = 0;
void host_advance(double ns) { host_ns += ns; }
uint64_t host_clock()
{
    host_advance(5);
    return (uint64_t)(START_NS + host_ns);
}
void pass(Card *card, double ns)
{
    host_advance(ns);
    card->now_ns += ns;
}
void hang_if_told(Card *card)
{
    while (card->hung) usleep(10000);
}

// ---- caches
void Cache::resize(uint64_t bytes)
{
    sets = bytes / LINE / WAYS;
    std::vector<uint32_t>().swap(tags);
}
bool Cache::touch(uint64_t address)
{
    if (!sets) return false;
    if (tags.empty()) tags.assign(sets * WAYS, 0);
    uint64_t line = address / LINE;
    uint32_t sector = 1u << (address / 32 % 4), tag = (uint32_t)line << 4;
    // Golden-ratio hashing is even for every stride (three-distance theorem).
    uint64_t hashed = line * 0x9E3779B97F4A7C15ull;
    uint32_t *row = &tags[(uint64_t)((unsigned __int128)hashed * sets >> 64) * WAYS];
    int way = 0;
    while (way < WAYS - 1 && ((row[way] & ~15u) != tag || !(row[way] & 15u))) way++;
    uint32_t found = (row[way] & ~15u) == tag ? row[way] : tag;
    memmove(row + 1, row, (size_t)way * sizeof *row);
    row[0] = found | sector;
    return found & sector;
}

static uint32_t touch_load(void *place, uint64_t address)
{
    Card *card = (Card *)place;
    static thread_local const Card *known = nullptr;
    static thread_local uint32_t l1, l2, far;
    if (known != card) {
        l1 = (uint32_t)number(card->settings, "l1_latency_cycles", 33);
        l2 = (uint32_t)number(card->settings, "l2_latency_cycles", 200);
        far = (uint32_t)number(card->settings, "memory_latency_cycles", 500);
        known = card;
    }
    if (card->l1.touch(address)) return l1;
    return card->l2.touch(address) ? l2 : far;
}

static std::atomic<int> fault_count{0};
static void fault(void *place, const char *kernel, uint64_t address, int size, const char *what)
{
    Card *card = (Card *)place;
    card->lost = ILLEGAL_ADDRESS;
    if (fault_count++ > 64) return; // a kernel that runs wild would fill the disk
    char line[256];
    snprintf(line, sizeof line, "card %d: %s: %s, address 0x%llx (offset 0x%llx), %d bytes", card->ordinal, kernel, what,
             (unsigned long long)address, (unsigned long long)(address - (uint64_t)card->memory), size);
    note("faults.log", line);
}

struct Grid {
    gpv_launch launch;
    const gpv_kernel *kernel;
    std::vector<gpv_block> blocks; // of the wave that runs
};

static void run_wave(Grid &grid, uint32_t first, uint32_t count, double start, int threads)
{
    grid.blocks.assign(count, gpv_block{});
    std::atomic<uint32_t> next{0};
    uint32_t share = std::max(1u, count / (uint32_t)(threads * 16));
    auto work = [&]() {
        for (;;) {
            uint32_t from = next.fetch_add(share);
            if (from >= count) return;
            for (uint32_t i = from; i < std::min(count, from + share); i++) {
                gpv_block &block = grid.blocks[i];
                block.launch = &grid.launch;
                block.cta = first + i;
                block.smid = block.cta % grid.launch.sm_count;
                block.start_cycles = start;
                block.lowest = ~0ull;
                grid.kernel->function(&block);
            }
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back(work);
    work();
    for (std::thread &other : others) other.join();
}

// Blocks of a kernel without clocks: nothing is kept but the sums.
static void run_untimed(Grid &grid, uint32_t count, int threads, gpv_block &sum)
{
    std::atomic<uint32_t> next{0};
    std::mutex merge;
    sum.lowest = ~0ull;
    sum.highest = 0;
    uint32_t share = std::max(1u, count / (uint32_t)(threads * 16));
    auto work = [&]() {
        gpv_block mine{};
        mine.lowest = ~0ull;
        uint64_t cost[GPV_COSTS] = {0};
        mine.launch = &grid.launch;
        for (;;) {
            uint32_t from = next.fetch_add(share);
            if (from >= count) break;
            for (uint32_t i = from; i < std::min(count, from + share); i++) {
                mine.cta = i;
                mine.smid = i % grid.launch.sm_count;
                grid.kernel->function(&mine);
                for (int k = 0; k < GPV_COSTS; k++) cost[k] += mine.cost[k];
            }
        }
        std::lock_guard<std::mutex> guard(merge);
        for (int k = 0; k < GPV_COSTS; k++) sum.cost[k] += cost[k];
        sum.lowest = std::min(sum.lowest, mine.lowest);
        sum.highest = std::max(sum.highest, mine.highest);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back(work);
    work();
    for (std::thread &other : others) other.join();
}

static void set_rates(Card *card, gpv_launch &launch)
{
    static const char *keys[GPV_RATED] = {"rate_fp32_fma", "rate_fp32_mul_add", "rate_fp64_fma", "rate_fp16_fma",
                                          "rate_int_mad", "rate_alu", "rate_tensor_f16", "rate_tensor_bf16",
                                          "rate_tensor_tf32", "rate_tensor_f64", "rate_tensor_s8", "rate_tensor_f8"};
    const Settings &settings = card->settings;
    for (int kind = 0; kind < GPV_RATED; kind++) {
        double rate = real(settings, keys[kind], 64);
        launch.per_sm[kind] = rate > 0 ? 1 / rate : 1;
    }
    double per_kb_s = card->sm_hz * launch.sm_count / 1e3;
    launch.cycles_per_byte_memory = per_kb_s / real(settings, "memory_read_kb_s", 1e9);
    launch.cycles_per_byte_l2 = per_kb_s / real(settings, "l2_read_kb_s", 1e9);
    launch.l2_bytes = number(settings, "l2_bytes", 0);
    launch.ns_per_cycle = 1e9 / card->sm_hz;
    launch.clock_factor = real(settings, "clock_factor", 1);
    launch.timer_factor = real(settings, "globaltimer_factor", 1);
    launch.timer_step_ns = std::max<uint64_t>(1, number(settings, "globaltimer_step_ns", 32));
    launch.base_cycles = card->now_ns * card->sm_hz / 1e9;
}

// How long a launch took whose kernel does not look at the time.
static double modelled_ns(Card *card, const gpv_launch &launch, const gpv_block &sum)
{
    const Settings &settings = card->settings;
    double cycles = 0, used = std::min(launch.ncta, launch.sm_count);
    for (int kind = 0; kind < GPV_RATED; kind++)
        cycles = std::max(cycles, (double)sum.cost[kind] * launch.ntid * launch.per_sm[kind] / used);
    double read = (double)sum.cost[GPV_READ] * launch.ntid, written = (double)sum.cost[GPV_WRITE] * launch.ntid;
    bool near = sum.highest > sum.lowest && sum.lowest >= card->resident_low && sum.highest <= card->resident_high;
    double ns;
    if (near) {
        ns = (read + written) / real(settings, "l2_read_kb_s", 1e9) * 1e6;
    } else if (std::min(read, written) * 4 > read + written) {
        ns = (read + written) / real(settings, "memory_copy_kb_s", 1e9) * 1e6;
    } else {
        ns = read / real(settings, "memory_read_kb_s", 1e9) * 1e6 + written / real(settings, "memory_write_kb_s", 1e9) * 1e6;
    }
    return std::max(ns, cycles * launch.ns_per_cycle);
}

static std::vector<Span> touched_by(Card *card, const gpv_kernel *kernel, void **parameters)
{
    std::vector<Span> out;
    for (int i = 0; i < kernel->parameter_count; i++) {
        if (kernel->size[i] != 8) continue;
        uint64_t value;
        memcpy(&value, parameters[i], 8);
        auto after = card->allocations.upper_bound(value);
        if (after == card->allocations.begin()) continue;
        --after;
        if (value < after->first + after->second) out.push_back({after->first, after->first + after->second});
    }
    return out;
}

static bool listed(const Settings &settings, const char *key, const char *name)
{
    for (const std::string &word : words(settings, key))
        if (word == "*" || word == name) return true;
    return false;
}

CUresult launch(Card *card, const gpv_kernel *kernel, uint32_t ncta, uint32_t ntid, void **parameters)
{
    if (!kernel->function) return NOT_SUPPORTED;
    if (!ncta || !ntid || ntid > 1024) return INVALID_VALUE;
    if (listed(card->settings, "hang_kernel", kernel->name)) {
        card->hung = true; // as on a card: the launch returns, waiting for it does not
        return OK;
    }
    if (listed(card->settings, "skip_kernels", kernel->name)) {
        pass(card, 1000);
        return OK;
    }
    std::vector<Span> touched = touched_by(card, kernel, parameters);
    if (reaches_lost(card, touched)) {
        card->lost = (int)number(card->settings, "lost_code", UNKNOWN);
        return OK;
    }
    before_read(card);
    std::vector<gpv_range> ranges;
    for (Card *other : machine.visible)
        if (other == card || card->peers.count(other->ordinal))
            for (auto &item : other->allocations) ranges.push_back({item.first, item.first + item.second});
    std::sort(ranges.begin(), ranges.end(), [](const gpv_range &a, const gpv_range &b) { return a.lo < b.lo; });
    alignas(16) char packed[512] = {0};
    for (int i = 0; i < kernel->parameter_count; i++)
        memcpy(packed + kernel->offset[i], parameters[i], (size_t)kernel->size[i]);

    Grid grid{};
    grid.kernel = kernel;
    gpv_launch &launch = grid.launch;
    launch.params = packed;
    launch.ntid = ntid;
    launch.ncta = ncta;
    launch.sm_count = card->sm_count;
    launch.ranges = ranges.data();
    launch.range_count = (int)ranges.size();
    launch.card = card;
    launch.fault = fault;
    set_rates(card, launch);
    uint32_t per_sm = (ncta + launch.sm_count - 1) / launch.sm_count;
    launch.resident = std::max(1u, std::min({per_sm, 2048 / ntid, 32u}));
    uint64_t work = (uint64_t)ncta * ntid;
    if (work <= 32) launch.touch = touch_load;
    int threads = (int)number(machine.driver, "threads", 0);
    if (!threads) threads = std::min(8, std::max(1, (int)std::thread::hardware_concurrency()));
    threads = work < 2048 ? 1 : std::min<int>(threads, (int)ncta);

    double began = seconds(), ns = 0;
    if (kernel->timed) {
        uint32_t wave = launch.sm_count * launch.resident;
        double start = 0;
        for (uint32_t first = 0; first < ncta; first += wave) {
            run_wave(grid, first, std::min(wave, ncta - first), start, threads);
            double longest = 0;
            for (const gpv_block &block : grid.blocks) longest = std::max(longest, block.elapsed_cycles);
            start += longest;
        }
        ns = start * launch.ns_per_cycle;
    } else {
        gpv_block sum{};
        run_untimed(grid, ncta, threads, sum);
        ns = modelled_ns(card, launch, sum);
        bool fits = sum.highest > sum.lowest && sum.highest - sum.lowest <= launch.l2_bytes;
        card->resident_low = fits ? sum.lowest : 1;
        card->resident_high = fits ? sum.highest : 0;
    }
    if (kernel->stores) after_write(card, touched);
    double slow = slowness(card, touched);
    if (slow > 1) usleep((useconds_t)std::min(5e6, 1e6 * (seconds() - began) * (slow - 1)));
    pass(card, ns * slow);
    return OK;
}
