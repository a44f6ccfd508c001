/* A CUDA driver without a device: memory is the host's, launches go to a callback, streams run at once or record. Built by the tests. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, INVALID_HANDLE = 400, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };

typedef struct {
    void (*log)(const char *name);
    int (*load)(const char *ptx);                         /* module number, or -1 */
    int (*function)(int module, const char *name);        /* function number, or -1 */
    int (*shared_bytes)(int function);
    int (*arguments)(int function, void **from, uint8_t *to);
    int (*launch)(int function, const int *grid, const int *block, int shared, const uint8_t *arguments, int bytes);
    void (*memory)(void *address, size_t bytes);          /* 0 bytes: gone */
} callbacks;

enum { LAUNCH, COPY, FILL };
typedef struct { int kind, function, grid[3], block[3], shared, bytes; uint8_t *arguments; void *to, *from; size_t count; uint8_t value; } operation;
typedef struct { int capturing, broken, count, capacity; operation *operations; } stream;
typedef struct { int count; operation *operations; } graph;
typedef struct allocation { void *address; size_t bytes; struct allocation *next; } allocation;

static callbacks calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static allocation *live;
static size_t live_bytes, memory_limit = (size_t)64 << 30;
static int live_count, errors, capability = 90, multiprocessors = 132, dynamic_shared[4096];
static stream *streams[256];
static int stream_count;
static uint64_t ticks;

#define LOG if (calls.log) calls.log(__func__)
#define EXPORT __attribute__((visibility("default")))

EXPORT void standin_set(const callbacks *c) { calls = *c; }
EXPORT void standin_limit(size_t bytes) { memory_limit = bytes; }
EXPORT void standin_capability(int value) { capability = value; }
EXPORT void standin_multiprocessors(int value) { multiprocessors = value; }
EXPORT size_t standin_live_bytes(void) { return live_bytes; }
EXPORT int standin_live_count(void) { return live_count; }
EXPORT int standin_errors(void) { return errors; }

static stream *capturing(void *s) { return s && ((stream *)s)->capturing ? (stream *)s : 0; }

static int any_capture(void) {
    int found = 0;
    for (int i = 0; i < stream_count; i++) if (streams[i] && streams[i]->capturing) { streams[i]->broken = 1; found = 1; }
    return found;
}

static void record(stream *s, operation o) {
    if (s->count == s->capacity) s->operations = realloc(s->operations, (s->capacity = s->capacity * 2 + 64) * sizeof o);
    s->operations[s->count++] = o;
}

static int run(const operation *o) {
    if (o->kind == LAUNCH) return calls.launch ? calls.launch(o->function, o->grid, o->block, o->shared, o->arguments, o->bytes) : OK;
    if (o->kind == COPY) memcpy(o->to, o->from, o->count);
    else memset(o->to, o->value, o->count);
    return OK;
}

static int submit(void *s, operation o) {
    if (capturing(s)) { record(s, o); return OK; }
    int result = run(&o);
    free(o.arguments);
    return result;
}

EXPORT int cuInit(int flags) { LOG; return OK; }
EXPORT int cuDriverGetVersion(int *v) { *v = 12080; return OK; }
EXPORT int cuDeviceGet(int *d, int ordinal) { *d = ordinal; return ordinal == 0 ? OK : INVALID_VALUE; }
EXPORT int cuDeviceGetCount(int *c) { *c = 1; return OK; }
EXPORT int cuDeviceGetName(char *n, int length, int d) { snprintf(n, length, "Stand-in device"); return OK; }
EXPORT int cuDeviceTotalMem_v2(size_t *b, int d) { *b = memory_limit; return OK; }
EXPORT int cuDeviceGetAttribute(int *v, int a, int d) {
    switch (a) {
    case 1: case 2: case 3: *v = 1024; break;            /* threads of a block, along x, y */
    case 4: *v = 64; break;                              /* along z */
    case 5: *v = 2147483647; break;                      /* grid x */
    case 6: case 7: *v = 65535; break;                   /* grid y, z */
    case 8: *v = 49152; break;                           /* shared memory of a block */
    case 10: *v = 32; break;                             /* warp */
    case 16: *v = multiprocessors; break;                            /* multiprocessors */
    case 39: *v = 2048; break;                           /* threads of a multiprocessor */
    case 75: *v = capability / 10; break;
    case 76: *v = capability % 10; break;
    case 81: *v = 233472; break;                         /* shared memory of a multiprocessor */
    default: *v = 1;
    }
    return OK;
}
EXPORT int cuDeviceCanAccessPeer(int *v, int a, int b) { *v = 0; return OK; }
EXPORT int cuDeviceGetP2PAttribute(int *v, int a, int b, int c) { *v = 0; return OK; }
EXPORT int cuCtxCreate_v2(void **c, int flags, int d) { LOG; *c = (void *)1; return OK; }
EXPORT int cuCtxDestroy_v2(void *c) { LOG; return OK; }
EXPORT int cuCtxSynchronize(void) { LOG; return any_capture() ? CAPTURE_UNSUPPORTED : OK; }
EXPORT int cuCtxSetCurrent(void *c) { return OK; }
EXPORT int cuCtxSetCacheConfig(int c) { return OK; }
EXPORT int cuCtxGetCacheConfig(int *v) { *v = 0; return OK; }
EXPORT int cuCtxSetSharedMemConfig(int c) { return OK; }
EXPORT int cuCtxGetSharedMemConfig(int *v) { *v = 0; return OK; }
EXPORT int cuCtxEnablePeerAccess(void *c, int flags) { return OK; }
EXPORT int cuCtxDisablePeerAccess(void *c) { return OK; }
EXPORT int cuMemGetInfo_v2(size_t *f, size_t *t) { *t = memory_limit; *f = memory_limit > live_bytes ? memory_limit - live_bytes : 0; return OK; }

