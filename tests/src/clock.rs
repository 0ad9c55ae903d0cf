//! A wall clock that a test steps: a small library, preloaded into the agent, that adds to `CLOCK_REALTIME` what a
//! file beside the data says, in seconds. No file, no step. Other clocks are left alone, as by a real step.

use std::fs;
use std::path::{Path, PathBuf};

use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::must;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long step(void) {
    const char *path = getenv("HA_TEST_CLOCK");
    FILE *file = path ? fopen(path, "re") : NULL;
    long seconds = 0;
    if (!file) return 0;
    if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
    fclose(file);
    return seconds;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int done = syscall(SYS_clock_gettime, id, at);
    if (done == 0 && id == CLOCK_REALTIME) at->tv_sec += step();
    return done;
}
"#;

/// Builds the library; `None` where there is no C compiler.
pub fn library(dir: &Path) -> Option<PathBuf> {
    find_program("cc")?;
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, SOURCE).expect("source file");
    must(&["cc", "-shared", "-fPIC", "-O1", "-o", &library.to_string_lossy(), &source.to_string_lossy()], "");
    Some(library)
}

/// The environment that lets the clock of a program be stepped, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path) -> Vec<(String, String)> {
    vec![("LD_PRELOAD".into(), library.to_string_lossy().into_owned()), ("HA_TEST_CLOCK".into(), "{dir}/clock".into())]
}

/// From now the agent of this machine sees another time, so many seconds later (or earlier) than it is.
pub fn step(machine: &Machine, seconds: i64) {
    let new = machine.dir().join("clock.new");
    fs::write(&new, seconds.to_string()).expect("a file");
    fs::rename(new, machine.dir().join("clock")).expect("a file");
}
