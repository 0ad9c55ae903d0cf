//! A wall clock that a test steps: a small library, preloaded into the agent, that adds to `CLOCK_REALTIME` what a
//! file beside the data says, in seconds. No file, no step. Other clocks are left alone, as by a real step.

use std::path::{Path, PathBuf};

use crate::netns::Machine;
use crate::preload;

const NAME: &str = "clock";

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
    preload::build(dir, NAME, SOURCE)
}

/// The environment that lets the clock of a program be stepped, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path) -> Vec<(String, String)> {
    preload::environment(library, "HA_TEST_CLOCK", NAME)
}

/// From now the agent of this machine sees another time, so many seconds later (or earlier) than it is.
pub fn step(machine: &Machine, seconds: i64) {
    preload::tell(machine, NAME, &seconds.to_string());
}
