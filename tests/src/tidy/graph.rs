//! What `cargo metadata` says, as far as the rules need it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Why a package needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Linked into the product.
    Normal,
    /// For tests, examples and benches only.
    Dev,
    /// For build scripts only.
    Build,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Name of the package needed.
    pub name: String,
    /// Which table it stands in.
    pub kind: Kind,
    /// Version requirement as written; `*` for none.
    pub requirement: String,
    /// True for a folder of this repository.
    pub local: bool,
    /// True when a cargo feature switches it.
    pub optional: bool,
}

/// A package of the graph, ours or not.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Crate name.
    pub name: String,
    /// Version, for messages.
    pub version: String,
    /// SPDX expression; empty when the manifest names none.
    pub licence: String,
    /// Where it comes from; empty for a folder of this repository.
    pub source: String,
    /// Folder of its manifest.
    pub folder: String,
    /// Direct dependencies.
    pub dependencies: Vec<Dependency>,
}

/// All packages, and what links what.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Every package by its id.
    pub packages: BTreeMap<String, Package>,
    /// Ids of the workspace's own packages.
    pub members: BTreeSet<String>,
    /// Resolved edges that end in the product (no dev, no build dependencies): id to ids.
    pub links: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads the JSON of `cargo metadata --format-version 1`.
    pub fn parse(json: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(json).map_err(|e| format!("cargo metadata: {e}"))?;
        let mut graph = Self::default();
        for package in list(&root["packages"]) {
            graph.packages.insert(text(&package["id"]), package_of(package));
        }
        graph.members = list(&root["workspace_members"]).iter().map(text).collect();
        for node in list(&root["resolve"]["nodes"]) {
            let linked = list(&node["deps"])
                .iter()
                .filter(|d| list(&d["dep_kinds"]).iter().any(|k| k["kind"].is_null()))
                .map(|d| text(&d["pkg"]))
                .collect();
            graph.links.insert(text(&node["id"]), linked);
        }
        if graph.members.is_empty() || graph.links.is_empty() {
            return Err("cargo metadata: no workspace members or no resolved graph".to_owned());
        }
        Ok(graph)
    }

    /// The workspace's own packages.
    pub fn own(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// A way from the member `from` to a package whose name `unwanted` accepts, as `a -> b -> c`; the shortest one.
    #[must_use]
    pub fn path(&self, from: &str, unwanted: impl Fn(&str) -> bool) -> Option<String> {
        let start = self.members.iter().find(|id| self.packages.get(*id).is_some_and(|p| p.name == from))?;
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut frontier = vec![start.as_str()];
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for id in frontier {
                for to in self.links.get(id).into_iter().flatten() {
                    if to == start || came_from.contains_key(to.as_str()) {
                        continue;
                    }
                    came_from.insert(to, id);
                    if self.packages.get(to).is_some_and(|p| unwanted(&p.name)) {
                        return Some(self.render(&came_from, to));
                    }
                    next.push(to.as_str());
                }
            }
            frontier = next;
        }
        None
    }

    fn render(&self, came_from: &BTreeMap<&str, &str>, end: &str) -> String {
        let mut names = Vec::new();
        let mut at = Some(end);
        while let Some(id) = at {
            names.push(self.packages.get(id).map_or(id, |p| p.name.as_str()));
            at = came_from.get(id).copied();
        }
        names.reverse();
        names.join(" -> ")
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn package_of(package: &Value) -> Package {
    let manifest = text(&package["manifest_path"]);
    Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: text(&package["license"]),
        source: text(&package["source"]),
        folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
        dependencies: list(&package["dependencies"]).iter().map(dependency_of).collect(),
    }
}

fn dependency_of(dependency: &Value) -> Dependency {
    Dependency {
        name: text(&dependency["name"]),
        kind: match dependency["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        },
        requirement: text(&dependency["req"]),
        local: dependency["path"].is_string(),
        optional: dependency["optional"].as_bool().unwrap_or(false),
    }
}

/// Builds small graphs for the tests of the rules.
#[cfg(test)]
pub(crate) mod planted {
    use super::{Dependency, Graph, Kind, Package};

    /// A graph of our crates with these direct dependencies, all of them links.
    pub fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in edges {
            graph.members.insert((*from).to_owned());
            let dependencies = to.iter().map(|name| dependency(name, Kind::Normal)).collect();
            let package = Package { name: (*from).to_owned(), dependencies, ..Package::default() };
            graph.packages.insert((*from).to_owned(), package);
            graph.links.insert((*from).to_owned(), to.iter().map(|t| (*t).to_owned()).collect());
        }
        for name in edges.iter().flat_map(|(_, to)| to.iter()) {
            let outside = Package { name: (*name).to_owned(), ..Package::default() };
            graph.packages.entry((*name).to_owned()).or_insert(outside);
        }
        graph
    }

    /// A dependency as cargo reports it.
    pub fn dependency(name: &str, kind: Kind) -> Dependency {
        let local = name.starts_with("asterism-");
        Dependency { name: name.to_owned(), kind, requirement: "^1".to_owned(), local, optional: false }
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, planted};

    #[test]
    fn metadata_is_read_with_its_kinds() {
        let json = r#"{"packages":[
          {"id":"a","name":"asterism-a","version":"1.0.0","license":"MIT","source":null,"manifest_path":"/r/a/Cargo.toml",
           "dependencies":[{"name":"b","kind":null,"req":"^1","path":null,"optional":true},{"name":"c","kind":"dev","req":"*"}]},
          {"id":"b","name":"b","version":"1.0.0","license":null,"source":"registry","manifest_path":"/x/b/Cargo.toml","dependencies":[]},
          {"id":"c","name":"c","version":"1.0.0","source":"registry","manifest_path":"/x/c/Cargo.toml","dependencies":[]}],
         "workspace_members":["a"],
         "resolve":{"nodes":[{"id":"a","deps":[{"pkg":"b","dep_kinds":[{"kind":null}]},{"pkg":"c","dep_kinds":[{"kind":"dev"}]}]},
                             {"id":"b","deps":[]},{"id":"c","deps":[]}]}}"#;
        let graph = Graph::parse(json).expect("parses");
        let own: Vec<_> = graph.own().collect();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].folder, "/r/a");
        assert!(own[0].dependencies[0].optional);
        assert_eq!(graph.path("asterism-a", |n| n == "b").as_deref(), Some("asterism-a -> b"));
        assert_eq!(graph.path("asterism-a", |n| n == "c"), None, "a dev dependency is no link");
    }

    #[test]
    fn broken_metadata_is_refused() {
        assert!(Graph::parse("{").is_err());
        assert!(Graph::parse("{}").is_err(), "an empty graph would make every rule pass");
    }

    #[test]
    fn the_shortest_path_is_named_and_cycles_end() {
        let graph = planted::graph(&[("asterism-a", &["b"]), ("b", &["c", "asterism-a"]), ("c", &["d"])]);
        assert_eq!(graph.path("asterism-a", |n| n == "d").as_deref(), Some("asterism-a -> b -> c -> d"));
        assert_eq!(graph.path("asterism-a", |n| n == "e"), None);
    }
}
