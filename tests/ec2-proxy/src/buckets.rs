//! EC2's published token buckets, for requests and for resources (EC2 developer guide, "request throttling").

use std::collections::BTreeMap;

use crate::query::Query;

/// Size of a bucket, and tokens it gains a second.
type Rate = (u64, u64);

/// Buckets by name, each with what it holds in thousandths and when that was.
#[derive(Debug, Default)]
pub struct Buckets(BTreeMap<&'static str, (u64, u64)>);

impl Buckets {
    /// Takes tokens out of a bucket, all or none.
    pub fn take(&mut self, name: &'static str, tokens: u64, now_ms: u64) -> bool {
        let (size, a_second) = rate(name);
        let (held, at) = self.0.entry(name).or_insert((size * 1_000, now_ms));
        *held = (*held + now_ms.saturating_sub(*at) * a_second).min(size * 1_000);
        *at = now_ms;
        let enough = *held >= tokens * 1_000;
        if enough {
            *held -= tokens * 1_000;
        }
        enough
    }
}

/// The bucket of a request.
pub fn of(action: &str, query: &Query) -> &'static str {
    match action {
        "RunInstances" => "run requests",
        "TerminateInstances" => "terminate requests",
        "CreateTags" => "tag requests",
        _ if query.has("Filter.") || query.has("MaxResults") => "paged describe requests",
        _ => "whole describe requests",
    }
}

fn rate(name: &str) -> Rate {
    match name {
        "run requests" => (5, 2),
        "terminate requests" => (100, 5),
        "tag requests" | "paged describe requests" => (100, if name == "tag requests" { 10 } else { 20 }),
        "whole describe requests" => (50, 10),
        "instances launched" => (1_000, 2),
        "instances ended" => (1_000, 20),
        other => unreachable!("no bucket is named {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_refill() {
        let mut buckets = Buckets::default();
        let mut run = |now| buckets.take("run requests", 1, now);
        assert!((0..5).all(|_| run(0)) && !run(0) && !run(499) && run(500) && !run(500));
        assert!((0..5).all(|_| run(60_000)) && !run(60_000));
        assert!(
            !buckets.take("instances launched", 1_001, 0) && buckets.take("instances launched", 1_000, 0)
        );
    }
}
