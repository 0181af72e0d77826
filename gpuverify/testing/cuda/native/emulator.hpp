// The emulated driver's inner types. One process may hold several cards; each has its own memory.
#pragma once
#include "gpv_abi.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

typedef int CUresult;

// Result codes of cuda.h, only those that are given.
enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, PEER_UNSUPPORTED = 217, INVALID_PTX = 218, JIT_NOT_FOUND = 221, UNSUPPORTED_PTX = 222,
    INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, PEER_ALREADY_ENABLED = 704, LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801, UNKNOWN = 999
};

typedef std::map<std::string, std::string> Settings;

uint64_t number(const Settings &settings, const char *key, uint64_t otherwise);
double real(const Settings &settings, const char *key, double otherwise);
std::string text(const Settings &settings, const char *key, const char *otherwise);
std::vector<std::string> words(const Settings &settings, const char *key);

// Tags of one cache level, least recently used first out. A line of 128 bytes is held as a whole
// and filled by sectors of 32, as on NVIDIA's GPUs: a tag and four bits.
class Cache {
public:
    void resize(uint64_t bytes); // forgets what it held
    bool touch(uint64_t address);

private:
    static const int WAYS = 16;
    static const uint64_t LINE = 128;
    uint64_t sets = 0;
    std::vector<uint32_t> tags;
};

struct Card {
    Settings settings;
    int ordinal = 0;
    uint64_t claimed = 0, real_bytes = 0, allocatable = 0, context_bytes = 0, page = 0;
    uint32_t sm_count = 0;
    double sm_hz = 0;
    // memory
    char *memory = nullptr;
    uint64_t *pool_used = nullptr; // shared by the cards of a pool, also of other processes
    int contexts = 0;
    std::map<uint64_t, uint64_t> allocations;
    // time
    double now_ns = 0;
    uint64_t resident_low = 1, resident_high = 0; // what is in L2 after the last launch
    Cache l1, l2;
    // faults
    std::map<std::string, uint64_t> calls;
    uint64_t all_calls = 0, covering_writes = 0;
    bool hung = false, flipped = false, decayed = false;
    int lost = 0;
    double last_write_s = 0;
    std::set<int> peers;
    std::recursive_mutex lock;

    uint64_t used();
    bool inside(uint64_t address, uint64_t bytes) const;
    uint64_t offset(uint64_t address) const { return address - (uint64_t)memory; }
};

struct Emulator {
    Settings driver;
    std::string folder;
    std::vector<Card *> cards;   // all that the machine has
    std::vector<Card *> visible; // those that this process sees
    bool started = false;
    uint64_t all_calls = 0;
    std::map<std::string, uint64_t> calls;
    std::mutex lock;
};
extern Emulator machine;
extern thread_local Card *current;

// emulator_config.cpp
CUresult load_configuration();
CUresult enter(Card *card, const char *call);
void note(const char *file, const std::string &line);

// emulator_memory.cpp
CUresult map_memory(Card *card);
void unmap_memory(Card *card);
CUresult allocate(Card *card, uint64_t bytes, uint64_t *address);
CUresult release(Card *card, uint64_t address);
Card *owner_of(uint64_t address);
struct Span { uint64_t low, high; };
void before_read(Card *card);
void after_write(Card *card, const std::vector<Span> &touched);
bool reaches_lost(Card *card, const std::vector<Span> &touched);
double slowness(Card *card, const std::vector<Span> &touched);

// emulator_run.cpp
CUresult launch(Card *card, const gpv_kernel *kernel, uint32_t grid, uint32_t block, void **parameters);
void host_advance(double ns);
uint64_t host_clock();
void pass(Card *card, double ns);
double seconds();
void hang_if_told(Card *card);

// emulator_module.cpp
CUresult load_module(Card *card, const char *ptx, void **module, std::string *log);
