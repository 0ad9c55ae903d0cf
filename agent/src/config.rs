//! The two configuration files. Everything wrong is said at once, with file, line, key and remedy.
//!
//! ```text
//!   text --toml--> raw (as written, with places) --check--> model (valid) or Problems
//! ```

pub mod agent_file;
mod bounds;
mod checks;
pub mod cluster_file;
mod frontends;
mod persistence;
mod problems;
mod raw;
mod servers;
mod timeouts;
pub mod units;

pub use agent_file::{AgentConfig, VipMode};
pub use cluster_file::{ClusterFile, parse_cluster};
pub use problems::PROBLEMS_MAX;
use problems::{Checker, cut};

use ha_core::own_address::{self, OwnAddress};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the operator named it.
    pub file: String,
    /// Counted from 1; 0 when it concerns the whole file.
    pub line: u32,
    /// The key, e.g. `frontend.listeners`.
    pub key: String,
    pub found: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: found {}; {}",
            self.file, self.line, self.key, self.found, self.remedy
        )
    }
}

/// Everything that is wrong; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Letters of a key and of what the TOML reader says that are looked at: both may be as long as the file.
const KEY_SHOWN: usize = 80;
const MESSAGE_SHOWN: usize = 1000;
/// Longer words are no slip of the pen.
const SLIP_MAX: usize = 40;

/// Reads a file as text.
///
/// # Errors
/// One problem that says why it cannot be read.
pub fn read(path: &Path) -> Result<String, Problems> {
    let whole = |found: String, remedy: &str| {
        Problems(vec![Problem {
            file: path.display().to_string(),
            line: 0,
            key: "file".to_owned(),
            found,
            remedy: remedy.to_owned(),
        }])
    };
    let refused = |e: io::Error| whole(e.to_string(), "name a readable file");
    let file = File::open(path).map_err(refused)?;
    let mut text = String::new();
    // One byte more than may be tells a file that is too large, also one without an end.
    let most = cluster_file::FILE_MAX as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(refused)?;
    if text.len() as u64 == most {
        let found = format!("more than {} bytes", cluster_file::FILE_MAX);
        return Err(whole(found, "name a configuration file: none is so large"));
    }
    Ok(text)
}

/// Reads either file, or both, and says what is wrong with them, also together.
pub fn check(agent: Option<&Path>, cluster: Option<&Path>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut get = |path: &Path| {
        let text = read(path);
        text.map_err(|p| problems.extend(p.0)).ok()
    };
    let texts = (agent.and_then(&mut get), cluster.and_then(&mut get));
    let named = |path: Option<&Path>| path.map_or_else(String::new, |p| p.display().to_string());
    let (agent_file, cluster_file) = (named(agent), named(cluster));
    let agent = texts.0.map(|text| AgentConfig::parse(&agent_file, &text));
    let parsed = (texts.1.as_ref()).map(|text| parse_cluster(&cluster_file, text));
    if let (Some(Ok(agent)), Some(Ok(parsed)), Some(text)) = (&agent, &parsed, &texts.1) {
        let own = agent.own_among(&parsed.config.virtual_ips);
        problems.extend(own_addresses(&cluster_file, text, &own));
    }
    problems.extend(agent.and_then(Result::err).into_iter().flat_map(|p| p.0));
    problems.extend(parsed.and_then(Result::err).into_iter().flat_map(|p| p.0));
    problems
}

/// A problem for each virtual IP that is a machine's own address, where the file names it.
pub fn own_addresses(file: &str, text: &str, own: &[OwnAddress]) -> Vec<Problem> {
    let problem = |own: &OwnAddress| {
        virtual_ip_problem(
            file,
            text,
            own.address,
            own.to_string(),
            own_address::REMEDY.to_owned(),
        )
    };
    own.iter().map(problem).collect()
}

/// A problem with a virtual IP's address, where the file names it.
pub fn virtual_ip_problem(
    file: &str,
    text: &str,
    address: IpAddr,
    found: String,
    remedy: String,
) -> Problem {
    let names = |line: &str| {
        let mut quoted = line.split('"').skip(1).step_by(2);
        quoted.any(|q| q.split('/').next().unwrap_or(q).parse() == Ok(address))
    };
    let line = text.lines().position(names).map_or(0, |n| n + 1);
    Problem {
        file: file.to_owned(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        key: "virtual_ip.address".to_owned(),
        found,
        remedy,
    }
}

impl Checker<'_> {
    /// Notes what the TOML reader refused.
    fn syntax(&mut self, e: &toml::de::Error) {
        let at = e.span().map_or(0, |s| s.start);
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let whole_line = self.text[line_start..].lines().next().unwrap_or("");
        let key = whole_line
            .split('=')
            .next()
            .unwrap_or("")
            .trim()
            .trim_matches(['[', ']'])
            .to_owned();
        let key = if key.is_empty() {
            "syntax".to_owned()
        } else {
            key
        };
        let key = cut(&key, KEY_SHOWN);
        let message = cut(&e.message().replace('\n', " "), MESSAGE_SHOWN);
        let remedy = remedy_for(&message);
        // What is known stands in the remedy.
        let found = message.split(", expected").next().unwrap_or(&message);
        self.problem(at, &key, found, remedy);
    }
}

/// Turns the TOML reader's complaint into advice.
fn remedy_for(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let (wrong, known) = (
            quoted.first().copied().unwrap_or(""),
            quoted.get(1..).unwrap_or(&[]),
        );
        let near = known.iter().map(|k| (distance(wrong, k), k)).min();
        return match near.filter(|_| wrong.len() <= SLIP_MAX) {
            Some((0..=3, near)) => {
                format!("did you mean `{near}`? (known: {})", known.join(", "))
            }
            _ => format!("remove it, or use one of: {}", known.join(", ")),
        };
    }
    if message.starts_with("missing field") {
        return format!(
            "add a line `{} = ...` to this table",
            quoted.first().unwrap_or(&"KEY")
        );
    }
    if message.contains("is longer than") {
        return "write a shorter one".to_owned();
    }
    if message.contains("is no duration") {
        return "write for example \"500ms\", \"5s\", \"30m\" or \"2d\"".to_owned();
    }
    if message.starts_with("duplicate key") {
        return "keep one of the two".to_owned();
    }
    if message.starts_with("invalid type") {
        return "write a value of the expected type".to_owned();
    }
    "see README.md for an example of this file".to_owned()
}

/// Edit distance (Levenshtein), for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
