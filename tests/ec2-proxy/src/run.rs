//! `RunInstances` as EC2 does it: one token, one launch; as many as there are, from the least that is asked for.

use crate::faults::{Pool, Script};
use crate::http::Answer;
use crate::query::Query;
use crate::world::{Known, Token};
use crate::xml::{Element, parse};
use crate::{Shared, refuse};

/// Longest client token.
const TOKEN_MAX: usize = 64;
/// Longest user data, in characters of base64.
const USER_DATA_MAX: usize = 16 * 1024 * 4 / 3 + 4;

/// Launches, or refuses.
pub(crate) fn run(shared: &Shared, region: &str, query: &Query) -> Answer {
    let (least, most) = (query.number("MinCount"), query.number("MaxCount"));
    let (Some(least), Some(most)) = (least, most) else {
        return refuse(400, "MissingParameter", "no counts");
    };
    let token = query.get("ClientToken").to_owned();
    if least == 0 || least > most || token.len() > TOKEN_MAX || query.get("UserData").len() > USER_DATA_MAX {
        return refuse(400, "InvalidParameterValue", "counts, client token or user data");
    }
    let zone = shared.zone(region, query);
    // Who names a subnet or a zone has the token there only; who does not has it in the region.
    let is_zonal = query.has("SubnetId") || query.has("Placement.AvailabilityZone");
    let key = (if is_zonal { zone.clone() } else { String::new() }, token.clone());
    let mut parameters = query.clone();
    parameters.remove("ClientToken");
    let parameters = parameters.form();
    let used = shared.world().tokens.get(&key).filter(|_| !token.is_empty()).cloned();
    if let Some(used) = used {
        return again(shared, &used, &parameters);
    }
    let market = match query.get("InstanceMarketOptions.MarketType") {
        "spot" => "spot",
        _ => "on-demand",
    };
    let count = match room(shared, query.get("InstanceType"), &zone, market, least, most) {
        Ok(count) => count,
        Err(refused) => return refused,
    };
    let mut passed = query.clone();
    passed.set("MinCount", count.to_string());
    passed.set("MaxCount", count.to_string());
    let answer = shared.ask(region, &passed.form());
    let Some(document) = Some(&answer).filter(|a| a.status == 200).and_then(|a| parse(&a.body)) else {
        return answer;
    };
    let now_ms = shared.clock.now_ms();
    let ids: Vec<String> = document.items("instancesSet").map(|i| i.at(&["instanceId"]).to_owned()).collect();
    let mut world = shared.world();
    for id in &ids {
        world.instances.insert(id.clone(), Known { launched_ms: now_ms, ended_ms: None });
    }
    if !token.is_empty() {
        world.tokens.insert(key, Token { parameters, answer: document, ids });
    }
    answer
}

/// A token that was used: the same launch, or an error.
fn again(shared: &Shared, known: &Token, parameters: &str) -> Answer {
    if known.parameters != parameters {
        shared.hit("token with other parameters");
        return refuse(400, "IdempotentParameterMismatch", "the token was used with other parameters");
    }
    let ended = |id: &String| shared.world().instances.get(id).is_some_and(|i| i.ended_ms.is_some());
    if known.ids.iter().all(ended) {
        shared.hit("token of ended instances");
        return refuse(400, "IdempotentInstanceTerminated", "the instances of the token have ended");
    }
    shared.hit("token repeated");
    Answer { status: 200, body: known.answer.write() }
}

/// How many there are for a launch.
fn room(shared: &Shared, kind: &str, zone: &str, market: &str, least: u64, most: u64) -> Result<u64, Answer> {
    let mut state = shared.state();
    let mut count = most;
    let mut code = String::new();
    for pool in state.script.pools.iter().filter(|pool| pool.gives(kind, zone, market)) {
        if pool.left < count {
            count = pool.left;
            code.clone_from(&pool.code);
        }
    }
    if count < least {
        state.record.hit("no room");
        let why = format!("there are {count} of {kind} ({market}) in {zone}, {least} are asked for");
        let status = if code.starts_with("Insufficient") { 500 } else { 400 };
        return Err(refuse(status, &code, &why));
    }
    if count < most {
        state.record.hit("launched in part");
    }
    use_up(&mut state.script, |pool| pool.gives(kind, zone, market), count);
    let (has_buckets, now_ms) = (state.script.has_buckets, shared.clock.now_ms());
    drop(state);
    if has_buckets && !shared.world().buckets.take("instances launched", count, now_ms) {
        shared.hit("resource bucket empty");
        return Err(refuse(503, "RequestLimitExceeded", "too many instances launched"));
    }
    Ok(count)
}

fn use_up(script: &mut Script, gives: impl Fn(&Pool) -> bool, count: u64) {
    script.pools.iter_mut().filter(|pool| gives(pool)).for_each(|pool| pool.left -= count);
}

/// Ends instances: all of those named, or none.
pub(crate) fn terminate(shared: &Shared, region: &str, query: &Query) -> Answer {
    let ids = query.list("InstanceId");
    let now_ms = shared.clock.now_ms();
    let script = shared.state().script.clone();
    if let Some(id) = ids.iter().find(|id| !shared.world().is_found(&script, now_ms, id)) {
        shared.hit("id not found yet");
        return refuse(400, "InvalidInstanceID.NotFound", &format!("The instance ID '{id}' does not exist"));
    }
    if script.has_buckets && !shared.world().buckets.take("instances ended", ids.len() as u64, now_ms) {
        shared.hit("resource bucket empty");
        return refuse(503, "RequestLimitExceeded", "too many instances ended");
    }
    let answer = shared.ask(region, &query.form());
    if answer.status == 200 {
        let mut world = shared.world();
        for id in &ids {
            if let Some(known) = world.instances.get_mut(id) {
                known.ended_ms.get_or_insert(now_ms);
            }
        }
    }
    answer
}

/// Gives an address to an instance that runs; one that is pending cannot have it.
pub(crate) fn associate(shared: &Shared, region: &str, query: &Query) -> Answer {
    let (now_ms, pending_ms) = (shared.clock.now_ms(), shared.state().script.pending_ms);
    let id = query.get("InstanceId");
    let is_pending = shared.world().instances.get(id).is_some_and(|i| now_ms < i.launched_ms + pending_ms);
    if is_pending {
        shared.hit("address of a pending instance");
        let why = format!("The pending instance '{id}' is not in a valid state for this operation");
        return refuse(400, "InvalidInstanceID", &why);
    }
    shared.ask(region, &query.form())
}

/// The zone of a subnet, as moto has it; by its name otherwise.
pub(crate) fn zone(subnets: &Element, query: &Query) -> String {
    let subnet = query.get("SubnetId");
    let found = subnets.items("subnetSet").find(|s| s.at(&["subnetId"]) == subnet);
    match (found, query.get("Placement.AvailabilityZone")) {
        (Some(found), _) => found.at(&["availabilityZone"]).to_owned(),
        (None, "") => "any".to_owned(),
        (None, zone) => zone.to_owned(),
    }
}
