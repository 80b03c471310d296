//! The node's trunks: ordered by the dialer, rendered into a file of their own, read again by the PBX while calls go on,
//! and told to the log only once the PBX says that it has them.
//!
//! Credentials are named in an order and stand in a file of this node, or in its environment; they never come by the bus.

mod credentials;
mod options;
mod pins;
mod render;
mod srv;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use asterism_domain::logic::Address;
use asterism_proto::v1;
use prost::Message;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::dialplan::{Reply, Verb};
use crate::machine::Whom;
use crate::pbx::PbxCommand;
use crate::render::endpoint_at;
use crate::{Error, files};

use self::pins::Pins;

pub use credentials::Credentials;
pub use render::{Place, render};

/// How long the PBX may take to read its trunks again and say what it has.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often names are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// The trunks of a node.
#[derive(Debug)]
pub struct Trunks {
    /// Where the PBX reads them.
    file: PathBuf,
    place: RwLock<Place>,
    /// Where the PBX reads the address the world knows it by, into each of its transports.
    external: PathBuf,
    /// File with the AMI secret; the names of the endpoints follow from it.
    secret_file: PathBuf,
    credentials: Option<PathBuf>,
    now: RwLock<BTreeMap<String, v1::TrunkEntry>>,
    /// Where the names of each lead, or why its calls cannot be kept to one server.
    pins: RwLock<BTreeMap<String, Result<Pins, String>>>,
    /// One order after another.
    turn: Mutex<()>,
}

impl Trunks {
    /// Those that were ordered last, if any were.
    pub fn open(
        file: PathBuf,
        place: Place,
        secret_file: PathBuf,
        credentials: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let ordered = order_file(&file);
        let order = match std::fs::read(&ordered) {
            // What cannot be read is ordered again.
            Ok(bytes) => v1::TrunkOrder::decode(bytes.as_slice()).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => v1::TrunkOrder::default(),
            Err(error) => return Err(Error::file("read", &ordered)(error)),
        };
        let now = RwLock::new(by_name(order.trunks));
        let (external, place) = (file.with_file_name("external.conf"), RwLock::new(place));
        let (pins, turn) = (RwLock::default(), Mutex::new(()));
        Ok(Self { file, place, external, secret_file, credentials, now, pins, turn })
    }

    /// A number as the trunk wants it written.
    pub fn written(&self, trunk: &str, number: &str) -> String {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let settings = now.get(trunk).and_then(|entry| entry.settings.as_ref());
        let digits = number.strip_prefix('+').unwrap_or(number);
        match settings.map(|settings| settings.number_format) {
            Some(2) => digits.to_owned(),
            Some(3) => format!("00{digits}"),
            _ => number.to_owned(),
        }
    }

