//! The price book of a configuration: what of it the fleet uses, and which call slot is the cheapest.

use std::path::Path;

use asterism_domain::Rejection;
use asterism_domain::fleet::prices::book::{self, PriceBook};
use asterism_domain::fleet::{Place, Prices};
use asterism_runtime::config::{Config, Provider};

use crate::ScalerConfig;

/// Type and region of nodes that are processes of this machine.
const LOCAL: &str = "local";

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// The file.
    #[error("AST-S072: the price book {path} cannot be read: {why}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        why: String,
    },
    /// No price book, or one that lacks something.
    #[error("the price book {path} cannot be used:\n{}\nNext: asterism prices check {path}", lines(.problems))]
    Refused {
        /// Its path.
        path: String,
        /// Everything that is wrong.
        problems: Vec<Rejection>,
    },
    /// Whose prices?
    #[error("AST-S073: scaler.prices needs scaler.ec2.region: prices are a region's")]
    Region,
}

fn lines(problems: &[Rejection]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads a price book.
///
/// # Errors
/// It cannot be read, or something in it is wrong.
pub fn read(path: &Path) -> Result<PriceBook, PricesError> {
    let shown = path.display().to_string();
    let unreadable = |why: String| PricesError::File { path: shown.clone(), why };
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > book::MAX_BOOK_BYTES as u64 {
        return Err(unreadable(format!("it is longer than {} bytes", book::MAX_BOOK_BYTES)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    book::read(&text).map_err(|problems| PricesError::Refused { path: shown, problems })
}

/// What a configuration may launch costs, by a price book.
///
/// # Errors
/// Something it may launch has no price.
pub fn used(config: &Config, path: &Path) -> Result<Prices, PricesError> {
    let scaler = &config.scaler;
    let local = scaler.provider == Provider::Local;
    let here = [Place { instance_type: LOCAL.to_owned(), ..Place::default() }];
    let places = ScalerConfig::from(config).template.places;
    let places = if local { &here[..] } else { &places };
    let region = if local { Some(LOCAL) } else { scaler.ec2.region.as_deref() };
    let region = region.ok_or(PricesError::Region)?;
    let refused = |problems| PricesError::Refused { path: path.display().to_string(), problems };
    read(path)?.used(region, places, &scaler.ec2.call_slots).map_err(refused)
}

impl ScalerConfig {
    /// The settings of a configuration, with its prices: places in the order of what a call slot costs, and nodes reckoned
    /// with the call slots that the least of them has.
    ///
    /// # Errors
    /// There is a price book and it cannot be used. What a node costs is never guessed.
    pub fn load(config: &Config) -> Result<Self, PricesError> {
        let mut settings = Self::from(config);
        let Some(path) = &config.scaler.prices else { return Ok(settings) };
        let prices = used(config, path)?;
        let capacity = settings.policy.node_capacity;
        let per_slot = |place: &Place| prices.of(place).map_or(u64::MAX, |line| line.per_slot(capacity));
        settings.template.places.sort_by_cached_key(per_slot);
        settings.policy.prices = Some(prices);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::places::SPOT;

    fn config(folder: &Path) -> Config {
        let path = folder.join("prices.toml");
        std::fs::write(&path, book::EXAMPLE).unwrap();
        let mut config = Config::default();
        config.scaler.prices = Some(path);
        config.scaler.provider = Provider::Ec2;
        config.scaler.node_capacity = 100;
        let ec2 = &mut config.scaler.ec2;
        ec2.region = Some("us-east-1".into());
        ec2.instance_type = Some("t3.large".into());
        ec2.more_instance_types = vec!["m7g.large".into()];
        config
    }

    #[test]
    fn the_cheapest_call_slot_is_asked_for_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let order = |config: &Config| -> Vec<String> {
            let settings = ScalerConfig::load(config).unwrap();
            settings.template.places.into_iter().map(|place| place.instance_type).collect()
        };
        assert_eq!(order(&config), ["m7g.large", "t3.large"], "81,600 for as many slots as 83,200");
        config.scaler.ec2.call_slots = BTreeMap::from([("t3.large".into(), 110), ("m7g.large".into(), 90)]);
        assert_eq!(order(&config), ["t3.large", "m7g.large"]);
        assert_eq!(ScalerConfig::load(&config).unwrap().policy.node_capacity, 90, "the fewest");
        config.scaler.ec2.call_slots.remove("m7g.large");
        assert_eq!(ScalerConfig::load(&config).unwrap().policy.node_capacity, 100);
    }

    #[test]
    fn a_fleet_whose_prices_are_not_known_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |config: &Config| ScalerConfig::load(config).unwrap_err().to_string();
        let mut with_spot = config(folder.path());
        with_spot.scaler.ec2.spot = true;
        let said = refused(&with_spot);
        assert!(said.contains("AST-S071: t3.large spot has no price in us-east-1"), "{said}");
        assert!(said.contains("Next: asterism prices check") && !said.contains(SPOT.to_uppercase().as_str()));
        let mut nowhere = config(folder.path());
        nowhere.scaler.ec2.region = None;
        assert!(refused(&nowhere).starts_with("AST-S073"));
        nowhere.scaler.prices = Some(PathBuf::from("/nowhere/prices.toml"));
        nowhere.scaler.ec2.region = Some("us-east-1".into());
        assert!(
            refused(&nowhere).starts_with("AST-S072: the price book /nowhere/prices.toml cannot be read")
        );
        let local = Config::default();
        assert_eq!(ScalerConfig::load(&local).unwrap(), ScalerConfig::from(&local));
        let mut local = config(folder.path());
        local.scaler.provider = Provider::Local;
        assert_eq!(ScalerConfig::load(&local).unwrap().policy.prices.unwrap().lines.len(), 1);
    }
}
