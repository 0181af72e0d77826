/* A small libnvidia-ml.so.1 for tests: two cards, every value different and none of them zero.
 *
 * Layouts follow NVIDIA's published API reference, written down here independently of the Python
 * binding. Behaviour is steered by environment variables:
 *   SHIM_FAIL   "symbol=code,symbol@index=code": return codes instead of success
 *   SHIM_QUIRK  words: badname bidiname headerset headerclear bindingclear garbage truncatedguid
 *               badchassis ones samebus mig era v2refused nofabric fabricfailed badprofile
 *               ccon ccdevtools ccppcie ccodd ccincapable ccoversize ccempty ccgarbage
 *   SHIM_COUNT  number that nvmlDeviceGetCount_v2 reports (default 2)
 * Built with -DOLD_DRIVER it lacks the symbols that drivers before R510 lack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned index; } card;
typedef unsigned long long u64;
static card cards[2] = {{0}, {1}};

static unsigned index_of(const void *who) {
    return who == &cards[1] ? 1 : 0;
}

static int quirk(const char *word) {
    const char *all = getenv("SHIM_QUIRK");
    return all && strstr(all, word) != NULL;
}

static int failing(const char *symbol, const void *who) {
    const char *at = getenv("SHIM_FAIL");
    size_t length = strlen(symbol);
    while (at && *at) {
        if (!strncmp(at, symbol, length)) {
            const char *rest = at + length;
            if (*rest == '=') return atoi(rest + 1);
            if (*rest == '@' && (unsigned)atoi(rest + 1) == index_of(who))
                return atoi(strchr(rest, '=') + 1);
        }
        at = strchr(at, ',');
        if (at) at++;
    }
    return 0;
}

#define FAIL(symbol, who) do { int code = failing(symbol, who); if (code) return code; } while (0)
#define UINT(symbol, number) \
    int symbol(card *c, unsigned *out) { FAIL(#symbol, c); *out = (number); return 0; }
#define TWO(symbol, first, second) \
    int symbol(card *c, unsigned *a, unsigned *b) { FAIL(#symbol, c); *a = (first); *b = (second); return 0; }
#define TEXT(symbol, shown) \
    int symbol(card *c, char *out, unsigned size) { FAIL(#symbol, c); snprintf(out, size, shown, c->index); return 0; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; FAIL("nvmlInitWithFlags", NULL); return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { FAIL("nvmlSystemGetDriverVersion", NULL); snprintf(out, size, "610.57.04"); return 0; }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { snprintf(out, size, "13.610.57.04"); return 0; }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 12080; return 0; }

int nvmlDeviceGetCount_v2(unsigned *out) {
    const char *count = getenv("SHIM_COUNT");
    FAIL("nvmlDeviceGetCount_v2", NULL);
    *out = count ? (unsigned)strtoul(count, NULL, 10) : 2;
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, card **out) {
    if (index > 1) return 2;
    FAIL("nvmlDeviceGetHandleByIndex_v2", &cards[index]);
    *out = &cards[index];
    return 0;
}

int nvmlDeviceGetName(card *c, char *out, unsigned size) {
    FAIL("nvmlDeviceGetName", c);
    if (quirk("badname")) snprintf(out, size, "NVIDIA \xff\xfe\\A100");
    else if (quirk("bidiname")) snprintf(out, size, "NVIDIA \xe2\x80\xae" "001A\n");
    else snprintf(out, size, "NVIDIA A100-SXM4-40GB");
    return 0;
}
UINT(nvmlDeviceGetBrand, 14)
UINT(nvmlDeviceGetArchitecture, 7)
int nvmlDeviceGetCudaComputeCapability(card *c, int *a, int *b) { (void)c; *a = 8; *b = 6; return 0; }
TEXT(nvmlDeviceGetSerial, "156102101376%u")
TEXT(nvmlDeviceGetUUID, "GPU-3f1d2c4b-0000-4000-8000-00000000000%u")
UINT(nvmlDeviceGetMinorNumber, 3 + c->index)
UINT(nvmlDeviceGetBoardId, 0x700 + c->index)
UINT(nvmlDeviceGetMultiGpuBoard, 1)
TEXT(nvmlDeviceGetBoardPartNumber, "692-2G506-0200-00%u")
TEXT(nvmlDeviceGetVbiosVersion, "92.00.45.0a.0%u")
UINT(nvmlDeviceGetPersistenceMode, 1)
UINT(nvmlDeviceGetDisplayActive, 1)
TEXT(nvmlDeviceGetInforomImageVersion, "G506.0200.00.0%u")
int nvmlDeviceGetInforomVersion(card *c, unsigned object, char *out, unsigned size) {
    FAIL("nvmlDeviceGetInforomVersion", c);
    snprintf(out, size, "%u.%u", object + 1, 16 + object);
    return 0;
}
UINT(nvmlDeviceGetInforomConfigurationChecksum, 0xbeef01)
int nvmlDeviceValidateInforom(card *c) { FAIL("nvmlDeviceValidateInforom", c); return 0; }
UINT(nvmlDeviceGetMaxPcieLinkGeneration, 4)
UINT(nvmlDeviceGetCurrPcieLinkGeneration, 3)
UINT(nvmlDeviceGetMaxPcieLinkWidth, 16)
UINT(nvmlDeviceGetCurrPcieLinkWidth, 8)
UINT(nvmlDeviceGetPcieReplayCounter, 21)
int nvmlDeviceGetVirtualizationMode(card *c, unsigned *out) { FAIL("nvmlDeviceGetVirtualizationMode", c); *out = 1; return 0; }
UINT(nvmlDeviceGetPowerManagementDefaultLimit, 400000)
TWO(nvmlDeviceGetPowerManagementLimitConstraints, 100000, 410000)
UINT(nvmlDeviceGetEnforcedPowerLimit, 390000)
UINT(nvmlDeviceGetPowerUsage, 61234)
int nvmlDeviceGetTemperature(card *c, unsigned sensor, unsigned *out) { FAIL("nvmlDeviceGetTemperature", c); *out = 41 + sensor; return 0; }
TWO(nvmlDeviceGetEccMode, 1, 0)
UINT(nvmlDeviceGetDefaultEccMode, 1)
int nvmlDeviceGetTotalEccErrors(card *c, unsigned type, unsigned counter, u64 *out) { FAIL("nvmlDeviceGetTotalEccErrors", c); *out = 1000 + 10 * counter + type; return 0; }
int nvmlDeviceGetMemoryErrorCounter(card *c, unsigned type, unsigned counter, unsigned where, u64 *out) {
    FAIL("nvmlDeviceGetMemoryErrorCounter", c);
    *out = 100 * where + 10 * counter + type + 1;
    return 0;
}
int nvmlDeviceGetMaxClockInfo(card *c, unsigned kind, unsigned *out) { FAIL("nvmlDeviceGetMaxClockInfo", c); *out = quirk("ones") ? 0xffffffffu : 1410 + kind; return 0; }
int nvmlDeviceGetSupportedMemoryClocks(card *c, unsigned *count, unsigned *out) {
    FAIL("nvmlDeviceGetSupportedMemoryClocks", c);
    if (*count < 2) { *count = 2; return 7; }
    out[0] = 405; out[1] = 1215;
    return 0;
}
typedef struct { u64 total, unused, used; } memory;
int nvmlDeviceGetMemoryInfo(card *c, memory *m) { FAIL("nvmlDeviceGetMemoryInfo", c); m->total = 42505076736ULL; m->unused = 42505076736ULL - 777; m->used = 777; return 0; }
int nvmlDeviceGetBAR1MemoryInfo(card *c, memory *m) { FAIL("nvmlDeviceGetBAR1MemoryInfo", c); m->total = 68719476736ULL; m->unused = 1; m->used = 2; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(card *c, u64 *out) { FAIL("nvmlDeviceGetCurrentClocksThrottleReasons", c); *out = 0x8 | 0x40; return 0; }
int nvmlDeviceGetRetiredPagesPendingStatus(card *c, unsigned *out) { FAIL("nvmlDeviceGetRetiredPagesPendingStatus", c); *out = 1; return 0; }

typedef struct { char legacy[16]; unsigned domain, bus, device, ids, subsystem; char bus_id[32]; } pci;
int nvmlDeviceGetPciInfo_v3(card *c, pci *p) {
    unsigned bus = quirk("samebus") ? 7 : 7 + c->index;
    FAIL("nvmlDeviceGetPciInfo_v3", c);
    p->domain = 1; p->bus = bus; p->device = 0;
    p->ids = quirk("ones") ? 0xffffffffu : 0x20b010de;
    p->subsystem = 0x134f10de;
    snprintf(p->bus_id, sizeof p->bus_id, "00000001:%02X:00.0", bus);
    return 0;
}

int nvmlDeviceGetNvLinkState(card *c, unsigned link, unsigned *out) {
    FAIL("nvmlDeviceGetNvLinkState", c);
    if (link >= 18) return 2;
    if (link >= 12) return 3;
    *out = link != 5;
    return 0;
}
int nvmlDeviceGetNvLinkVersion(card *c, unsigned link, unsigned *out) { FAIL("nvmlDeviceGetNvLinkVersion", c); *out = 4 + link; return 0; }
int nvmlDeviceGetNvLinkErrorCounter(card *c, unsigned link, unsigned counter, u64 *out) { FAIL("nvmlDeviceGetNvLinkErrorCounter", c); *out = link + 100 * counter; return 0; }

typedef struct { unsigned field, scope; long long stamp, latency; unsigned type, code; union { u64 ull; unsigned ui; double d; } value; } field_value;
int nvmlDeviceGetFieldValues(card *c, int count, field_value *f) {
    FAIL("nvmlDeviceGetFieldValues", c);
    for (int i = 0; i < count; i++) {
        f[i].code = 0; f[i].type = 3; f[i].value.ull = 0;
        switch (f[i].field) {
        case 82: f[i].type = 1; f[i].value.ui = 57; break;
        case 226: f[i].code = 26; break;
        case 230: f[i].type = 1; f[i].value.ui = 4; break;
        case 301: f[i].value.ull = 31; break;
        case 302: f[i].value.ull = 32; break;
        case 52: case 59: case 45: f[i].code = 3; break;
        case 38: f[i].value.ull = 5; break;
        case 90: f[i].code = 3; break;
        case 164: f[i].type = 1; f[i].value.ui = f[i].scope == 5 ? 0 : 25781; break;
        case 161: if (f[i].scope == 5) f[i].code = 3; else f[i].value.ull = 1 + f[i].scope; break;
        case 162: f[i].value.ull = 2; break;
        case 163: f[i].code = 3; break;
        case 307: f[i].type = 0; f[i].value.d = 1.5; break;
        default: f[i].code = 3;
        }
    }
    return 0;
}

typedef struct { unsigned id, p2p, slices, instances, sms, ce, dec, enc, jpeg, ofa; u64 mib; } profile_v1;
static const struct { unsigned slices, instances, sms; u64 mib; const char *name; } profiles[] = {
    {1, 7, 14, 4864, "MIG 1g.5gb"}, {2, 3, 28, 9856, "MIG 2g.10gb"}, {3, 2, 42, 19968, "MIG 3g.20gb"},
    {4, 1, 56, 20096, "MIG 4g.20gb"}, {7, 1, 98, 40192, "MIG 7g.40gb"},
};
int nvmlDeviceGetGpuInstanceProfileInfo(card *c, unsigned profile, profile_v1 *p) {
    FAIL("nvmlDeviceGetGpuInstanceProfileInfo", c);
    if (profile >= 18) return 2;
    if (profile >= 5) return 3;
    p->slices = profiles[profile].slices; p->instances = profiles[profile].instances;
    p->sms = profiles[profile].sms; p->mib = profiles[profile].mib;
    return 0;
}
TWO(nvmlDeviceGetMigMode, quirk("mig") ? 1 : 0, 1)
UINT(nvmlDeviceIsMigDeviceHandle, 0)
UINT(nvmlDeviceGetMaxMigDeviceCount, 7)
int nvmlDeviceGetMigDeviceHandleByIndex(card *c, unsigned index, card **out) { FAIL("nvmlDeviceGetMigDeviceHandleByIndex", c); if (index > 2) return 6; *out = c; return 0; }
int nvmlDeviceGetRemappedRows(card *c, unsigned *a, unsigned *b, unsigned *p, unsigned *f) { FAIL("nvmlDeviceGetRemappedRows", c); *a = 2; *b = 3; *p = 1; *f = 1; return 0; }
int nvmlDeviceGetRowRemapperHistogram(card *c, unsigned *v) { FAIL("nvmlDeviceGetRowRemapperHistogram", c); v[0] = 630; v[1] = 4; v[2] = 3; v[3] = 2; v[4] = 1; return 0; }
int nvmlDeviceGetRetiredPages(card *c, unsigned cause, unsigned *count, u64 *pages) {
    FAIL("nvmlDeviceGetRetiredPages", c);
    if (!pages) { *count = 2 + cause; return 7; }
    *count = 2 + cause;
    for (unsigned i = 0; i < *count; i++) pages[i] = 0x1000 + i;
    return 0;
}

#ifndef OLD_DRIVER
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 13020; return 0; }
typedef struct { unsigned version; char branch[80]; } branch_info;
int nvmlSystemGetDriverBranch(branch_info *b, unsigned size) { if (b->version != 0x1000054) return 25; snprintf(b->branch, size, "r610_57"); return 0; }
typedef struct { unsigned version; u64 value; } pdi;
int nvmlDeviceGetPdi(card *c, pdi *p) { FAIL("nvmlDeviceGetPdi", c); if (p->version != 0x1000010) return 25; p->value = quirk("ones") ? ~0ULL : 0x9abcdef012345670ULL + c->index; return 0; }
UINT(nvmlDeviceGetModuleId, 5 + c->index)
UINT(nvmlDeviceGetNumGpuCores, 6912)
UINT(nvmlDeviceGetMemoryBusWidth, 5120)
UINT(nvmlDeviceGetGpuMaxPcieLinkGeneration, 5)
UINT(nvmlDeviceGetPowerSource, 2)
int nvmlDeviceGetGspFirmwareVersion(card *c, char *out) { FAIL("nvmlDeviceGetGspFirmwareVersion", c); strcpy(out, "610.57.05"); return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(card *c, unsigned *count, void *out) {
    FAIL("nvmlDeviceGetComputeRunningProcesses_v3", c);
    if (!out) { *count = 2; return 7; }
    memset(out, 0, 2 * 24); *count = 2;
    return 0;
}
int nvmlDeviceGetCurrentClocksEventReasons(card *c, u64 *out) { FAIL("nvmlDeviceGetCurrentClocksEventReasons", c); *out = 0x1 | 0x4 | 0x1000; return 0; }
int nvmlDeviceGetLastBBXFlushTime(card *c, u64 *stamp, unsigned long *took) { FAIL("nvmlDeviceGetLastBBXFlushTime", c); *stamp = 1700000000123456ULL; *took = 7; return 0; }
UINT(nvmlDeviceGetBBXTimeData_v1, 36000)
typedef struct { unsigned version; u64 total, reserved, unused, used; } memory_v2;
int nvmlDeviceGetMemoryInfo_v2(card *c, memory_v2 *m) {
    FAIL("nvmlDeviceGetMemoryInfo_v2", c);
    if (m->version != 0x02000028) return 25;
    m->total = quirk("era") ? 42949672960ULL : 42505076736ULL; m->reserved = 634388480ULL; m->used = 555;
    return 0;
}
typedef struct { unsigned version, domain, bus, device, ids, subsystem, base, sub; char bus_id[32]; } pci_ext;
int nvmlDeviceGetPciInfoExt(card *c, pci_ext *p) {
    FAIL("nvmlDeviceGetPciInfoExt", c);
    if (p->version != 0x1000040) return 25;
    p->ids = 0x20b010de; p->subsystem = 0x134f10de; p->base = 3; p->sub = 2;
    snprintf(p->bus_id, sizeof p->bus_id, "00000001:%02X:00.0", 7 + c->index);
    return 0;
}
typedef struct { unsigned version; u64 a_parity, a_secded, a_cor, v_parity, v_secded, v_cor, l2, sm, pcie, mcu, other; unsigned over; } sram;
int nvmlDeviceGetSramEccErrorStatus(card *c, sram *s) {
    FAIL("nvmlDeviceGetSramEccErrorStatus", c);
    if (s->version != 0x1000068) return 25;
    s->a_parity = 71; s->a_secded = 72; s->a_cor = 73; s->v_parity = 74; s->v_secded = 75; s->v_cor = 76; s->over = 1;
    return 0;
}
typedef struct { unsigned version, channel, tpc; } repair;
int nvmlDeviceGetRepairStatus(card *c, repair *r) { FAIL("nvmlDeviceGetRepairStatus", c); if (r->version != 0x100000c) return 25; r->channel = 1; r->tpc = 0; return 0; }
int nvmlDeviceGetUnrepairableMemoryFlag_v1(card *c, unsigned *words) {
    FAIL("nvmlDeviceGetUnrepairableMemoryFlag_v1", c);
    if (quirk("headerset")) words[0] = 1;       /* nvml.h: one word, the flag */
    else if (quirk("headerclear")) words[0] = 0;
    else if (quirk("garbage")) words[0] = 0xabcd;
    else words[1] = quirk("bindingclear") ? 0 : 1; /* the binding: a version, then the flag */
    return 0;
}
typedef struct { unsigned active, inactive, pending, most, none; } bank;
int nvmlDeviceGetBankRemapperStatus_v1(card *c, bank *b) { FAIL("nvmlDeviceGetBankRemapperStatus_v1", c); b->active = 6; b->inactive = 7; b->pending = 1; b->most = 8; b->none = 9; return 0; }
typedef struct { unsigned version; unsigned char guid[16], chassis[16], slot, tray, host, peer, module; } platform;
int nvmlDeviceGetPlatformInfo(card *c, platform *p) {
    FAIL("nvmlDeviceGetPlatformInfo", c);
    if (p->version != 0x200002c) return 25;
    for (int i = 0; i < 16; i++) p->guid[i] = 0x80 + i;
    if (quirk("truncatedguid")) { p->guid[1] = 0; memset(p->guid + 8, 0, 8); }
    memcpy(p->chassis, quirk("badchassis") ? "\xff\xfe" "82\0\0\0\0\0\0\0\0\0\0\0" : "1820000000001SNX", 16);
    p->slot = 25; p->tray = 13; p->host = 200; p->peer = 1; p->module = 9;
    return 0;
}
typedef struct { unsigned version; unsigned char cluster[16]; unsigned status, clique, state, health; unsigned char summary; } fabric;
int nvmlDeviceGetGpuFabricInfoV(card *c, fabric *f) {
    FAIL("nvmlDeviceGetGpuFabricInfoV", c);
    if (f->version == 0x3000028 && quirk("v2refused")) return 25;
    if (f->version != 0x3000028 && f->version != 0x2000024) return 25;
    for (int i = 0; i < 16; i++) f->cluster[i] = 0xa0 + i;
    f->status = quirk("fabricfailed") ? 29 : 0; f->clique = 3; f->state = quirk("nofabric") ? 0 : 3;
    return 0;
}
UINT(nvmlDeviceGetC2cModeInfoV, 1)
typedef struct { unsigned version, id, p2p, slices, instances, sms, ce, dec, enc, jpeg, ofa; u64 mib; char name[96]; } profile_v2;
int nvmlDeviceGetGpuInstanceProfileInfoV(card *c, unsigned profile, profile_v2 *p) {
    FAIL("nvmlDeviceGetGpuInstanceProfileInfoV", c);
    if (p->version != 0x02000098 || profile >= 18) return 2;
    if (profile >= 5) return 3;
    p->slices = profiles[profile].slices; p->instances = profiles[profile].instances;
    p->sms = profiles[profile].sms; p->mib = profiles[profile].mib;
    snprintf(p->name, sizeof p->name, "%s", quirk("badprofile") ? "MIG \xff" : profiles[profile].name);
    return 0;
}
int nvmlDeviceGetRetiredPages_v2(card *c, unsigned cause, unsigned *count, u64 *pages, u64 *stamps) {
    FAIL("nvmlDeviceGetRetiredPages_v2", c);
    *count = 2 + cause;
    if (!pages) return 7;
    for (unsigned i = 0; i < *count; i++) { pages[i] = 0x2000 + i; stamps[i] = 1566430000ULL + 1000 * cause + i; }
    return 0;
}

