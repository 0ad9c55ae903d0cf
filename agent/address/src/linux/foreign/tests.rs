//! Which rules of others are told: those that drop for certain.

use serde_json::json;

use super::*;

/// One filter chain at `input` with these rules, and a chain `other` with those.
fn rules(policy: &str, rules: &[Value], other: &[Value]) -> Rules {
    let base = json!({ "chain": { "family": "inet", "table": "t", "name": "in", "type": "filter",
        "hook": "input", "prio": 0, "policy": policy } });
    let rule = |chain: &str, expr: &Value| json!({ "rule": { "family": "inet", "table": "t", "chain": chain, "expr": expr } });
    let mut all = vec![json!({ "metainfo": {} }), base];
    all.extend(rules.iter().map(|r| rule("in", r)));
    all.extend(other.iter().map(|r| rule("other", r)));
    Rules::read(&json!({ "nftables": all }))
}

fn drops(found: &Rules) -> bool {
    let packet = Packet {
        comes: true,
        address: IpAddr::from([10, 0, 0, 100]),
        port: 5022,
        interface: "eth0".to_owned(),
        state: "untracked",
    };
    found.droppers(&packet).count() > 0
}

fn field(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn when(left: &Value, right: &Value) -> Value {
    json!({ "match": { "op": "==", "left": left, "right": right } })
}

#[test]
fn only_what_drops_for_certain_is_told() {
    let (drop, accept) = (json!({ "drop": null }), json!({ "accept": null }));
    let port = field("tcp", "dport");
    let from = field("ip", "saddr");
    let to = field("ip", "daddr");
    let net = json!({ "prefix": { "addr": "10.0.0.0", "len": 8 } });
    let rows = [
        (
            vec![when(&port, &json!(5022)), drop.clone()],
            true,
            "its port",
        ),
        (
            vec![when(&port, &json!(5023)), drop.clone()],
            false,
            "another",
        ),
        (
            vec![when(&port, &json!({ "range": [5000, 6000] })), drop.clone()],
            true,
            "a range",
        ),
        (
            vec![
                when(&port, &json!({ "set": [22, { "range": [80, 90] }] })),
                drop.clone(),
            ],
            false,
            "a set without it",
        ),
        (vec![when(&to, &net), drop.clone()], true, "its network"),
        (vec![when(&from, &net), drop.clone()], false, "some clients"),
        (
            vec![when(&port, &json!("@named")), drop.clone()],
            false,
            "a named set",
        ),
        (
            vec![when(&field("udp", "dport"), &json!(5022)), drop.clone()],
            false,
            "another protocol",
        ),
        (
            vec![json!({ "limit": { "rate": 5 } }), drop.clone()],
            false,
            "a rate",
        ),
        (
            vec![json!({ "counter": { "packets": 0 } }), drop],
            true,
            "counted",
        ),
        (
            vec![json!({ "goto": { "target": "other" } })],
            true,
            "by way of a chain",
        ),
        (vec![json!("nonsense")], false, "not understood"),
    ];
    let other = [json!([{ "reject": null }])];
    for (rule, dropped, why) in rows {
        assert_eq!(
            drops(&rules("accept", &[json!(rule)], &other)),
            dropped,
            "{why}"
        );
    }
    let open = json!([when(&port, &json!(5022)), accept]);
    assert!(drops(&rules("drop", &[], &[])), "by policy");
    assert!(!drops(&rules("drop", &[open], &[])), "the port is open");
    let maybe = json!([when(&from, &net), { "accept": null }]);
    assert!(
        !drops(&rules("drop", &[maybe], &[])),
        "for some clients at least"
    );
}

#[test]
fn chains_that_jump_to_each_other_come_to_an_end() {
    let jump = json!([{ "jump": { "target": "other" } }]);
    let found = rules(
        "drop",
        std::slice::from_ref(&jump),
        &[jump.clone(), jump.clone()],
    );
    assert!(!drops(&found), "not certain");
}
