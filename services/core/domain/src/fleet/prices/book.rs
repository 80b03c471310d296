//! A price book as people write it: a dated TOML file, every problem of it at once.
//!
//! ```toml
//! dated = "2026-12-01"
//! source = "where the numbers are from, for whoever checks them"
//! [[price]]
//! region = "eu-central-1"
//! type = "c7g.large"
//! market = "on-demand"          # or "spot"
//! micro_usd_per_hour = 83_000   # 0.083 dollars
//! billing = "second"            # or "hour"
//! minimum_s = 60                # with "second": billed for each launch at least; 60 where nothing is said, as EC2 does
//! ```

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::Deserialize;

use super::{Billing, HOUR_MS, NodePrice, ON_DEMAND, PriceLine, Prices, SPOT};
use crate::Rejection;
use crate::fleet::state::Place;

/// Longest file.
pub const MAX_BOOK_BYTES: usize = 1024 * 1024;
/// A thousand dollars an hour: no price is higher.
pub const MAX_MICRO_USD_PER_HOUR: u64 = 1_000_000_000;
/// What EC2 bills for each launch at least, where it bills by the second.
const MINIMUM_S: u64 = 60;
/// Most prices a fleet uses: they fit one event.
pub const MAX_USED: usize = 200;
/// Longest text.
const MAX_TEXT_BYTES: usize = 256;
/// An example that comes with the program.
pub const EXAMPLE: &str = include_str!("../../../data/prices/example.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    dated: String,
    source: String,
    #[serde(default)]
    price: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    region: String,
    r#type: String,
    market: String,
    micro_usd_per_hour: u64,
    billing: String,
    minimum_s: Option<u64>,
}

/// A price book that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBook {
    /// The day its prices were those.
    pub dated: String,
    /// Where they are from.
    pub source: String,
    /// Prices by region, sorted.
    pub regions: BTreeMap<String, Vec<PriceLine>>,
}

/// Reads a price book.
///
/// # Errors
/// Everything that is wrong with it, each with its code (AST-S070).
pub fn read(text: &str) -> Result<PriceBook, Vec<Rejection>> {
    let document = document(text).map_err(|why| vec![wrong(why)])?;
    let mut problems = Vec::new();
    if document.dated.parse::<NaiveDate>().is_err() {
        problems.push(wrong(format!("dated: `{}` is no day like 2026-12-01", document.dated.escape_debug())));
    }
    if !is_text(&document.source) {
        problems
            .push(wrong("source: expected 1 to 256 characters that say where the prices are from".into()));
    }
    if document.price.is_empty() {
        problems.push(wrong("there is no [[price]]".into()));
    }
    let mut regions: BTreeMap<String, Vec<PriceLine>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (index, row) in document.price.into_iter().enumerate() {
        match line(&row) {
            Err(why) => problems.push(wrong(format!("price {}: {why}", index + 1))),
            Ok(_) if !known.insert((row.region.clone(), row.r#type.clone(), row.market.clone())) => {
                let (region, kind, market) = (row.region, row.r#type, row.market);
                problems.push(wrong(format!(
                    "price {}: {kind} {market} in {region} stands there twice",
                    index + 1
                )));
            }
            Ok(line) => regions.entry(row.region).or_default().push(line),
        }
    }
    for lines in regions.values_mut() {
        lines.sort();
    }
    let (dated, source) = (document.dated, document.source);
    if problems.is_empty() { Ok(PriceBook { dated, source, regions }) } else { Err(problems) }
}

fn wrong(why: String) -> Rejection {
    Rejection::with("AST-S070", why)
}

fn document(text: &str) -> Result<Document, String> {
    if text.len() > MAX_BOOK_BYTES {
        return Err(format!("longer than {MAX_BOOK_BYTES} bytes"));
    }
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
}

fn line(row: &Row) -> Result<PriceLine, String> {
    if !is_text(&row.region) || !is_text(&row.r#type) {
        return Err("region and type are 1 to 256 characters".into());
    }
    if row.market != ON_DEMAND && row.market != SPOT {
        return Err(format!("market is `{}`, expected {ON_DEMAND} or {SPOT}", row.market.escape_debug()));
    }
    let billing = match row.billing.as_str() {
        "second" => Billing::Second,
        "hour" => Billing::Hour,
        other => return Err(format!("billing is `{}`, expected second or hour", other.escape_debug())),
    };
    if !(1..=MAX_MICRO_USD_PER_HOUR).contains(&row.micro_usd_per_hour) {
        let price = row.micro_usd_per_hour;
        return Err(format!("micro_usd_per_hour is {price}, expected 1 to {MAX_MICRO_USD_PER_HOUR}"));
    }
    let least_ms = match (billing, row.minimum_s) {
        (Billing::Second, minimum) => minimum.unwrap_or(MINIMUM_S).saturating_mul(1_000),
        (Billing::Hour, None) => 0,
        (Billing::Hour, Some(_)) => return Err("minimum_s is for billing by the second".into()),
    };
    if least_ms > HOUR_MS {
        return Err(format!("minimum_s is {}, expected 0 to 3600", least_ms / 1_000));
    }
    let price = NodePrice { micro_usd_per_hour: row.micro_usd_per_hour, billing, least_ms };
    Ok(PriceLine { instance_type: row.r#type.clone(), market: row.market.clone(), price, slots: 0 })
}

impl PriceBook {
    /// What a fleet that launches at these places needs of it, with the slots its types were measured to have.
    ///
    /// # Errors
    /// Every place that has no price (AST-S071): what it costs is not zero, it is not known.
    pub fn used(
        &self,
        region: &str,
        places: &[Place],
        slots: &BTreeMap<String, u32>,
    ) -> Result<Prices, Vec<Rejection>> {
        let known = self.regions.get(region).map(Vec::as_slice).unwrap_or_default();
        let (mut lines, mut problems) = (BTreeMap::new(), BTreeSet::new());
        for place in places {
            let market = if place.market.is_empty() { ON_DEMAND } else { &place.market };
            let kind = &place.instance_type;
            let found = known.iter().find(|line| line.instance_type == *kind && line.market == market);
            match found {
                Some(line) => {
                    let slots = slots.get(kind).copied().unwrap_or_default();
                    lines.insert((kind, market), PriceLine { slots, ..line.clone() });
                }
                None if kind.is_empty() => drop(problems.insert(
                    "the launch template says the type: name it as scaler.ec2.instance_type, else nobody knows its price".to_owned(),
                )),
                None => drop(problems.insert(format!("{kind} {market} has no price in {region}"))),
            }
        }
        if lines.len() > MAX_USED {
            problems.insert(format!("more than {MAX_USED} types and markets"));
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().map(|why| Rejection::with("AST-S071", why)).collect());
        }
        let lines = lines.into_values().collect();
        let (book, source) = (self.dated.clone(), self.source.clone());
        Ok(Prices { book, region: region.to_owned(), source, lines })
    }
}
