//! Modules that import each other in a circle cannot be read one after the other.

use super::{none, sources};
use std::collections::{BTreeMap, BTreeSet};

/// Every crate of more than a few modules but the core, whose types name each other as what they model does.
const ROOMS: &[&str] = &[
    "agent/address/src/",
    "agent/check/src/",
    "agent/node/src/",
    "agent/record/src/",
    "agent/src/",
    "agent/trust/src/",
    "cli/src/",
    "simulations/src/",
];

/// The data plane is looked at file by file.
const ROOM: &str = "agent/proxy/src/";

/// Which modules each module of [`ROOM`] imports. A module is named by its path, as `tcp::accept`.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let in_room = |(path, text): (String, String)| {
        let name = path.strip_prefix(ROOM)?.strip_suffix(".rs")?;
        let name = name.strip_suffix("/mod").unwrap_or(name).replace('/', "::");
        // The façade puts all of them together, and tests stand beside what they test.
        (name != "lib" && !name.ends_with("tests")).then_some((name, text))
    };
    let files: BTreeMap<_, _> = sources().into_iter().filter_map(in_room).collect();
    let of = |name: &str, text: &str| {
        let parent = name.rsplit_once("::").map_or("", |(parent, _)| parent);
        let product = text.split("#[cfg(test)]").next().unwrap_or(text);
        let used = |line: &str| {
            let path = line.trim().strip_prefix("use ")?;
            let path = match path.strip_prefix("super::") {
                Some(rest) if parent.is_empty() => rest.to_owned(),
                Some(rest) => format!("{parent}::{rest}"),
                None => path.strip_prefix("crate::")?.to_owned(),
            };
            let meant = |m: &&String| {
                let rest = path.strip_prefix(m.as_str());
                rest.is_some_and(|rest| rest.starts_with("::") || rest.starts_with(';'))
            };
            files.keys().filter(meant).max_by_key(|m| m.len()).cloned()
        };
        product.lines().filter_map(used).collect()
    };
    let each = |(name, text): (&String, &String)| (name.clone(), of(name, text));
    files.iter().map(each).collect()
}

/// All that a module imports, by others as well.
fn reached(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = open.pop() {
        for next in imports.get(&module).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

#[test]
fn no_module_of_the_data_plane_imports_itself_by_way_of_others() {
    let imports = imports();
    let links: usize = imports.values().map(BTreeSet::len).sum();
    assert!(links > 20, "the imports are not read any more: {links}");
    let in_circle = |name: &&String| reached(&imports, name).contains(*name);
    let complaint = |name: &String| {
        format!(
            "{ROOM}{name} imports itself by way of others: let one of them be told what it asks for"
        )
    };
    none(imports.keys().filter(in_circle).map(complaint).collect());
}

/// Which modules at the top of a room each of the others names, in any of its files.
fn named_at_the_top(room: &str) -> BTreeMap<String, BTreeSet<String>> {
    let top = |path: &str| {
        let name = path.strip_prefix(room)?.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        // What puts all of them together, and what only tests use.
        (!["lib", "main", "making", "testing"].contains(&name)).then(|| name.to_owned())
    };
    let files: Vec<(String, String)> = sources()
        .into_iter()
        .filter(|(path, _)| !path.contains("tests"))
        .filter_map(|(path, text)| Some((top(&path)?, text)))
        .collect();
    let all: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in &files {
        let product = text.split("#[cfg(test)]").next().unwrap_or(text);
        let code = product
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let named = code
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
        let others = named.filter(|n| n != name && all.contains(n));
        found.entry(name.clone()).or_default().extend(others);
    }
    found
}

#[test]
fn no_module_of_a_room_imports_itself_by_way_of_others() {
    let mut complaints = Vec::new();
    for room in ROOMS {
        let imports = named_at_the_top(room);
        assert!(!imports.is_empty(), "{room} is not where it was");
        for name in imports.keys() {
            if reached(&imports, name).contains(name) {
                complaints.push(format!(
                    "{room}{name} imports itself by way of others: put what both use into a module of its own"
                ));
            }
        }
    }
    none(complaints);
}

#[test]
fn what_an_operator_can_do_knows_no_grpc() {
    let complaint = |(path, text): &(String, String)| {
        let wrong = path.starts_with("agent/src/operate/") && text.contains("tonic");
        wrong.then(|| {
            format!("{path} names tonic: give a RequestError and let agent/src/grpc say it")
        })
    };
    none(sources().iter().filter_map(complaint).collect());
}