typedef struct { unsigned environment, feature, devtools; } cc_state;
int nvmlSystemGetConfComputeState(cc_state *s) {
    FAIL("nvmlSystemGetConfComputeState", NULL);
    s->environment = 2;
    s->feature = quirk("ccodd") ? 7 : quirk("ccon") || quirk("ccdevtools");
    s->devtools = quirk("ccdevtools");
    return 0;
}
typedef struct { unsigned version, environment, feature, devtools, multi_gpu; } cc_settings;
int nvmlSystemGetConfComputeSettings(cc_settings *s) {
    FAIL("nvmlSystemGetConfComputeSettings", NULL);
    if (s->version != 0x1000014) return 25;
    s->multi_gpu = quirk("ccppcie") ? 1 : 0;
    return 0;
}
typedef struct { unsigned cpu, gpus; } cc_capabilities;
int nvmlSystemGetConfComputeCapabilities(cc_capabilities *s) { FAIL("nvmlSystemGetConfComputeCapabilities", NULL); s->cpu = 3; s->gpus = quirk("ccincapable") ? 0 : 1; return 0; }
typedef struct { unsigned size, attestation_size; unsigned char chain[0x1000], attestation[0x1400]; } cc_certificate;
int nvmlDeviceGetConfComputeGpuCertificate(card *c, cc_certificate *s) {
    FAIL("nvmlDeviceGetConfComputeGpuCertificate", c);
    char *at = (char *)s->attestation;
    for (int i = 0; i < 5; i++) /* five times "leaf0", "leaf1": their contents are not looked at here */
        at += sprintf(at, "-----BEGIN CERTIFICATE-----\nbGVh\nZj%c=\n-----END CERTIFICATE-----\n", "AE"[c->index]);
    if (quirk("ccgarbage")) memset(s->attestation, 0xa7, sizeof s->attestation);
    s->attestation_size = quirk("ccoversize") ? 0x1401 : quirk("ccempty") ? 0 : (unsigned)(at - (char *)s->attestation);
    return 0;
}
typedef struct { unsigned other, size, other_size; unsigned char nonce[32], report[0x2000], other_report[0x1000]; } cc_report;
int nvmlDeviceGetConfComputeGpuAttestationReport(card *c, cc_report *s) {
    FAIL("nvmlDeviceGetConfComputeGpuAttestationReport", c);
    s->report[0] = 0x11; s->report[1] = 0xe0; s->report[2] = (unsigned char)(1 + c->index); s->report[3] = 0xff;
    memcpy(s->report + 4, s->nonce, 32);
    memset(s->report + 36, 0xc3, 200);
    s->size = quirk("ccoversize") ? 0x2001 : quirk("ccempty") ? 0 : 236;
    return 0;
}
#endif
