// Modules: PTX text in, a shared object out, by way of the translator. Objects are kept by content.
#include "emulator.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t fnv(const std::string &data, uint64_t hash)
{
    for (unsigned char c : data) hash = (hash ^ c) * 0x100000001b3ull;
    return hash;
}

static std::string object_name(const std::string &ptx)
{
    std::string all = ptx + text(machine.driver, "translator", "");
    char name[80];
    snprintf(name, sizeof name, "ptx-%016llx%016llx-%zu%s.so", (unsigned long long)fnv(all, 0xcbf29ce484222325ull),
             (unsigned long long)fnv(all, 0x9ae16a3b2f90404full), ptx.size(),
             number(machine.driver, "checked", 0) ? "-checked" : "");
    return name;
}

static bool translate(const std::string &ptx, const std::string &object, std::string *log)
{
    char folder[] = "/tmp/gpuverify-ptx-XXXXXX";
    if (!mkdtemp(folder)) return false;
    std::string base = folder, source = base + "/kernel.ptx", words_file = base + "/log";
    { std::ofstream(source) << ptx; }
    std::string python = text(machine.driver, "python", "python3"), check = number(machine.driver, "checked", 0) ? "1" : "0";
    std::vector<std::string> words = {python, "-m", "gpuverify.testing.cuda.compile_ptx", source, object, check};
    std::vector<char *> arguments;
    for (std::string &word : words) arguments.push_back(&word[0]);
    arguments.push_back(nullptr);
    std::vector<std::string> environment = {"PYTHONPATH=" + text(machine.driver, "python_path", "")};
    for (char **item = environ; *item; item++)
        if (strncmp(*item, "PYTHONPATH=", 11) && strncmp(*item, "LD_PRELOAD=", 11) && strncmp(*item, "LD_LIBRARY_PATH=", 16))
            environment.push_back(*item);
    std::vector<char *> variables;
    for (std::string &item : environment) variables.push_back(&item[0]);
    variables.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, words_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child;
    int status = -1;
    if (posix_spawnp(&child, python.c_str(), &actions, nullptr, arguments.data(), variables.data()) == 0)
        while (waitpid(child, &status, 0) < 0) { }
    posix_spawn_file_actions_destroy(&actions);
    std::stringstream said;
    said << std::ifstream(words_file).rdbuf();
    *log = said.str();
    unlink(source.c_str());
    unlink(words_file.c_str());
    rmdir(folder);
    return status == 0;
}

CUresult load_module(Card *card, const char *ptx, void **module, std::string *log)
{
    const char *version = strstr(ptx, ".version "), *target = strstr(ptx, ".target sm_");
    int major = 0, minor = 0, wants = 0;
    if (!version || !target || sscanf(version, ".version %d.%d", &major, &minor) != 2 ||
        sscanf(target, ".target sm_%d", &wants) != 1)
        return INVALID_PTX;
    if (number(card->settings, "no_jit", 0)) return JIT_NOT_FOUND;
    if ((uint64_t)(major * 10 + minor) > number(card->settings, "ptx_max", 84)) {
        *log = "ptxas application ptx input, line 1; fatal : Unsupported .version";
        return UNSUPPORTED_PTX;
    }
    int has = (int)(number(card->settings, "compute_major", 8) * 10 + number(card->settings, "compute_minor", 0));
    if (wants > has) {
        *log = "ptxas fatal : SM version specified by .target is higher than default SM version assumed";
        return INVALID_PTX;
    }
    std::string object = text(machine.driver, "cache", machine.folder.c_str()) + "/" + object_name(ptx);
    if (access(object.c_str(), R_OK) != 0 && !translate(ptx, object, log)) {
        note("faults.log", "translation failed: " + *log);
        return INVALID_PTX;
    }
    void *handle = dlopen(object.c_str(), RTLD_NOW | RTLD_LOCAL);
    void *table = handle ? dlsym(handle, "gpv_this_module") : nullptr;
    if (!table) {
        const char *why = dlerror();
        note("faults.log", std::string("object refused: ") + (why ? why : "no table"));
        return INVALID_PTX;
    }
    *module = table;
    return OK;
}
