//! What is kept, for whom and how long, in virtual time: each test is a back end that counts how often it is asked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use asterism_domain::logic::Fields;
use asterism_domain::logic::web::Follows;
use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::backend::code;

const LIMIT: Duration = Duration::from_millis(500);

/// A store in this process; what is put there stays for as long as was said.
#[derive(Debug, Default)]
struct Store {
    entries: Mutex<BTreeMap<String, (Vec<u8>, Instant)>>,
    is_away: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Shared for Store {
    async fn get(&self, name: &str) -> Result<Option<shared::Value>, shared::Away> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(shared::Away);
        }
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.get(name).and_then(|(value, until)| {
            let left = until.checked_duration_since(Instant::now())?;
            Some(shared::Value { value: value.clone(), left_s: u32::try_from(left.as_secs()).ok()? })
        }))
    }

    async fn set(&self, name: &str, value: Vec<u8>, for_s: u32) -> Result<(), shared::Away> {
        let until = Instant::now() + Duration::from_secs(for_s.into());
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), (value, until));
        Ok(())
    }
}

fn shared_by_all(store: &Arc<Store>) -> Arc<dyn Shared> {
    store.clone()
}

/// A flow, its replica's cache, and how often the back end was asked.
struct Lab {
    flow: Flow,
    cache: Cache,
    metrics: Metrics,
    asked: AtomicU32,
}

fn flow(version: u32) -> Flow {
    Flow::parse(&format!(
        "# {version}\nname = \"survey\"\nfallback = \"end\"\n[backend]\nkind = \"nats\"\nprompts = [\"hello\"]\n\
         fields = [\"tier\"]\n[states.end]\nhangup = {{}}\n"
    ))
    .unwrap()
}

impl Lab {
    fn new() -> Self {
        Self::with(100, None, "fleet")
    }

    fn with(entries: usize, store: Option<&Arc<Store>>, key: &str) -> Self {
        let mut seed = [0; 32];
        seed[..key.len()].copy_from_slice(key.as_bytes());
        let metrics = Metrics::default();
        let shared = store.map(shared_by_all);
        let cache = Cache::with(entries, shared, &OriginKey::from_entropy(seed), &metrics).unwrap();
        Self { flow: flow(1), cache, metrics, asked: AtomicU32::new(0) }
    }

    fn count(&self, name: &str) -> u64 {
        self.metrics.counter(&format!("asterism_logic_cache_{name}_total"), "").unwrap().get()
    }

    /// What a caller of this tier is told who pressed these digits, by a back end that takes 100 ms to say this.
    async fn ask(&self, tier: &str, digits: &str, says: &Value) -> Result<Given, Failure> {
        self.ask_slowly(tier, digits, says, 100).await
    }

