//! Broken files, each with its line and its remedy.
use super::*;

const GOOD: &str = r#"[cluster]
name = "site"
timing = "lan"
[[virtual_ip]]
name = "print"
address = "10.0.0.100/24"
[[frontend]]
name = "paragon"
virtual_ip = "print"
listeners = [5012, "5014-5019", 5022]
backend = "ts"
[[backend]]
name = "ts"
balance = "roundrobin"
persistence = { by = "client-ip", expire = "30m", group = "mfp" }
check = { tcp = 5022, inter = "5s", fall = 3, rise = 2 }
on_down = "purge"
[[backend.server]]
name = "primary-1"
node = "node-1"
weight = 1
"#;

#[test]
fn the_example_is_valid() {
    let file = parse_cluster("cluster.toml", GOOD).unwrap();
    assert_eq!(file.config.frontends[0].listeners.len(), 3);
    assert_eq!(
        file.config.backends[0].check.as_ref().unwrap().inter,
        std::time::Duration::from_secs(5)
    );
}

#[test]
fn ace_words_mean_the_same_as_haproxys() {
    let ace = GOOD.replace(r#"inter = "5s", fall = 3, rise = 2"#, r#"interval = "5s", fail_detect_count = 3, pass_detect_count = 2, pass_detect_interval = "60s""#);
    let check = parse_cluster("c", &ace).unwrap().config.backends[0]
        .check
        .clone()
        .unwrap();
    assert_eq!(
        (check.fall, check.rise, check.downinter.as_secs()),
        (3, 2, 60)
    );
}

#[test]
fn silence_has_a_bound_unless_the_file_says_none() {
    let of = |frontend: &str, backend: &str| {
        let text = GOOD
            .replace(
                "backend = \"ts\"\n",
                &format!("backend = \"ts\"\n{frontend}\n"),
            )
            .replace("on_down", &format!("{backend}\non_down"));
        let config = parse_cluster("c", &text).unwrap().config;
        let (f, b) = (&config.frontends[0], &config.backends[0]);
        [
            (f.client_timeout, f.client_fin_timeout, f.keepalive),
            (b.server_timeout, b.server_fin_timeout, b.keepalive),
        ]
        .map(|(idle, fin, keepalive)| [idle, fin, keepalive].map(|d| d.as_secs()))
    };
    assert_eq!(of("", ""), [[2100, 30, 60]; 2], "the defaults");
    assert_eq!(
        of(
            "client_timeout = \"1h\"\nclient_fin_timeout = \"5s\"\nkeepalive = \"9h\"",
            "server_timeout = 0\nserver_fin_timeout = \"0\"\nkeepalive = 0",
        ),
        [[3600, 5, 32_400], [0; 3]]
    );
}

#[test]
fn a_check_that_asks_nobody_needs_no_port() {
    let text = GOOD.replace("tcp = 5022, ", "always = \"down\", ");
    let check = parse_cluster("c", &text).unwrap().config.backends[0]
        .check
        .clone()
        .unwrap();
    assert_eq!(check.kind, ha_core::check::Kind::Always { up: false });
}

/// What is replaced by what, then: the line, a part of the key, a part of what was found, a part of the remedy.
type Broken = (
    &'static str,
    &'static str,
    u32,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const BROKEN_CLUSTERS: &[Broken] = &[
    ("balance = \"roundrobin\"", "balanse = \"roundrobin\"", 14, "balanse", "unknown field", "did you mean `balance`"),
    ("balance = \"roundrobin\"", "balance = \"fastest\"", 14, "backend.balance", "fastest", "leastconn"),
    ("name = \"print\"\n", "", 4, "virtual_ip", "missing field", "name = "),
    ("\"10.0.0.100/24\"", "\"10.0.0.300/24\"", 6, "virtual_ip.address", "10.0.0.300", "10.0.0.100/24"),
    ("\"10.0.0.100/24\"", "\"10.0.0.100/33\"", 6, "virtual_ip.address", "/33", "10.0.0.100/24"),
    ("\"10.0.0.100/24\"", "\"0.0.0.0/0\"", 6, "virtual_ip.address", "0.0.0.0", "address"),
    ("virtual_ip = \"print\"", "virtual_ip = \"fax\"", 9, "frontend.virtual_ip", "fax", "print"),
    ("virtual_ip = \"print\"", "virtual_ip = []", 9, "frontend.virtual_ip", "[]", "at least one"),
    ("virtual_ip = \"print\"", "virtual_ip = 5", 9, "virtual_ip", "list of names", ""),
    ("virtual_ip = \"print\"", "virtual_ip = [\"print\", \"fax\"]", 9, "frontend.virtual_ip", "fax", "print"),
    ("virtual_ip = \"print\"", "virtual_ip = [\"print\", \"print\"]", 9, "frontend.virtual_ip", "twice", "once"),
    ("\"10.0.0.100/24\"", "\"fe80::1/64\"", 6, "virtual_ip.address", "fe80::1", "one of the site"),
    ("\"10.0.0.100/24\"", "\"::ffff:10.0.0.100/120\"", 6, "virtual_ip.address", "::ffff", "\"10.0.0.100\""),
    ("backend = \"ts\"", "backend = \"tss\"", 11, "frontend.backend", "tss", "ts"),
    ("[5012, \"5014-5019\", 5022]", "[]", 10, "frontend.listeners", "[]", "at least one port"),
    ("[5012, \"5014-5019\", 5022]", "[70000]", 10, "frontend.listeners", "70000", "1 to 65535"),
    ("[5012, \"5014-5019\", 5022]", "[0]", 10, "frontend.listeners", "0", "1 to 65535"),
    ("[5012, \"5014-5019\", 5022]", "[\"5019-5014\"]", 10, "frontend.listeners", "5019-5014", "range"),
    ("[5012, \"5014-5019\", 5022]", "[5015, \"5014-5019\"]", 10, "frontend.listeners", "overlaps", "once"),
    ("[5012, \"5014-5019\", 5022]", "5012", 10, "listeners", "invalid type", "expected type"),
    ("expire = \"30m\"", "expire = \"30 minutes\"", 15, "persistence", "30 minutes", ""),
    ("on_down = \"purge\"", "keepalive = \"10h\"", 17, "backend.keepalive", "36000s", "1s to 9h"),
    ("on_down = \"purge\"", "keepalive = \"1ms\"", 17, "backend.keepalive", "1ms", "1s to 9h"),
    ("expire = \"30m\"", "expire = \"0\"", 15, "backend.persistence.expire", "0", "above zero"),
    ("by = \"client-ip\"", "by = \"cookie\"", 15, "backend.persistence.by", "cookie", "client-ip"),
    ("by = \"client-ip\"", "by = \"client-ip\", mask = 33", 15, "backend.persistence.mask", "33", "0 to 32"),
    ("fall = 3", "fall = 0", 16, "backend.check.fall", "0", "1 to 1000"),
    ("inter = \"5s\"", "inter = \"0s\"", 16, "backend.check.inter", "0", "above zero"),
    ("tcp = 5022, ", "", 16, "backend.check", "no port", "tcp = PORT"),
    ("tcp = 5022", "always = \"perhaps\"", 16, "backend.check.always", "perhaps", "up"),
    ("tcp = 5022", "tcp = 5022, always = \"up\"", 16, "backend.check.always", "a second kind", "use one of"),
    ("tcp = 5022", "tcp = 5022, close = \"bye\"", 16, "backend.check.close", "bye", "rst"),
    ("on_down = \"purge\"", "on_down = \"drop\"", 17, "backend.on_down", "drop", "keep"),
    ("weight = 1", "weight = 257", 21, "backend.server.weight", "257", "0 to 256"),
    ("node = \"node-1\"\n", "", 19, "backend.server", "without `node`", "address"),
    ("node = \"node-1\"", "node = \"node-1\"\naddress = \"10.0.0.1\"", 20, "backend.server.node", "together", "keep"),
    ("node = \"node-1\"", "address = \"10.0.0.1:5022\"", 20, "backend.server.address", "10.0.0.1:5022", "port"),
    ("name = \"primary-1\"", "name = \"pri mary\"", 19, "backend.server.name", "pri mary", "letters"),
    ("name = \"primary-1\"", "name = \"-oProxyCommand\"", 19, "backend.server.name", "-oProxyCommand", "the first no `-`"),
    ("name = \"primary-1\"", "name = \"a\\u001b[2J\"", 19, "backend.server.name", "\\u{1b}[2J", "letters"),
    ("node = \"node-1\"", "node = \"a\\nb\"", 20, "backend.server.node", "a\\nb", "letters"),
    ("name = \"site\"", "name = \"a\\u202eb\"", 2, "cluster.name", "U+202E", "one line"),
    ("timing = \"lan\"", "prefer = \"no de\"", 3, "cluster.prefer", "no de", "letters"),
    ("timing = \"lan\"", "timing = \"quick\"", 3, "cluster.timing", "quick", "fast"),
    ("timing = \"lan\"", "failback = \"auto\"", 3, "cluster.failback", "without `prefer`", "prefer"),
    ("timing = \"lan\"", "promise = \"10ms\"", 3, "cluster.promise", "10ms", "300ms"),
    ("name = \"site\"", "name = \"site", 2, "name", "", ""),
    ("weight = 1", "weight = 1\nweight = 2", 22, "weight", "duplicate key", "one of the two"),
    ("weight = 1", "weight = 1\n[[backend.server]]\nname = \"primary-1\"\nnode = \"n\"", 23, "backend.server.name", "second time", "of its own"),
    ("weight = 1", "weight = 1\n[[frontend]]\nname = \"two\"\nvirtual_ip = \"print\"\nlisteners = [5016]\nbackend = \"ts\"", 25, "frontend.listeners", "5016 on virtual_ip print", "one frontend"),
];

#[test]
fn each_broken_cluster_file_is_refused_with_line_and_remedy() {
    assert!(BROKEN_CLUSTERS.len() >= 30);
    for (from, to, line, key, found, remedy) in BROKEN_CLUSTERS {
        assert!(GOOD.contains(from), "{from}");
        let problems = parse_cluster("cluster.toml", &GOOD.replacen(from, to, 1))
            .expect_err(to)
            .0;
        let p = &problems[0];
        assert!(
            p.line == *line
                && p.key.contains(key)
                && p.found.contains(found)
                && p.remedy.contains(remedy),
            "{to}: wanted line {line}, got: {p}"
        );
        assert!(
            p.to_string().starts_with(&format!("cluster.toml:{line}: ")),
            "{p}"
        );
    }
}

/// What is put in for what, with a value in the place of `{}`; one that is refused; the values that its remedy names.
type Recommended = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

#[rustfmt::skip]
const RECOMMENDED: &[Recommended] = &[
    ("timing = \"lan\"", "certificate_lifetime = \"{}\"", "5s", &["10s", "825d", "90d"]),
    ("timing = \"lan\"", "promise = \"{}\"", "10ms", &["300ms", "10s"]),
    ("timing = \"lan\"", "voter_timeout = \"{}\"", "9s", &["10s", "1m", "0"]),
    ("timing = \"lan\"", "bindings_max = {}", "0", &["1", "2000000"]),
    ("timing = \"lan\"", "timing = \"{}\"", "x", &["lan", "fast", "wan"]),
    ("\"10.0.0.100/24\"", "\"{}\"", "x", &["10.0.0.100/24"]),
    ("[5012, \"5014-5019\", 5022]", "[{}]", "0", &["1", "65535", "\"5014-5019\""]),
    ("balance = \"roundrobin\"", "balance = \"{}\"", "x", &["roundrobin", "leastconn", "source", "first", "random"]),
    ("balance = \"roundrobin\"", "retries = {}", "101", &["0", "100"]),
    ("balance = \"roundrobin\"", "observe = {}", "0", &["1"]),
    ("balance = \"roundrobin\"", "connect_timeout = \"{}\"", "0", &["5s"]),
    ("inter = \"5s\"", "inter = \"{}\"", "x", &["500ms", "5s", "30m", "2d"]),
    ("expire = \"30m\"", "expire = \"{}\"", "0", &["5s"]),
    ("by = \"client-ip\"", "mask = {}", "33", &["0", "32"]),
    ("by = \"client-ip\"", "mask6 = {}", "129", &["0", "128"]),
    ("by = \"client-ip\"", "mode = \"{}\"", "x", &["commit", "async"]),
    ("fall = 3", "fall = {}", "1001", &["1", "1000"]),
    ("on_down = \"purge\"", "on_down = \"{}\"", "x", &["purge", "keep"]),
    ("weight = 1", "weight = {}", "257", &["0", "256"]),
    ("weight = 1", "port = {}", "0", &["1", "65535"]),
    ("node = \"node-1\"", "address = \"{}\"", "x", &["10.0.0.1"]),
];

#[test]
fn each_value_that_a_remedy_recommends_is_accepted() {
    for (from, to, refused, values) in RECOMMENDED {
        assert!(GOOD.contains(from), "{from}");
        let with = |value: &str| GOOD.replacen(from, &to.replace("{}", value), 1);
        let problems = parse_cluster("c", &with(refused)).expect_err(to).0;
        for value in *values {
            let read = parse_cluster("c", &with(value));
            assert!(read.is_ok(), "{to} with {value}: {}", read.unwrap_err());
            let remedy = &problems[0].remedy;
            assert!(remedy.contains(value), "{to}: {remedy} names {value}");
        }
    }
}

#[test]
fn what_is_kept_may_be_kept_for_years_and_nothing_waits_so_long() {
    let with = |from, to| parse_cluster("c", &GOOD.replacen(from, to, 1));
    let lasting = with("timing = \"lan\"", "certificate_lifetime = \"825d\"").unwrap();
    assert_eq!(lasting.config.certificate_lifetime.as_secs(), 825 * 86_400);
    drop(with("expire = \"30m\"", "expire = \"90d\"").unwrap());
    let long = with("inter = \"5s\"", "inter = \"25d\"").unwrap_err();
    assert!(long.0[0].found.contains("longer than 24 days"), "{long}");
    let long = with("timing = \"lan\"", "certificate_lifetime = \"826d\"").unwrap_err();
    assert!(long.0[0].found.contains("longer than 825 days"), "{long}");
}

#[test]
fn the_keys_that_are_known_are_listed_once() {
    let p = &parse_cluster("c", &GOOD.replace("weight = 1", "wait = 1"))
        .unwrap_err()
        .0[0];
    assert_eq!(p.to_string().matches("maxconn").count(), 1, "{p}");
}

#[test]
fn all_problems_are_said_at_once() {
    let bad = GOOD
        .replace("weight = 1", "weight = 999")
        .replace("fall = 3", "fall = 0")
        .replace("5012,", "0,");
    assert_eq!(parse_cluster("c", &bad).unwrap_err().0.len(), 3);
}

#[test]
fn a_hundred_problems_are_described_and_the_others_counted() {
    let listeners = (0..4096).map(|_| "0,\n").collect::<String>();
    let bad = GOOD.replace("5012, \"5014-5019\", 5022", &listeners);
    let Problems(problems) = parse_cluster("c", &bad).unwrap_err();
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!((problems[0].line, problems[99].line), (10, 109));
    assert_eq!(problems[PROBLEMS_MAX].found, "3996 more problems");
}

#[test]
fn a_remedy_lists_some_names_and_counts_the_others() {
    let backends = (0..1000).map(|n| format!("[[backend]]\nname = \"b{n}\"\n[[backend.server]]\nname = \"s\"\nnode = \"n\"\nport = 1\n"));
    let bad =
        GOOD.replace("backend = \"ts\"", "backend = \"other\"") + &backends.collect::<String>();
    let problem = parse_cluster("c", &bad).unwrap_err().0.remove(0);
    assert!(problem.remedy.ends_with(" and 981 more"), "{problem}");
}

#[test]
fn there_are_not_too_many_of_anything() {
    let rows = [
        (
            "virtual_ip",
            257,
            "name = \"v{}\"\naddress = \"10.1.0.1\"\n",
        ),
        (
            "frontend",
            1025,
            "name = \"f{}\"\nvirtual_ip = \"print\"\nlisteners = []\nbackend = \"ts\"\n",
        ),
        ("backend", 1025, "name = \"b{}\"\n"),
        ("backend.server", 4097, "name = \"s{}\"\nnode = \"n\"\n"),
    ];
    for (key, many, table) in rows {
        let tables =
            (0..many).map(|n| format!("[[{key}]]\n{}", table.replace("{}", &n.to_string())));
        let Problems(problems) =
            parse_cluster("c", &(GOOD.to_owned() + &tables.collect::<String>())).unwrap_err();
        let p = &problems[0];
        assert!(
            p.key == key && p.found.contains("in all") && p.remedy.starts_with("use at most"),
            "{p}"
        );
        assert_eq!(problems.len(), 1, "nothing else is looked at");
    }
}

#[test]
fn each_broken_agent_file_is_refused_with_line_and_remedy() {
    let good = "name = \"node-1\"\ndata_dir = \"/var/lib/ha-agent\"\nlisten = \"10.0.0.1:7400\"\nvip = \"bind\"\n";
    assert_eq!(
        AgentConfig::parse("agent.toml", good)
            .unwrap()
            .address
            .to_string(),
        "10.0.0.1"
    );
    for (from, to, line, key, remedy) in [
        ("\"node-1\"", "\"node/1\"", 1, "name", "letters"),
        (
            "\"/var/lib/ha-agent\"",
            "\"data\"",
            2,
            "data_dir",
            "absolute",
        ),
        ("10.0.0.1:7400", "0.0.0.0:7400", 3, "listen", "peers reach"),
        ("10.0.0.1:7400", "10.0.0.1", 3, "listen", "10.0.0.1:7400"),
        ("\"bind\"", "\"magic\"", 4, "vip", "kernel"),
        ("vip", "vipp", 4, "vipp", "did you mean `vip`"),
        ("vip = \"bind\"", "role = \"king\"", 4, "role", "witness"),
        ("vip = \"bind\"", "workers = 999", 4, "workers", "256"),
    ] {
        let p = AgentConfig::parse("agent.toml", &good.replacen(from, to, 1))
            .expect_err(to)
            .0
            .remove(0);
        assert!(
            p.line == line && p.key.contains(key) && p.remedy.contains(remedy),
            "{to}: {p}"
        );
    }
}

#[test]
fn an_interface_is_one_for_all_virtual_ips_or_one_for_each() {
    let agent = |more: &str| {
        let text = format!("name = \"n\"\ndata_dir = \"/d\"\nlisten = \"10.0.0.1:7400\"\n{more}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    let read = |more: &str| agent(more).unwrap();
    assert_eq!(
        read("interface = \"eth0\"").interface.as_deref(),
        Some("eth0")
    );
    let each = read("interface = { print = \"eth0.20\", scan = \"bond0\" }");
    assert_eq!((each.interface, each.interfaces.len()), (None, 2));
    assert_eq!(each.interfaces["print"], "eth0.20");
    assert_eq!(read("gateway = \"10.0.0.254\"").gateways.len(), 1);
    assert_eq!(
        read("gateway = [\"10.0.0.254\", \"fd00::1\"]")
            .gateways
            .len(),
        2
    );
    let rows = [
        ("interface = 5", "interface", "eth0.20"),
        ("interface = { print = 5 }", "interface", "eth0.20"),
        (
            "interface = \"a-name-that-is-too-long\"",
            "interface",
            "ip link",
        ),
        (
            "interface = { print = \"eth0\\\"\" }",
            "interface",
            "ip link",
        ),
        ("gateway = \"router\"", "gateway", "10.0.0.254"),
        ("gateway = [1]", "gateway", "10.0.0.254"),
        (
            "on_claim = \"give-up\"",
            "on_claim",
            "\"defend\", \"yield\"",
        ),
    ];
    for (line, key, remedy) in rows {
        let Problems(problems) = agent(line).unwrap_err();
        let p = &problems[0];
        assert!(
            p.line == 4 && p.key == key && p.remedy.contains(remedy),
            "{line}: {p}"
        );
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    for cut in 0..GOOD.len() {
        drop(parse_cluster("c", &GOOD[..cut]));
        drop(parse_cluster("c", &GOOD[cut..]));
    }
}
