//! Every way by which something comes into a running agent: who may use it, what bounds it, and what happens at the
//! bound. `docs/security.md` has the same table; tests compare the two, and the sockets of an agent that runs with it.

use crate::config::cluster_file::FILE_MAX;
use crate::entrance::{
    FAILURES_MAX, FAILURES_WINDOW, HANDSHAKE_WITHIN, HANDSHAKES, KNOWN, MEMBERS_HANDSHAKES,
    STRANGER_ASKS_WITHIN, STRANGER_STAYS, STRANGERS, STRANGERS_MAX,
};
use crate::grpc::elsewhere::UNDER_WAY_MAX;
use crate::grpc::guard::STRANGERS_BODY_MAX;
use crate::wire::channels::STREAMS_MAX;
use ha_node::outside::MESSAGE_MAX;

/// One way into an agent.
#[derive(Clone, Debug)]
pub struct WayIn {
    pub way: &'static str,
    /// What its socket is called under `/proc/net`, if it has one that stays.
    pub socket: &'static str,
    /// Who may use it.
    pub who: &'static str,
    pub bounds: String,
    pub at_the_bound: &'static str,
    /// A file and the test in it that shows it.
    pub shown_by: (&'static str, &'static str),
}

/// Every way into an agent, in the order of `docs/security.md`.
pub fn table() -> Vec<WayIn> {
    let row = |way, socket, who, bounds, at_the_bound, shown_by| WayIn {
        way,
        socket,
        who,
        bounds,
        at_the_bound,
        shown_by,
    };
    let admission = "agent/src/entrance/admission.rs";
    vec![
        row(
            "`listen`: handshakes from elsewhere",
            "tcp",
            "anybody",
            format!(
                "{} at a time from an address, {} in all, {HANDSHAKE_WITHIN:?} each; in {FAILURES_WINDOW:?} {STRANGERS_MAX} that show nothing and {FAILURES_MAX} that fail",
                HANDSHAKES.0, HANDSHAKES.1
            ),
            "the oldest is closed; who failed too often is not listened to for as long",
            (admission, "what_strangers_open_is_not_what_others_need"),
        ),
        row(
            "`listen`: handshakes from a member's address",
            "tcp",
            "anybody on that machine",
            format!(
                "{} at a time from an address, {} in all, {HANDSHAKE_WITHIN:?} each",
                MEMBERS_HANDSHAKES.0, MEMBERS_HANDSHAKES.1
            ),
            "the oldest is closed",
            (
                admission,
                "handshakes_from_a_members_address_are_counted_too",
            ),
        ),
        row(
            "`listen`: without a certificate that counts",
            "tcp",
            "who joins: `Join` and `Reach`; who was a node: `Meet`",
            format!(
                "{} connections of an address, {} in all, {STRANGER_ASKS_WITHIN:?} without a question, {STRANGER_STAYS:?} in all; questions of {} KiB",
                STRANGERS.0,
                STRANGERS.1,
                STRANGERS_BODY_MAX >> 10
            ),
            "the oldest that asks nothing is closed; none: the newcomer is",
            (admission, "strangers_who_ask_nothing_lock_nobody_out"),
        ),
        row(
            "`listen`: operators",
            "tcp",
            "a certificate of the authority, by role",
            format!(
                "{} connections each, {} with those of members, {STREAMS_MAX} questions at once on each",
                KNOWN.0, KNOWN.1
            ),
            "the oldest that asks nothing is closed; none: the newcomer is",
            (
                "agent/tests/wire/ways_in.rs",
                "an_operator_with_more_connections_than_he_may_loses_his_oldest",
            ),
        ),
        row(
            "`listen`: members",
            "tcp",
            "a node's certificate",
            format!(
                "{} connections each; messages of {} MiB; what they pass on for operators: {UNDER_WAY_MAX} questions",
                KNOWN.0,
                MESSAGE_MAX >> 20
            ),
            "its oldest is closed; the question is refused",
            (
                "agent/tests/wire/ways_in.rs",
                "a_member_with_more_connections_than_it_may_loses_its_oldest",
            ),
        ),
        row(
            "what members say",
            "",
            "a member, for itself",
            "terms and entries that can be; a `Lease` and a `Release` of a term that is known; see below".to_owned(),
            "refused, and told with its sender",
            (
                "agent/tests/wire/evil.rs",
                "a_member_that_says_what_cannot_be_neither_stops_the_service_nor_moves_it",
            ),
        ),
        row(
            "the local socket",
            "unix",
            "root and the group `ha-admin`",
            format!("{STREAMS_MAX} questions at once on a connection; its file decides who opens one"),
            "the question waits",
            (
                "agent/tests/wire/ways_in.rs",
                "on_the_local_socket_one_question_too_many_waits_and_only_its_owner_opens_it",
            ),
        ),
        row(
            "cluster files, by `apply` and `diff`",
            "",
            "admin; viewer for `diff`",
            format!("{} MiB", FILE_MAX >> 20),
            "refused with words",
            (
                "agent/tests/bounds.rs",
                "a_hostile_file_costs_little_time_and_memory",
            ),
        ),
        row(
            "clients, by `proxy_port` or the frontends' ports",
            "tcp",
            "anybody who reaches the virtual IP",
            "`limit` of each client, `sessions_max`, `maxconn`, `maxqueue`".to_owned(),
            "reset, or waits in the queue",
            (
                "agent/proxy/tests/files.rs",
                "a_client_has_as_many_sessions_as_its_limit_and_others_have_theirs",
            ),
        ),
        row(
            "the kernel: addresses, links and the fence",
            "netlink",
            "the kernel",
            "the socket's buffer".to_owned(),
            "everything is read again",
            ("agent/address/tests/netns/news.rs", "in_a_flood_of_news_what_was_deleted_is_seen_all_the_same"),
        ),
        row(
            "the segment: who else answers for the address",
            "packet",
            "anybody on the segment",
            "a frame's length; a claim is told once a second".to_owned(),
            "the rest is not told",
            ("agent/address/src/linux/claims.rs", "a_claim_is_told_once_a_second_and_yielded_to_for_10_s_after_the_last"),
        ),
        row(
            "signals",
            "",
            "root and the agent's user",
            "SIGTERM, SIGINT and SIGHUP stop it".to_owned(),
            "further ones change nothing",
            ("tests/tests/machine/service.rs", "further_signals_change_nothing"),
        ),
        row(
            "`agent.toml`, `data_dir`",
            "",
            "root and the agent's user",
            "read at the start; each record is checked".to_owned(),
            "the agent does not start, and says why",
            ("tests/tests/machine/log.rs", "a_damaged_log_is_refused_with_instructions_or_has_lost_nothing"),
        ),
    ]
}

/// As `docs/security.md` has it.
pub fn as_markdown() -> String {
    let mut text =
        "way in | socket | who | bounds | at the bound\n---|---|---|---|---\n".to_owned();
    for row in table() {
        let WayIn {
            way,
            socket,
            who,
            bounds,
            at_the_bound,
            ..
        } = row;
        text += &format!("{way} | {socket} | {who} | {bounds} | {at_the_bound}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn the_page_has_this_table() {
        let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
        let table = as_markdown();
        assert!(
            page.contains(&table),
            "docs/security.md should have:\n{table}"
        );
    }

    #[test]
    fn each_row_has_a_test() {
        for WayIn { way, shown_by, .. } in table() {
            let (file, test) = shown_by;
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            let wanted = format!("fn {test}(");
            assert!(
                !test.is_empty() && text.contains(&wanted),
                "{way}: no {wanted} in {file}"
            );
        }
    }
}