    async fn ask_slowly(&self, tier: &str, digits: &str, says: &Value, ms: u64) -> Result<Given, Failure> {
        let (fields, vars) = (Fields::from([("tier".to_owned(), tier.to_owned())]), Fields::new());
        let question = WebQuestion {
            version: 1,
            fleet: "lab",
            campaign: "spring",
            flow: "survey",
            call: "spring-1-1",
            step: 2,
            state: "menu",
            verb: "gather",
            status: "OK",
            digits,
            fields: &fields,
            vars: &vars,
        };
        let ask = async |left: Duration| {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if ms > u64::try_from(left.as_millis()).unwrap() {
                tokio::time::sleep(left).await; // virtual
                return Err(late(left));
            }
            tokio::time::sleep(Duration::from_millis(ms)).await;
            match says {
                Value::Null => Err(Failure { code: code::AWAY, reason: "away".to_owned(), is_unsent: false }),
                says => match self.flow.read_reply(says) {
                    Ok(reply) => Ok((says.clone(), Arc::new(reply))),
                    Err(problems) => {
                        let problem = &problems[0];
                        Err(Failure { code: problem.code, reason: problem.to_string(), is_unsent: false })
                    }
                },
            }
        };
        self.cache.answer(&self.flow, &question, LIMIT, ask).await
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn says(state: &str, cache: &Value) -> Value {
    let mut answer = json!({"do": [{"play": {"prompts": ["hello"]}}], "state": state});
    if !cache.is_null() {
        answer["cache"] = cache.clone();
    }
    answer
}

/// The state an answer leads to: which answer it was.
fn state(given: &Result<Given, Failure>) -> &str {
    match &given.as_ref().unwrap().reply.then {
        Follows::Verb(_, state) | Follows::Goto(state) => state,
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_as_long_as_it_says_and_for_those_who_agree_in_what_it_depends_on() {
    let lab = Lab::new();
    let by_tier = json!({"for_s": 60, "by": ["fields.tier"]});
    assert_eq!(state(&lab.ask("gold", "1", &says("one", &by_tier)).await), "one");
    assert_eq!(state(&lab.ask("gold", "1", &says("two", &by_tier)).await), "one", "kept");
    assert_eq!(state(&lab.ask("tin", "1", &says("three", &by_tier)).await), "three", "another tier");
    assert_eq!(state(&lab.ask("gold", "2", &says("four", &by_tier)).await), "four", "other digits");
    assert_eq!((lab.asked(), lab.count("hits")), (3, 1));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(state(&lab.ask("gold", "1", &says("five", &by_tier)).await), "five", "its time is over");
    // A new version of the flow begins with nothing.
    let lab = Lab { flow: flow(2), ..lab };
    assert_eq!(state(&lab.ask("gold", "1", &says("six", &by_tier)).await), "six");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_say_what_it_depends_on_depends_on_everything() {
    let lab = Lab::new();
    let kept = json!({"for_s": 60});
    assert_eq!(state(&lab.ask("gold", "1", &says("one", &kept)).await), "one");
    assert_eq!(state(&lab.ask("tin", "1", &says("two", &kept)).await), "two");
    assert_eq!(state(&lab.ask("gold", "1", &says("three", &kept)).await), "one");
    // One that names less than another at the same place is found by no more than before.
    let lab = Lab::new();
    let (all, none) = (
        says("all", &json!({"for_s": 60, "by": []})),
        says("tin", &json!({"for_s": 60, "by": ["fields.tier"]})),
    );
    assert_eq!(state(&lab.ask("gold", "1", &all).await), "all");
    assert_eq!(state(&lab.ask("tin", "1", &none).await), "all", "it said that the tier is nothing to it");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(state(&lab.ask("tin", "1", &none).await), "tin");
    assert_eq!(state(&lab.ask("gold", "1", &says("gold", &json!({"for_s": 60, "by": []}))).await), "gold");
    assert_eq!(state(&lab.ask("tin", "1", &Value::Null).await), "tin", "both are kept side by side");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_marked_is_never_kept_and_nobody_waits_for_it() {
    let lab = Lab::new();
    let plain = says("plain", &Value::Null);
    let began = Instant::now();
    let asked = (0..64).map(|_| lab.ask("gold", "1", &plain));
    for given in futures_util::future::join_all(asked).await {
        assert_eq!(state(&given), "plain");
    }
    assert_eq!((lab.asked(), began.elapsed()), (64, Duration::from_millis(100)), "all at the same time");
    assert_eq!((lab.count("passes"), lab.count("hits") + lab.count("joined")), (64, 0));
    let off = Lab::with(0, None, "fleet");
    for _ in 0..3 {
        assert!(off.ask("gold", "1", &says("one", &json!({"for_s": 60, "by": []}))).await.is_ok());
    }
    assert_eq!(off.asked(), 3, "switched off");
}

#[tokio::test(start_paused = true)]
async fn who_asks_the_same_at_the_same_time_waits_for_one() {
    let lab = Lab::new();
    let kept = says("kept", &json!({"for_s": 5, "by": []}));
    lab.ask("gold", "1", &kept).await.unwrap(); // from here on it is known that answers may be kept
    tokio::time::advance(Duration::from_secs(6)).await;
    let (before, began) = (lab.asked(), Instant::now());
    let asked = (0..64).map(|_| lab.ask("gold", "1", &kept));
    for given in futures_util::future::join_all(asked).await {
        assert_eq!(state(&given), "kept");
    }
    assert_eq!((lab.asked() - before, began.elapsed()), (1, Duration::from_millis(100)));
    assert_eq!(lab.count("joined"), 63);
    // One that may not be kept after all is for its own call: the others ask for themselves, and next time at once.
    tokio::time::advance(Duration::from_secs(6)).await;
    let plain = says("plain", &Value::Null);
    for (waits_ms, asked) in [(200, 64), (100, 64)] {
        let (before, began) = (lab.asked(), Instant::now());
        let all = (0..64).map(|_| lab.ask("gold", "1", &plain));
        for given in futures_util::future::join_all(all).await {
            assert_eq!(state(&given), "plain");
        }
        assert_eq!((lab.asked() - before, began.elapsed()), (asked, Duration::from_millis(waits_ms)));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_all_and_is_given_up_leaves_nobody_waiting() {
    let lab = Lab::new();
    let kept = says("kept", &json!({"for_s": 5, "by": []}));
    lab.ask("gold", "1", &kept).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    let given_up = tokio::time::timeout(Duration::from_millis(50), lab.ask("gold", "1", &kept));
    let waits = lab.ask("gold", "1", &kept);
    let (given_up, waits) = tokio::join!(given_up, waits);
    assert!(given_up.is_err());
    assert_eq!(state(&waits), "kept");
    assert_eq!(lab.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_stands_in_where_the_back_end_fails_and_the_failure_is_told() {
    let lab = Lab::new();
    let kept = says("kept", &json!({"for_s": 5, "stale_s": 60, "by": []}));
    lab.ask("gold", "1", &kept).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    let given = lab.ask("gold", "1", &Value::Null).await;
    assert_eq!(state(&given), "kept");
    let failure = given.unwrap().instead_of.unwrap();
    assert_eq!(
        (failure.code, failure.reason.as_str()),
        (code::AWAY, "away; an answer kept from before stood in")
    );
    let slow = lab.ask_slowly("gold", "1", &kept, 10_000).await.unwrap();
    assert_eq!(slow.instead_of.unwrap().code, code::LATE);
    assert_eq!(lab.count("stale"), 2);
    assert_eq!(state(&lab.ask("gold", "1", &says("new", &json!({"for_s": 5, "by": []}))).await), "new");
    // And no longer than that.
    lab.ask("tin", "2", &kept).await.unwrap();
    tokio::time::advance(Duration::from_secs(66)).await;
    assert_eq!(lab.ask("tin", "2", &Value::Null).await.unwrap_err().code, code::AWAY);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_not_asked_for_again_at_once() {
    let lab = Lab::new();
    let bad = json!({"do": [{"play": {"prompts": ["nowhere"]}}], "state": "a"});
    for _ in 0..10 {
        assert_eq!(lab.ask("gold", "1", &bad).await.unwrap_err().code, "AST-Q108");
    }
    assert_eq!((lab.asked(), lab.count("negative")), (1, 9));
    assert!(
        lab.ask("tin", "1", &says("other", &Value::Null)).await.is_ok(),
        "another question is another matter"
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(lab.ask("gold", "1", &says("mended", &Value::Null)).await.is_ok());
    // One that is away is the breaker's business.
    for _ in 0..3 {
        assert_eq!(lab.ask("gold", "3", &Value::Null).await.unwrap_err().code, code::AWAY);
    }
    assert_eq!(lab.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn replicas_share_what_is_kept_and_believe_only_each_other() {
    let store = Arc::new(Store::default());
    let (one, two) = (Lab::with(100, Some(&store), "fleet"), Lab::with(100, Some(&store), "fleet"));
    let kept = says("kept", &json!({"for_s": 60, "stale_s": 60, "by": ["fields.tier"]}));
    one.ask("gold", "1", &kept).await.unwrap();
    tokio::task::yield_now().await; // what nobody waits for
    assert_eq!(state(&two.ask("gold", "1", &Value::Null).await), "kept");
    assert_eq!((two.asked(), two.count("shared_hits")), (0, 1));
    assert_eq!(state(&two.ask("gold", "1", &Value::Null).await), "kept");
    assert_eq!((two.count("hits"), two.count("shared_hits")), (1, 1), "held here from then on");
    // Nothing can be read from a name, and nobody else can put an answer there.
    let names: Vec<String> = store.entries.lock().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| !name.contains("gold")));
    let stranger = Lab::with(100, Some(&store), "other");
    assert!(stranger.ask("gold", "1", &Value::Null).await.is_err(), "another fleet's key finds nothing");
    for (value, _) in store.entries.lock().unwrap().values_mut() {
        let last = value.len() - 2;
        value[last] ^= 1;
    }
    let three = Lab::with(100, Some(&store), "fleet");
    assert!(three.ask("gold", "1", &Value::Null).await.is_err(), "what was changed is not believed");
    // Without the store everything goes on.
    store.is_away.store(true, Ordering::Relaxed);
    let four = Lab::with(100, Some(&store), "fleet");
    assert_eq!(state(&four.ask("gold", "1", &kept).await), "kept");
    assert_eq!((four.asked(), four.count("shared_errors")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_keeps_is_fresh_no_longer_than_there_and_stands_in_after_that() {
    let store = Arc::new(Store::default());
    let one = Lab::with(100, Some(&store), "fleet");
    let kept = says("kept", &json!({"for_s": 10, "stale_s": 60, "by": []}));
    one.ask("gold", "1", &kept).await.unwrap();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(8)).await;
    let two = Lab::with(100, Some(&store), "fleet");
    assert_eq!(state(&two.ask("gold", "1", &says("new", &Value::Null)).await), "kept");
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(state(&two.ask("gold", "1", &says("new", &Value::Null)).await), "new");
    let three = Lab::with(100, Some(&store), "fleet");
    let given = three.ask("gold", "1", &Value::Null).await;
    assert_eq!(state(&given), "kept");
    assert_eq!(given.unwrap().instead_of.unwrap().code, code::AWAY);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_was_said() {
    let lab = Lab::with(10, None, "fleet");
    let kept = says("kept", &json!({"for_s": 60, "by": ["fields.tier"]}));
    for tier in 0..1_000 {
        lab.ask(&tier.to_string(), "1", &kept).await.unwrap();
    }
    assert!(lab.ask("999", "1", &Value::Null).await.is_ok(), "the last is held");
    assert!(lab.ask("5", "1", &Value::Null).await.is_err(), "the first are not");
}