EXPORT int cuMemAlloc_v2(void **p, size_t bytes) {
    LOG;
    pthread_mutex_lock(&lock);
    int result = OUT_OF_MEMORY;
    if (bytes == 0) result = INVALID_VALUE;
    else if (live_bytes + bytes <= memory_limit) {
        allocation *a = malloc(sizeof *a);
        a->address = aligned_alloc(256, (bytes + 255) / 256 * 256);
        a->bytes = bytes;
        a->next = live;
        live = a;
        live_bytes += bytes;
        live_count++;
        memset(a->address, 0xFF, bytes);                 /* not-a-number: what was not written shows */
        *p = a->address;
        result = OK;
    }
    pthread_mutex_unlock(&lock);
    if (result == OK && calls.memory) calls.memory(*p, bytes);
    return result;
}

EXPORT int cuMemFree_v2(void *p) {
    LOG;
    pthread_mutex_lock(&lock);
    int result = INVALID_VALUE;
    for (allocation **a = &live; *a; a = &(*a)->next) {
        if ((*a)->address != p) continue;
        allocation *gone = *a;
        *a = gone->next;
        live_bytes -= gone->bytes;
        live_count--;
        memset(p, 0xFF, gone->bytes);
        free(gone);
        result = OK;
        break;
    }
    if (result != OK) errors++;
    pthread_mutex_unlock(&lock);
    if (result == OK) { if (calls.memory) calls.memory(p, 0); free(p); }
    return result;
}

EXPORT int cuMemAllocHost_v2(void **p, size_t bytes) { LOG; *p = malloc(bytes); return *p ? OK : OUT_OF_MEMORY; }
EXPORT int cuMemFreeHost(void *p) { LOG; free(p); return OK; }
EXPORT int cuMemHostRegister_v2(void *p, size_t bytes, int flags) { return OK; }
EXPORT int cuMemHostUnregister(void *p) { return OK; }
EXPORT int cuMemHostGetDevicePointer_v2(void **d, void *p, int flags) { *d = p; return OK; }
EXPORT int cuPointerGetAttribute(void *v, int a, void *p) { return INVALID_VALUE; }

static int copy(void *to, void *from, size_t bytes, void *s) {
    operation o = { .kind = COPY, .to = to, .from = from, .count = bytes };
    return submit(s, o);
}
EXPORT int cuMemcpyAsync(void *to, void *from, size_t bytes, void *s) { LOG; return copy(to, from, bytes, s); }
EXPORT int cuMemcpyHtoDAsync_v2(void *to, void *from, size_t bytes, void *s) { LOG; return copy(to, from, bytes, s); }
EXPORT int cuMemcpyDtoHAsync_v2(void *to, void *from, size_t bytes, void *s) { LOG; return copy(to, from, bytes, s); }
EXPORT int cuMemcpyDtoDAsync_v2(void *to, void *from, size_t bytes, void *s) { LOG; return copy(to, from, bytes, s); }
EXPORT int cuMemsetD8Async(void *to, uint8_t value, size_t bytes, void *s) {
    LOG;
    operation o = { .kind = FILL, .to = to, .value = value, .count = bytes };
    return submit(s, o);
}