    /// The endpoint an attempt is dialled by, and the URI's part behind the `@` where its call must go to one of several
    /// servers: the places of a trunk take turns by the attempt's id.
    ///
    /// # Errors
    /// Its calls cannot be kept to one server any more: nothing is dialled.
    pub fn target(
        &self,
        secret: &str,
        trunk: &str,
        attempt: &str,
    ) -> Result<(String, Option<String>), String> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let places = now.get(trunk).and_then(|entry| entry.settings.as_ref()).map_or(1, places_of);
        let place = turn(attempt, places);
        let uri = match self.pins.read().unwrap_or_else(PoisonError::into_inner).get(trunk) {
            Some(Ok(pins)) => pins.uri(place, attempt),
            Some(Err(why)) => return Err(why.clone()),
            None => None,
        };
        Ok((endpoint_at(secret, trunk, place), uri))
    }

    /// Looks names up again for as long as the node lives: what they lead to changes.
    pub async fn keep_looking(&self) {
        loop {
            let entries: Vec<v1::TrunkEntry> =
                self.now.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            self.look_up(&entries).await;
            tokio::time::sleep(LOOK_UP_EVERY).await;
        }
    }

    /// A name that nobody knows now leads where it led.
    async fn look_up(&self, entries: &[v1::TrunkEntry]) {
        let place = self.place_now();
        let named = entries.iter().filter_map(|entry| Some((&entry.trunk, entry.settings.as_ref()?)));
        let found = named.map(|(trunk, set)| async { (trunk.clone(), Pins::find(set, &place).await) });
        let found: BTreeMap<_, _> = futures_util::future::join_all(found).await.into_iter().collect();
        let mut pins = self.pins.write().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|trunk, _| found.contains_key(trunk));
        for (trunk, found) in found {
            match (pins.get(&trunk), &found) {
                (Some(Ok(known)), Ok(new)) if new.is_unknown() && !known.is_unknown() => {}
                (Some(Ok(_)) | None, Err(why)) => {
                    tracing::error!(trunk, why, "nothing is dialled by it any more");
                    pins.insert(trunk, found);
                }
                _ => drop(pins.insert(trunk, found)),
            }
        }
    }

    /// The line that makes a call dial somebody: whom, as the trunk wants it written, and by which endpoint, which a step
    /// does not say. AST-A170 where it cannot be written.
    pub fn joining(
        &self,
        step: u32,
        body: &str,
        whom: &Whom,
        (trunk, call): (&str, &str),
    ) -> Result<String, String> {
        let failed =
            |why: &str| format!("AST-A170: a step's leg by the trunk {trunk} cannot be dialled: {why}");
        let Ok(Verb::Dial { ring_s, talk_s, .. }) = Verb::parse(body) else {
            return Err(failed("its verb is not dial"));
        };
        let secret = files::read_secret(&self.secret_file).map_err(|error| failed(&error.to_string()))?;
        let address = match whom.address.0.as_str() {
            number if number.starts_with('+') => self.written(trunk, number),
            name => name.to_owned(),
        };
        // The dialplan has the server of this call, where there are several, from its order.
        let (endpoint, _) = self.target(&secret, trunk, call).map_err(|why| failed(&why))?;
        let (to, by) = (Address::parse(&address), Address::parse(&endpoint));
        let (Some(to), Some(by)) = (to, by) else { return Err(failed("its address is none")) };
        let caller_id = Address::parse(&whom.caller_id.0);
        let verb = Verb::Dial { to, ring_s, talk_s, caller_id, by: Some(by) };
        let reply = Reply { step, verb, language: String::new() };
        reply.encode().map_err(|error| failed(&error.to_string()))
    }

    /// Lets the PBX have these trunks and no others. Those it proved to have, and what is wrong with the rest.
    pub async fn have(
        &self,
        order: v1::TrunkOrder,
        pbx: &mpsc::UnboundedSender<PbxCommand>,
    ) -> (Vec<(String, String)>, String) {
        let _turn = self.turn.lock().await;
        self.look_up(&order.trunks).await;
        self.renewed(order, pbx).await.unwrap_or_else(|why| (Vec::new(), why))
    }

    /// Lets the PBX show the world this address from now on; calls that are up go on as they are.
    pub async fn advertise(
        &self,
        address: Ipv4Addr,
        pbx: &mpsc::UnboundedSender<PbxCommand>,
    ) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let text = format!("external_media_address = {address}\nexternal_signaling_address = {address}\n");
        files::write_public(&self.external, text.as_bytes()).map_err(|error| error.to_string())?;
        // The address is not this machine's own: media leaves from the one it has.
        *self.place.write().unwrap_or_else(PoisonError::into_inner) =
            Place { advertised: address, bind_rtp: false };
        let trunks: Vec<_> =
            self.now.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        if trunks.is_empty() {
            // Those it was launched with are not this agent's to write.
            return reload(Vec::new(), pbx).await.map(drop);
        }
        // A trunk that cannot be used was told when it was ordered, and keeps no other from its address.
        self.renewed(v1::TrunkOrder { trunks, ..v1::TrunkOrder::default() }, pbx).await.map(drop)
    }

    async fn renewed(
        &self,
        order: v1::TrunkOrder,
        pbx: &mpsc::UnboundedSender<PbxCommand>,
    ) -> Result<(Vec<(String, String)>, String), String> {
        let mut problems = Vec::new();
        let rendered = self.write(&order, &mut problems).map_err(|error| error.to_string())?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = by_name(order.trunks);
        let endpoints = rendered.iter().flat_map(|(_, endpoints, _)| endpoints.clone()).collect();
        let found = reload(endpoints, pbx).await?;
        let mut held = Vec::new();
        for (trunk, endpoints, revision) in rendered {
            if endpoints.iter().all(|endpoint| found.get(endpoint) == Some(&revision)) {
                held.push((trunk, revision));
            } else {
                let why = "the pbx did not take it: its own log says why".to_owned();
                problems.push(Error::Trunk { trunk, why }.to_string());
            }
        }
        Ok((held, problems.join("; ")))
    }

    /// Asks each place of a trunk whether it is there; none if the trunk is not here.
    pub async fn check(&self, trunk: &str) -> Option<Vec<v1::TrunkAnswer>> {
        let settings = {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            now.get(trunk).and_then(|entry| entry.settings.clone())?
        };
        let place = self.place_now();
        Some(options::ask(&settings, &place).await)
    }

    fn place_now(&self) -> Place {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name, endpoints and revision of each trunk that could be rendered.
    fn write(
        &self,
        order: &v1::TrunkOrder,
        problems: &mut Vec<String>,
    ) -> Result<Vec<(String, Vec<String>, String)>, Error> {
        let secret = files::read_secret(&self.secret_file)?;
        let credentials = Credentials::load(self.credentials.as_deref())?;
        let place = self.place_now();
        let mut text = String::new();
        let mut rendered = Vec::new();
        let pins = self.pins.read().unwrap_or_else(PoisonError::into_inner);
        for entry in &order.trunks {
            if let Some(Err(why)) = pins.get(&entry.trunk) {
                let (trunk, why) = (entry.trunk.clone(), why.clone());
                problems.push(Error::Trunk { trunk, why }.to_string());
                continue;
            }
            match render(entry, &place, &secret, &credentials) {
                Ok(section) => {
                    text.push_str(&section);
                    let places = entry.settings.as_ref().map_or(1, places_of);
                    let names = (0..places).map(|place| endpoint_at(&secret, &entry.trunk, place)).collect();
                    rendered.push((entry.trunk.clone(), names, entry.revision.clone()));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        files::write_private(&self.file, text.as_bytes())?;
        files::write_private(&order_file(&self.file), &order.encode_to_vec())?;
        Ok(rendered)
    }
}

/// The PBX reads its files again. Which of these endpoints it has, each with its revision.
async fn reload(
    endpoints: Vec<String>,
    pbx: &mpsc::UnboundedSender<PbxCommand>,
) -> Result<BTreeMap<String, String>, String> {
    let (answer, answered) = oneshot::channel();
    let _ = pbx.send(PbxCommand::Reload { endpoints, answer }); // a PBX that is gone answers nothing
    match tokio::time::timeout(RELOAD_TIMEOUT, answered).await {
        Ok(Ok(found)) => found.map_err(|why| format!("the pbx did not read its trunks again: {why}")),
        Ok(Err(_)) => Err("the pbx is not up".to_owned()),
        Err(_) => Err("the pbx did not say in time which trunks it has".to_owned()),
    }
}

/// Places a call by it can go to: of several servers behind one name its pin chooses.
fn places_of(settings: &v1::TrunkSettings) -> usize {
    settings.hosts.len().max(1)
}

/// Whose turn it is among so many: of many attempts as often the one as the other.
fn turn(attempt: &str, places: usize) -> usize {
    (hash_of(attempt, "") % places.max(1) as u64) as usize
}

/// A number that follows from the attempt, another one for each purpose.
fn hash_of(attempt: &str, purpose: &str) -> u64 {
    let hash = asterism_proto::hash::sha256(format!("{attempt}{purpose}").as_bytes());
    hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
}

fn by_name(entries: Vec<v1::TrunkEntry>) -> BTreeMap<String, v1::TrunkEntry> {
    entries.into_iter().map(|entry| (entry.trunk.clone(), entry)).collect()
}

fn order_file(file: &std::path::Path) -> PathBuf {
    file.with_extension("order")
}

impl Place {
    /// A node on this machine alone.
    pub fn loopback() -> Self {
        Self { advertised: Ipv4Addr::LOCALHOST, bind_rtp: true }
    }
}

#[cfg(test)]
mod tests;
