//! How far an upgrade of the cluster has come, in words.

use ha_core::version::{RecordVersion, Speaks};

/// What is written at present and what comes next; empty while every agent speaks just what is written.
pub(super) fn progress(active: RecordVersion, members: &[(&str, Speaks)]) -> String {
    let newest = members.iter().map(|(_, speaks)| speaks.max).max();
    let Some(newest) = newest.filter(|newest| *newest > active) else {
        return String::new();
    };
    let behind = members.iter().filter(|(_, s)| !s.contains(newest));
    let names: Vec<&str> = behind.map(|(name, _)| *name).collect();
    if names.is_empty() {
        return format!(
            "version {active} is active; {newest} follows once all members have been live for a minute, \
             and there is no way back then"
        );
    }
    format!(
        "version {active} is active; {newest} follows when {} too runs an agent that speaks it (until then each \
         node can go back)",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_an_upgrade_up_is_named() {
        let told = |newest: [u32; 3]| {
            let speaks = newest.map(|max| Speaks {
                min: RecordVersion(1),
                max: RecordVersion(max),
            });
            let members: Vec<_> = ["node-1", "node-2", "node-3"]
                .into_iter()
                .zip(speaks)
                .collect();
            progress(RecordVersion(1), &members)
        };
        assert_eq!(told([1, 1, 1]), "");
        assert!(told([2, 1, 2]).contains("2 follows when node-2 too runs"));
        assert!(told([2, 1, 1]).contains("node-2, node-3 too"));
        assert!(told([2, 2, 2]).contains("2 follows once all members"));
    }
}