EXPORT int cuStreamCreate(void **s, int flags) {
    LOG;
    stream *one = calloc(1, sizeof *one);
    pthread_mutex_lock(&lock);
    streams[stream_count++ % 256] = one;
    pthread_mutex_unlock(&lock);
    *s = one;
    return OK;
}
EXPORT int cuStreamCreateWithPriority(void **s, int flags, int priority) { return cuStreamCreate(s, flags); }
EXPORT int cuStreamDestroy_v2(void *s) {
    LOG;
    for (int i = 0; i < 256; i++) if (streams[i] == s) streams[i] = 0;
    free(s);
    return OK;
}
EXPORT int cuStreamSynchronize(void *s) {
    LOG;
    if (!capturing(s)) return OK;
    ((stream *)s)->broken = 1;
    return CAPTURE_UNSUPPORTED;
}
EXPORT int cuStreamWaitEvent(void *s, void *e, int flags) { LOG; return OK; }
EXPORT int cuStreamBeginCapture_v2(void *s, int mode) {
    LOG;
    if (!s) return CAPTURE_UNSUPPORTED;                  /* the null stream cannot be captured */
    stream *one = s;
    if (one->capturing) return INVALID_VALUE;
    one->capturing = 1;
    one->broken = one->count = 0;
    return OK;
}
EXPORT int cuStreamEndCapture(void *s, void **g) {
    LOG;
    stream *one = s;
    if (!one->capturing) return INVALID_VALUE;
    one->capturing = 0;
    if (one->broken) { *g = 0; return CAPTURE_INVALIDATED; }
    graph *made = malloc(sizeof *made);
    made->count = one->count;
    made->operations = malloc((one->count + 1) * sizeof(operation));
    if (one->count) memcpy(made->operations, one->operations, one->count * sizeof(operation));
    one->count = 0;
    *g = made;
    return OK;
}
EXPORT int cuGraphInstantiateWithFlags(void **x, void *g, unsigned long long flags) { LOG; *x = g; return OK; }
EXPORT int cuGraphLaunch(void *x, void *s) {
    LOG;
    graph *g = x;
    for (int i = 0; i < g->count; i++) { int result = run(&g->operations[i]); if (result) return result; }
    return OK;
}
EXPORT int cuGraphExecDestroy(void *x) { LOG; return OK; }
EXPORT int cuGraphDestroy(void *g) {
    LOG;
    graph *one = g;
    for (int i = 0; i < one->count; i++) free(one->operations[i].arguments);
    free(one->operations);
    free(one);
    return OK;
}

EXPORT int cuEventCreate(void **e, int flags) { LOG; *e = calloc(1, sizeof(uint64_t)); return OK; }
EXPORT int cuEventDestroy_v2(void *e) { LOG; free(e); return OK; }
EXPORT int cuEventRecord(void *e, void *s) { LOG; *(uint64_t *)e = ++ticks; return OK; }
EXPORT int cuEventQuery(void *e) { return OK; }
EXPORT int cuEventSynchronize(void *e) { LOG; return OK; }
EXPORT int cuEventElapsedTime(float *ms, void *a, void *b) { *ms = (float)(*(uint64_t *)b - *(uint64_t *)a); return OK; }

EXPORT int cuModuleLoadData(void **m, const char *ptx) {
    LOG;
    int module = calls.load ? calls.load(ptx) : 0;
    if (module < 0) return INVALID_IMAGE;
    *m = (void *)(intptr_t)(module + 1);
    return OK;
}
EXPORT int cuModuleLoadDataEx(void **m, const char *ptx, int n, void *o, void *v) { return cuModuleLoadData(m, ptx); }
EXPORT int cuModuleUnload(void *m) { return OK; }
EXPORT int cuModuleGetFunction(void **f, void *m, const char *name) {
    int function = calls.function ? calls.function((int)(intptr_t)m - 1, name) : 0;
    if (function < 0) return NOT_FOUND;
    *f = (void *)(intptr_t)(function + 1);
    return OK;
}
EXPORT int cuFuncSetAttribute(void *f, int attribute, int value) {
    LOG;
    if (attribute == 8) dynamic_shared[((intptr_t)f) % 4096] = value;
    return OK;
}
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, size_t s) { *n = 2; return OK; }
EXPORT int cuOccupancyMaxPotentialBlockSize(int *g, int *b, void *f, void *c, size_t s, int l) { *g = 132; *b = 256; return OK; }

EXPORT int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *s, void **arguments, void **extra) {
    LOG;
    int function = (int)(intptr_t)f - 1;
    if (function < 0) return INVALID_HANDLE;
    if (!gx || !gy || !gz || !bx || !by || !bz || gx > 2147483647u || gy > 65535 || gz > 65535 || bx > 1024 || by > 1024 || bz > 64 || bx * by * bz > 1024) { errors++; return INVALID_VALUE; }
    int fixed = calls.shared_bytes ? calls.shared_bytes(function) : 0;
    if ((int)shared > dynamic_shared[((intptr_t)f) % 4096] && fixed + shared > 49152) { errors++; return INVALID_VALUE; }
    operation o = { .kind = LAUNCH, .function = function, .grid = { gx, gy, gz }, .block = { bx, by, bz }, .shared = shared };
    o.arguments = calloc(1, 4096 + 64);
    if (extra) {
        size_t bytes = *(size_t *)extra[3];
        memcpy(o.arguments, extra[1], bytes > 4096 ? 4096 : bytes);
        o.bytes = (int)bytes;
    } else if (calls.arguments) o.bytes = calls.arguments(function, arguments, o.arguments);
    return submit(s, o);
}

EXPORT int cuGetErrorString(int e, const char **text) {
    static const char *unknown = "stand-in error";
    *text = e == OUT_OF_MEMORY ? "out of memory" : e == LAUNCH_FAILED ? "unspecified launch failure" : e == CAPTURE_UNSUPPORTED ? "operation not permitted when stream is capturing" : e == INVALID_VALUE ? "invalid argument" : unknown;
    return OK;
}
EXPORT int cuGetErrorName(int e, const char **text) { return cuGetErrorString(e, text); }
