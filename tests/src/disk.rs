//! A disk that is slow or broken: a small library, preloaded into the agent, that
//! delays every flush by what a file beside the data says, or lets it fail with
//! that error. No file, no fault.
//!
//! A flush that was hit leaves a mark, so that a test can prove that the fault
//! reached the program (a statically linked one would not notice).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::netns::Machine;
use crate::preload;

const NAME: &str = "slow-disk";

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static int fault_of_disk(void) {
    const char *path = getenv("HA_SLOW_DISK");
    FILE *file = path ? fopen(path, "re") : NULL;
    long millis = 0;
    if (!file) return 0;
    if (fscanf(file, "%ld", &millis) != 1) millis = 0;
    fclose(file);
    if (millis == 0) return 0;
    char mark[4096];
    snprintf(mark, sizeof mark, "%s.used", path);
    int fd = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    if (millis < 0) return (int)-millis;
    struct timespec left = { millis / 1000, millis % 1000 * 1000000 };
    while (nanosleep(&left, &left)) {}
    return 0;
}
#define NEXT(name, ...) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); int fault = fault_of_disk(); if (fault) { errno = fault; return -1; } return next(__VA_ARGS__)
int fsync(int fd) { NEXT(fsync, fd); }
int fdatasync(int fd) { NEXT(fdatasync, fd); }
int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) { NEXT(sync_file_range, fd, from, count, flags); }
int msync(void *at, size_t size, int flags) { NEXT(msync, at, size, flags); }
"#;

/// Builds the library; `None` where there is no C compiler.
pub fn library(dir: &Path) -> Option<PathBuf> {
    preload::build(dir, NAME, SOURCE)
}

/// The environment that makes a program's disk slow on demand, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path) -> Vec<(String, String)> {
    preload::environment(library, "HA_SLOW_DISK", NAME)
}

/// From now each flush on this machine takes so much longer; zero is normal.
pub fn delay(machine: &Machine, by: Duration) {
    set(machine, &by.as_millis().to_string());
}

/// From now each flush on this machine fails with this error, as in `libc::EIO`; [`delay`] by zero mends it.
pub fn break_down(machine: &Machine, errno: i32) {
    set(machine, &format!("-{errno}"));
}

fn set(machine: &Machine, fault: &str) {
    let _ = fs::remove_file(machine.dir().join("slow-disk.used"));
    preload::tell(machine, NAME, fault);
}

/// True when a flush was delayed, or failed, since that was asked for.
pub fn was_hit(machine: &Machine) -> bool {
    machine.dir().join("slow-disk.used").exists()
}
