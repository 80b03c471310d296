//! `DescribeInstances` as EC2 does it: late, in pages of instances, and not at all for an id that is too new.

use crate::http::Answer;
use crate::query::Query;
use crate::xml::{Element, parse};
use crate::{Shared, refuse};

/// Least and most instances of a page.
const PAGE: std::ops::RangeInclusive<u64> = 5..=1_000;
/// What a page's token begins with.
const TOKEN: &str = "from-";

/// Lists. `is_cut`: this page is the last, although there is more.
pub(crate) fn describe(shared: &Shared, region: &str, query: &Query, is_cut: bool) -> Answer {
    let size = query.number("MaxResults");
    if size.is_some_and(|size| !PAGE.contains(&size)) {
        return refuse(400, "InvalidParameterValue", "MaxResults is not 5 to 1000");
    }
    let from = match query.get("NextToken") {
        "" => Some(0),
        token => token.strip_prefix(TOKEN).and_then(|from| from.parse::<usize>().ok()),
    };
    let Some(from) = from else { return refuse(400, "InvalidNextToken", "no page has this token") };
    let (now_ms, script) = (shared.clock.now_ms(), shared.state().script.clone());
    let ids = query.list("InstanceId");
    if let Some(id) = ids.iter().find(|id| !shared.world().is_found(&script, now_ms, id)) {
        shared.hit("id not found yet");
        return refuse(400, "InvalidInstanceID.NotFound", &format!("The instance ID '{id}' does not exist"));
    }
    let all = match all(shared, region, query) {
        Ok(all) => all,
        Err(answer) => return answer,
    };
    let mut shown = Vec::new();
    for (reservation, item) in &all {
        let (item, hits) = shared.world().show(&script, now_ms, item);
        hits.iter().for_each(|hit| shared.hit(hit));
        if let Some(item) = item {
            let mut reservation = reservation.clone();
            reservation.put("instancesSet", Element::tree("instancesSet", vec![item]));
            shown.push(reservation);
        }
    }
    let size = size.map_or(usize::MAX, |size| size as usize);
    let size = if script.page_most > 0 { size.min(script.page_most) } else { size };
    let end = from.saturating_add(size).min(shown.len());
    let page = shown.get(from.min(end)..end).unwrap_or_default().to_vec();
    let mut children = vec![Element::leaf("requestId", "proxy"), Element::tree("reservationSet", page)];
    if end < shown.len() {
        shared.hit("paged");
        if is_cut {
            shared.hit("page dropped with more behind it");
        } else {
            children.push(Element::leaf("nextToken", format!("{TOKEN}{end}")));
        }
    }
    let mut document = Element::tree("DescribeInstancesResponse", children);
    document.attributes = " xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"".to_owned();
    Answer { status: 200, body: document.write() }
}

/// Every instance moto lists for the same question, each with its reservation, all pages of it.
fn all(shared: &Shared, region: &str, query: &Query) -> Result<Vec<(Element, Element)>, Answer> {
    let mut passed = query.clone();
    passed.remove("MaxResults");
    passed.remove("NextToken");
    let mut found = Vec::new();
    loop {
        let answer = shared.ask(region, &passed.form());
        let Some(document) = Some(&answer).filter(|a| a.status == 200).and_then(|a| parse(&a.body)) else {
            return Err(answer);
        };
        for reservation in document.items("reservationSet") {
            let instances = reservation.items("instancesSet");
            found.extend(instances.map(|instance| (reservation.clone(), instance.clone())));
        }
        match document.at(&["nextToken"]) {
            "" => return Ok(found),
            token => passed.set("NextToken", token),
        }
    }
}
