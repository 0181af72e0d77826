// Settings (cards.ini beside the library, or named by GPUVERIFY_FAKE_CUDA) and the faults that
// are told by counting calls.
#include "emulator.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

Emulator machine;
thread_local Card *current = nullptr;

uint64_t number(const Settings &settings, const char *key, uint64_t otherwise)
{
    auto found = settings.find(key);
    return found == settings.end() ? otherwise : strtoull(found->second.c_str(), nullptr, 0);
}
double real(const Settings &settings, const char *key, double otherwise)
{
    auto found = settings.find(key);
    return found == settings.end() ? otherwise : strtod(found->second.c_str(), nullptr);
}
std::string text(const Settings &settings, const char *key, const char *otherwise)
{
    auto found = settings.find(key);
    return found == settings.end() ? otherwise : found->second;
}
std::vector<std::string> words(const Settings &settings, const char *key)
{
    std::vector<std::string> out;
    std::stringstream stream(text(settings, key, ""));
    for (std::string word; std::getline(stream, word, ',');)
        if (!word.empty()) out.push_back(word);
    return out;
}

void note(const char *file, const std::string &line)
{
    std::string path = machine.folder + "/" + file;
    if (FILE *out = fopen(path.c_str(), "a")) {
        fprintf(out, "%s\n", line.c_str());
        fclose(out);
    }
}

static void take_card(const Settings &settings)
{
    Card *card = new Card;
    card->settings = settings;
    card->claimed = number(settings, "claimed_bytes", 0);
    card->real_bytes = number(settings, "real_bytes", card->claimed);
    card->allocatable = number(settings, "allocatable_bytes", card->claimed);
    card->context_bytes = number(settings, "context_bytes", 0);
    card->page = number(settings, "page_bytes", 65536);
    card->sm_count = (uint32_t)number(settings, "sm_count", 1);
    card->sm_hz = real(settings, "sm_clock_khz", 1e6) * 1e3;
    card->l1.resize(number(settings, "l1_bytes", 0));
    card->l2.resize(number(settings, "l2_bytes", 0));
    machine.cards.push_back(card);
}

// As the driver does: indices or (beginnings of) UUIDs, up to the first that is not one.
static void choose_visible()
{
    const char *wish = getenv("CUDA_VISIBLE_DEVICES");
    if (!wish) {
        machine.visible = machine.cards;
    } else {
        std::stringstream stream(wish);
        for (std::string word; std::getline(stream, word, ',');) {
            Card *found = nullptr;
            for (size_t i = 0; i < machine.cards.size(); i++) {
                std::string uuid = text(machine.cards[i]->settings, "uuid", "");
                if (word == std::to_string(i) || (word.size() > 4 && uuid.compare(0, word.size(), word) == 0))
                    found = machine.cards[i];
            }
            if (!found) break;
            machine.visible.push_back(found);
        }
    }
    for (size_t i = 0; i < machine.visible.size(); i++) machine.visible[i]->ordinal = (int)i;
}

CUresult load_configuration()
{
    std::lock_guard<std::mutex> guard(machine.lock);
    if (machine.started) return OK;
    Dl_info self;
    std::string path;
    if (dladdr((void *)&load_configuration, &self)) {
        char *full = realpath(self.dli_fname, nullptr);
        std::string library = full ? full : self.dli_fname;
        free(full);
        machine.folder = library.substr(0, library.rfind('/'));
        path = machine.folder + "/cards.ini";
    }
    if (access(path.c_str(), R_OK) != 0) {
        const char *named = getenv("GPUVERIFY_FAKE_CUDA");
        path = named ? named : "";
        machine.folder = path.substr(0, path.rfind('/'));
    }
    std::ifstream file(path);
    if (!file) return NO_DEVICE;
    Settings section;
    std::string kind;
    auto finish = [&]() {
        if (kind == "card") take_card(section);
        if (kind == "driver") machine.driver = section;
        section.clear();
    };
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line[0] == '#') continue;
        if (line[0] == '[') {
            finish();
            kind = line.substr(1, line.find(']') - 1);
            continue;
        }
        size_t at = line.find('=');
        if (at == std::string::npos) return UNKNOWN;
        section[line.substr(0, at)] = line.substr(at + 1);
    }
    finish();
    if (uint64_t code = number(machine.driver, "init_code", 0)) {
        for (Card *card : machine.cards) delete card;
        machine.cards.clear();
        return (CUresult)code;
    }
    choose_visible();
    if (machine.visible.empty()) return NO_DEVICE;
    machine.started = true;
    return OK;
}

// What a call that is counted has to answer before it does anything.
static int told_to_fail(const Settings &settings, const char *call, uint64_t of_this, uint64_t of_all)
{
    if (text(settings, "fail_call", "") == call && of_this == number(settings, "fail_at", 1))
        return (int)number(settings, "fail_code", UNKNOWN);
    if (of_all == number(settings, "fail_any_at", 0)) return (int)number(settings, "fail_code", UNKNOWN);
    return OK;
}

CUresult enter(Card *card, const char *call)
{
    host_advance(10); // what a call costs the host; kept small, so that short launches can be timed
    {
        std::lock_guard<std::mutex> guard(machine.lock);
        int code = told_to_fail(machine.driver, call, ++machine.calls[call], ++machine.all_calls);
        if (code) return code;
    }
    if (!card) return machine.started ? OK : NOT_INITIALIZED;
    std::lock_guard<std::recursive_mutex> guard(card->lock);
    uint64_t of_this = ++card->calls[call], of_all = ++card->all_calls;
    if (card->lost) return card->lost;
    if (of_all == number(card->settings, "lost_at_call", 0)) {
        card->lost = (int)number(card->settings, "lost_code", UNKNOWN);
        return card->lost;
    }
    if (text(card->settings, "hang_call", "") == call && of_this == number(card->settings, "hang_at", 1)) {
        card->hung = true;
        hang_if_told(card);
    }
    return told_to_fail(card->settings, call, of_this, of_all);
}
