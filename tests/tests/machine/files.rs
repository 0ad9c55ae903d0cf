//! Directories copied whole.

use std::path::Path;

/// Everything in there, except files whose name begins with one of these.
pub fn copy(from: &Path, to: &Path, except: &[&str]) {
    for entry in std::fs::read_dir(from)
        .expect("a directory")
        .map(|e| e.expect("an entry"))
    {
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if except.iter().any(|e| name.to_string_lossy().starts_with(e)) {
            continue;
        }
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a directory");
            copy(&entry.path(), &target, except);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
