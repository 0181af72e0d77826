// What the two files of exported functions share.
#pragma once
#include "emulator.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))
typedef int CUdevice;
typedef uint64_t CUdeviceptr;

Card *card_of(CUdevice device);

#define ENTER(card, name) if (CUresult entered_ = enter((card), (name))) return entered_
#define DEVICE(name) \
    if (!machine.started) return NOT_INITIALIZED; \
    Card *card = card_of(device); \
    if (!card) return INVALID_DEVICE; \
    ENTER(card, name)
#define CURRENT(name) \
    if (!machine.started) return NOT_INITIALIZED; \
    Card *card = current; \
    if (!card || !card->memory) return INVALID_CONTEXT; \
    ENTER(card, name)
