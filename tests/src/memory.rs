//! Memory that runs out: a small library, preloaded into the agent, that counts what one process has and refuses
//! what goes beyond a limit, as a machine (or a unit with `MemoryMax=`) without overcommit does. No file, no limit.
//!
//! A limit on the address space does not do it: what an allocator has mapped long ago lasts for a good while.

use std::path::{Path, PathBuf};

use crate::netns::Machine;
use crate::preload;

const NAME: &str = "memory";

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
static atomic_long held, limit;
static atomic_uint asked;
/* The file says: process, bytes that it may have more than now. Read without allocating, once in a while. */
static void look(void) {
    const char *path = getenv("HA_TEST_MEMORY");
    int before = errno, fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[64] = {0};
    if (fd >= 0) {
        ssize_t got = read(fd, text, sizeof text - 1);
        close(fd);
        char *rest;
        if (got > 0 && strtol(text, &rest, 10) == getpid() && limit == 0) limit = held + strtol(rest, NULL, 10);
    }
    errno = before;
}
static int refused(size_t size) {
    if (atomic_fetch_add(&asked, 1) % 64 == 0 && limit == 0) look();
    if (limit == 0 || held + (long)size <= limit) return 0;
    errno = ENOMEM;
    return 1;
}
static void *counted(void *at) {
    if (at) held += malloc_usable_size(at);
    return at;
}
void *malloc(size_t size) { return refused(size) ? NULL : counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return refused(count * size) ? NULL : counted(__libc_calloc(count, size)); }
void *memalign(size_t align, size_t size) { return refused(size) ? NULL : counted(__libc_memalign(align, size)); }
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **at, size_t align, size_t size) {
    *at = memalign(align, size);
    return *at ? 0 : ENOMEM;
}
void *realloc(void *at, size_t size) {
    long had = at ? malloc_usable_size(at) : 0;
    if ((long)size > had && refused(size - had)) return NULL;
    void *now = __libc_realloc(at, size);
    if (now) held += (long)malloc_usable_size(now) - had;
    return now;
}
void free(void *at) {
    if (at) held -= malloc_usable_size(at);
    __libc_free(at);
}
"#;

/// Builds the library; `None` where there is no C compiler.
pub fn library(dir: &Path) -> Option<PathBuf> {
    preload::build(dir, NAME, SOURCE)
}

/// The environment that lets memory run out, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path) -> Vec<(String, String)> {
    preload::environment(library, "HA_TEST_MEMORY", NAME)
}

/// From now this process of the machine gets so many bytes more, and then none.
pub fn leave(machine: &Machine, process: u32, bytes: u64) {
    preload::tell(machine, NAME, &format!("{process} {bytes}"));
}
