//! `install` and `uninstall`: what a package does, where there is none. Programs, unit and user; never the data.

use crate::sys::platform::files::{check_own_directory, check_own_file};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNIT: &str = include_str!("../../packaging/ha-agent.service");
const USERS: &str = include_str!("../../packaging/ha-agent.sysusers");
/// Both, when the second is beside the first.
const PROGRAMS: [&str; 2] = ["ha-agent", "ha-cli"];
const BIN: &str = "usr/local/bin";
const UNIT_FILE: &str = "etc/systemd/system/ha-agent.service";
const USERS_FILE: &str = "etc/sysusers.d/ha-agent.conf";
const CONFIG: &str = "etc/ha-agent";

/// Puts this program, `ha-cli` if it is beside it, unit and user into place. Over an earlier installation: the new
/// one. The answer is what was done, a line each.
///
/// # Errors
/// What could not be written; a package that is installed already.
pub fn install(root: &Path) -> Result<Vec<String>, String> {
    let package = root.join("usr/bin/ha-agent");
    if package.exists() {
        return Err(format!(
            "{} is there: a package is installed. Remove it first (`apt-get remove ha-agent`), or upgrade it instead",
            package.display()
        ));
    }
    let own =
        std::env::current_exe().map_err(|e| format!("this program does not find itself: {e}"))?;
    let mut done = Vec::new();
    for name in PROGRAMS {
        let from = own.with_file_name(name);
        let to = root.join(BIN).join(name);
        if name == PROGRAMS[0] || from.exists() {
            let program = program(&from).map_err(|e| {
                format!("{e}. What is installed runs as root: copy {} to a directory in which only root writes, and install from there", PROGRAMS.join(" and "))
            })?;
            put(&to, &program, 0o755)?;
            done.push(format!("{} is in place", to.display()));
        }
    }
    let unit = UNIT.replace("/usr/bin/ha-agent", &format!("/{BIN}/ha-agent"));
    put(&root.join(UNIT_FILE), unit.as_bytes(), 0o644)?;
    put(&root.join(USERS_FILE), USERS.as_bytes(), 0o644)?;
    fs::create_dir_all(root.join(CONFIG))
        .map_err(|e| format!("{}: {e}", root.join(CONFIG).display()))?;
    done.push(format!("{} is in place", root.join(UNIT_FILE).display()));
    let users = Command::new("systemd-sysusers")
        .arg(format!("--root={}", root.display()))
        .arg("ha-agent.conf")
        .output();
    match users {
        Ok(made) if made.status.success() => {
            done.push("the user ha-agent and the group ha-admin are there".to_owned())
        }
        Ok(made) => {
            return Err(format!(
                "systemd-sysusers: {}",
                String::from_utf8_lossy(&made.stderr).trim()
            ));
        }
        Err(e) => {
            return Err(format!(
                "systemd-sysusers: {e}: make the user ha-agent and the group ha-admin by hand, or name others in {UNIT_FILE}"
            ));
        }
    }
    systemctl(root, &["daemon-reload"])?;
    Ok(done)
}

/// A program from a directory in which nobody else can have put it.
fn program(from: &Path) -> Result<Vec<u8>, String> {
    let said = |e: io::Error| e.to_string();
    if let Some(directory) = from.parent() {
        check_own_directory(directory).map_err(said)?;
    }
    let mut options = fs::OpenOptions::new();
    // A second name of it elsewhere is how cargo makes it.
    let mut file = options
        .read(true)
        .open(from)
        .map_err(|e| format!("{}: {e}", from.display()))?;
    check_own_file(&file, from).map_err(said)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)
        .map_err(|e| format!("{}: {e}", from.display()))?;
    Ok(content)
}

/// Takes away what [`install`] put there, after the agent was stopped. Configuration and data stay.
///
/// # Errors
/// What could not be removed.
pub fn uninstall(root: &Path) -> Result<Vec<String>, String> {
    if root.join(UNIT_FILE).exists() {
        systemctl(root, &["disable", "--now", "ha-agent.service"])?;
    }
    let mut done = Vec::new();
    let files = PROGRAMS
        .iter()
        .map(|p| PathBuf::from(BIN).join(p))
        .chain([UNIT_FILE.into(), USERS_FILE.into()]);
    for file in files.map(|f| root.join(f)) {
        match fs::remove_file(&file) {
            Ok(()) => done.push(format!("{} is gone", file.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("{}: {e}", file.display())),
        }
    }
    systemctl(root, &["daemon-reload"])?;
    Ok(done)
}

/// On the running system only.
fn systemctl(root: &Path, words: &[&str]) -> Result<(), String> {
    if root != Path::new("/") || !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    match Command::new("systemctl").args(words).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!(
            "systemctl {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        )),
        Err(e) => Err(format!("systemctl: {e}")),
    }
}

/// Complete or not at all, also over a program that runs.
fn put(file: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let write = || -> io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = file.with_extension("new");
        fs::write(&new, content)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, file)
    };
    write().map_err(|e| format!("{}: {e}", file.display()))
}
