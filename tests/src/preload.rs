//! Small libraries that are preloaded into the agent, and the files by which a test tells them what to do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::must;

/// Builds the library of that name; `None` where there is no C compiler.
pub fn build(dir: &Path, name: &str, source: &str) -> Option<PathBuf> {
    find_program("cc")?;
    let (file, library) = (
        dir.join(format!("{name}.c")),
        dir.join(format!("{name}.so")),
    );
    fs::write(&file, source).expect("source file");
    must(
        &[
            "cc",
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            &library.to_string_lossy(),
            &file.to_string_lossy(),
            "-ldl",
        ],
        "",
    );
    Some(library)
}

/// The environment that preloads it and lets `variable` name the file `{dir}/NAME`, for [`crate::cluster::Plan::agent_env`].
pub fn environment(library: &Path, variable: &str, name: &str) -> Vec<(String, String)> {
    vec![
        ("LD_PRELOAD".into(), library.to_string_lossy().into_owned()),
        (variable.into(), format!("{{dir}}/{name}")),
    ]
}

/// Writes that file of a machine; renamed into place, so that nobody reads half of it.
pub fn tell(machine: &Machine, name: &str, text: &str) {
    let new = machine.dir().join(format!("{name}.new"));
    fs::write(&new, text).expect("a file");
    fs::rename(new, machine.dir().join(name)).expect("a file");
}
