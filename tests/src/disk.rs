//! A disk that is slow: a small library, preloaded into the agent, that delays
//! every flush by what a file beside the data says. No file, no delay.
//!
//! A flush that was delayed leaves a mark, so that a test can prove that the
//! delay reached the program (a statically linked one would not notice).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::must;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static void wait_for_disk(void) {
    const char *path = getenv("HA_SLOW_DISK");
    FILE *file = path ? fopen(path, "re") : NULL;
    long millis = 0;
    if (!file) return;
    if (fscanf(file, "%ld", &millis) != 1) millis = 0;
    fclose(file);
    if (millis <= 0) return;
    char mark[4096];
    snprintf(mark, sizeof mark, "%s.used", path);
    int fd = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    struct timespec left = { millis / 1000, millis % 1000 * 1000000 };
    while (nanosleep(&left, &left)) {}
}
#define NEXT(name, ...) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); wait_for_disk(); return next(__VA_ARGS__)
int fsync(int fd) { NEXT(fsync, fd); }
int fdatasync(int fd) { NEXT(fdatasync, fd); }
int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) { NEXT(sync_file_range, fd, from, count, flags); }
int msync(void *at, size_t size, int flags) { NEXT(msync, at, size, flags); }
"#;

/// Builds the library; `None` where there is no C compiler.
pub fn library(dir: &Path) -> Option<PathBuf> {
    find_program("cc")?;
    let (source, library) = (dir.join("slow-disk.c"), dir.join("slow-disk.so"));
    fs::write(&source, SOURCE).expect("source file");
    let (from, to) = (source.to_string_lossy(), library.to_string_lossy());
    must(&["cc", "-shared", "-fPIC", "-O1", "-o", &to, &from, "-ldl"], "");
    Some(library)
}

/// The environment that makes a program's disk slow on demand, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path) -> Vec<(String, String)> {
    let preload = library.to_string_lossy().into_owned();
    vec![("LD_PRELOAD".into(), preload), ("HA_SLOW_DISK".into(), "{dir}/slow-disk".into())]
}

/// From now each flush on this machine takes so much longer; zero is normal.
pub fn delay(machine: &Machine, by: Duration) {
    let _ = fs::remove_file(machine.dir().join("slow-disk.used"));
    // Renamed into place, so that no flush reads half a number.
    let new = machine.dir().join("slow-disk.new");
    fs::write(&new, by.as_millis().to_string()).expect("delay file");
    fs::rename(new, machine.dir().join("slow-disk")).expect("delay file");
}

/// True when a flush was delayed since the delay was set.
pub fn was_delayed(machine: &Machine) -> bool {
    machine.dir().join("slow-disk.used").exists()
}
