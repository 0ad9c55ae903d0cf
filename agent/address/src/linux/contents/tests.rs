//! What a new configuration changes in the sets, and that it ends where it should.

use super::*;

const A: [u8; 4] = [10, 0, 0, 100];

fn ports(ranges: &[RangeInclusive<u16>]) -> Contents {
    of_intercepts(&[Intercept {
        address: IpAddr::from(A),
        ports: ranges.to_vec(),
        to_port: 15000,
    }])
}

fn apply(have: &Contents, changes: &[Change]) -> Contents {
    let mut contents = have.clone();
    for change in changes {
        let set = contents.entry(change.set.clone()).or_default();
        for element in &change.elements {
            let fitting = if change.is_new {
                set.insert(element.clone())
            } else {
                set.remove(element)
            };
            assert!(fitting, "the kernel would refuse {change:?}");
        }
    }
    contents
}

fn all_ports(contents: &Contents) -> Vec<u16> {
    let elements = contents.values().flatten().filter_map(Element::range);
    let mut all: Vec<u16> = elements.flat_map(|(_, range)| range).collect();
    all.sort_unstable();
    all
}

#[test]
fn overlapping_ports_are_merged() {
    let merged = merged(&[
        5014..=5019,
        5012..=5012,
        5016..=5021,
        5022..=5022,
        65535..=65535,
    ]);
    assert_eq!(merged, [5012..=5012, 5014..=5022, 65535..=65535]);
}

#[test]
fn ports_that_stay_are_not_touched() {
    let rows = [
        (vec![5022..=5022], vec![5022..=5022], 0, "nothing changes"),
        (vec![5022..=5022], vec![5022..=5023], 1, "one more"),
        (
            vec![5014..=5021, 5022..=5022],
            vec![5012..=5030],
            2,
            "before and after",
        ),
        (
            vec![5014..=5021],
            vec![5014..=5015],
            2,
            "a range is cut: it goes, and its part comes",
        ),
        (vec![], vec![1..=65535], 1, "all of them"),
        (vec![65535..=65535], vec![], 1, "the last one"),
    ];
    for (before, after, elements, why) in rows {
        let (have, wanted) = (ports(&before), ports(&after));
        let steps = changes(&have, &wanted);
        assert_eq!(
            steps.iter().map(|s| s.elements.len()).sum::<usize>(),
            elements,
            "{why}: {steps:?}"
        );
        let now = apply(&have, &steps);
        assert_eq!(all_ports(&now), all_ports(&wanted), "{why}");
        assert!(agree(&now, &wanted), "{why}");
    }
}

#[test]
fn many_configurations_in_a_row_end_where_they_should() {
    let (mut have, mut seed) = (Contents::new(), 1_u64);
    let mut draw = |bound: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for _ in 0..2000 {
        let mut ranges = Vec::new();
        for _ in 0..draw(6) {
            let start = 1 + draw(40) as u16;
            ranges.push(start..=start + draw(10) as u16);
        }
        let wanted = ports(&ranges);
        have = apply(&have, &changes(&have, &wanted));
        let expected: BTreeSet<u16> = ranges.into_iter().flatten().collect();
        assert_eq!(all_ports(&have), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn addresses_come_and_go_by_themselves() {
    let at = |address: &str| Intercept {
        address: address.parse().expect("a literal"),
        ports: vec![80..=80],
        to_port: 1,
    };
    let (have, wanted) = (
        of_intercepts(&[at("10.0.0.1"), at("10.0.0.2")]),
        of_intercepts(&[at("10.0.0.2"), at("fd00::1")]),
    );
    let steps = changes(&have, &wanted);
    assert_eq!(
        steps
            .iter()
            .filter(|s| s.is_new)
            .map(|s| s.elements.len())
            .sum::<usize>(),
        2,
        "fd00::1 and its port"
    );
    assert_eq!(
        steps
            .iter()
            .filter(|s| !s.is_new)
            .map(|s| s.elements.len())
            .sum::<usize>(),
        2,
        "10.0.0.1 and its port"
    );
    assert!(
        steps.windows(2).all(|w| !w[0].is_new || w[1].is_new),
        "what goes comes first"
    );
}
