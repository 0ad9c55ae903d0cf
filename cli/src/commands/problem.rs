//! A mistake in a configuration file, as one line. Pure.

use ha_proto::control::ConfigProblem;

/// `file:line: key: found …; remedy`, leaving out what is not known.
pub(super) fn line(problem: &ConfigProblem) -> String {
    let mut line = problem.file.clone();
    if problem.line != 0 {
        line.push_str(&format!(":{}", problem.line));
    }
    if !problem.key.is_empty() {
        line.push_str(&format!(": {}", problem.key));
    }
    if !problem.found.is_empty() {
        line.push_str(&format!(": found {}", problem.found));
    }
    if !problem.remedy.is_empty() {
        let mark = if problem.found.is_empty() { ":" } else { ";" };
        line.push_str(&format!("{mark} {}", problem.remedy));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_key_and_remedy() {
        let mut problem = ConfigProblem {
            file: "cluster.toml".into(),
            line: 12,
            key: "backend.app.check.fall".into(),
            found: "\"three\"".into(),
            remedy: "write a number from 1 to 100".into(),
        };
        let text = "cluster.toml:12: backend.app.check.fall: found \"three\"; write a number from 1 to 100";
        assert_eq!(line(&problem), text);
        problem.line = 0;
        problem.found.clear();
        assert_eq!(
            line(&problem),
            "cluster.toml: backend.app.check.fall: write a number from 1 to 100"
        );
    }
}
