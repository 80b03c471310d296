//! The configuration of Asterisk, rendered before it starts: typed, checked values into templates.
//!
//! A value that could end its line, open a section or a comment, or be read as a variable is refused, so a template's
//! shape is all there ever is. Files with a secret are their owner's alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use asterism_proto::origin::is_token;
use asterism_proto::v1;

use crate::trunks::{self, Credentials, Place};
use crate::{Error, files};

/// Most trunks of a node.
pub const TRUNKS_MAX: usize = 64;
/// Names pjsip.conf uses for itself.
const RESERVED: [&str; 5] = ["global", "system", "udp", "tcp", "tls"];

/// A carrier by its address alone, until the dialer says more of it.
pub fn plain_trunk(name: &str, host: &str, port: u16) -> v1::TrunkEntry {
    v1::TrunkEntry {
        trunk: name.to_owned(),
        revision: "launch".to_owned(),
        settings: Some(v1::TrunkSettings {
            hosts: vec![format!("{host}:{port}")],
            transport: 1,
            codecs: vec!["ulaw".to_owned(), "alaw".to_owned()],
            number_format: 1,
            caller_id_header: 1,
            ..v1::TrunkSettings::default()
        }),
    }
}

/// Whether pjsip.conf uses the name for itself.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Everything the configuration depends on.
#[derive(Debug, Clone)]
pub struct AsteriskSettings {
    /// The instance's folder: etc, var, data, spool, run and log live in it.
    pub dir: PathBuf,
    /// Where Asterisk's modules are.
    pub modules_dir: PathBuf,
    /// The node's id.
    pub node: String,
    /// Port of the manager interface on loopback.
    pub ami_port: u16,
    /// Its secret.
    pub ami_secret: String,
    /// Port of the agent's step server on loopback.
    pub step_port: u16,
    /// The secret sent with each question.
    pub step_secret: String,
    /// Where SIP listens.
    pub sip_address: Ipv4Addr,
    /// Its port.
    pub sip_port: u16,
    /// The address the world knows this machine by, where it differs from `sip_address`.
    pub external_address: Option<Ipv4Addr>,
    /// First RTP port, even.
    pub rtp_start: u16,
    /// Last RTP port.
    pub rtp_end: u16,
    /// The certificates (PEM) that vouch for carriers over TLS; without them there is no TLS.
    pub trunk_ca_file: Option<PathBuf>,
    /// The carriers known when the node is launched. Those there are come by order.
    pub trunks: Vec<v1::TrunkEntry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its name in etc.
    pub name: &'static str,
    /// What stands in it.
    pub text: String,
    /// It holds a secret.
    pub private: bool,
}

/// Files that need no value.
const PLAIN: [(&str, &str); 12] = [
    ("acl.conf", include_str!("render/templates/acl.conf")),
    ("amd.conf", include_str!("render/templates/amd.conf")),
    ("ccss.conf", include_str!("render/templates/ccss.conf")),
    ("cdr.conf", include_str!("render/templates/cdr.conf")),
    ("cel.conf", include_str!("render/templates/cel.conf")),
    ("features.conf", include_str!("render/templates/features.conf")),
    ("indications.conf", include_str!("render/templates/indications.conf")),
    ("logger.conf", include_str!("render/templates/logger.conf")),
    ("modules.conf", include_str!("render/templates/modules.conf")),
    ("pjproject.conf", include_str!("render/templates/pjproject.conf")),
    ("stasis.conf", include_str!("render/templates/stasis.conf")),
    ("udptl.conf", include_str!("render/templates/udptl.conf")),
];

impl AsteriskSettings {
    /// All files.
    pub fn files(&self) -> Result<Vec<ConfigFile>, Error> {
        self.check()?;
        let public = |name, text| ConfigFile { name, text, private: false };
        let private = |name, text| ConfigFile { name, text, private: true };
        let mut all: Vec<ConfigFile> =
            PLAIN.iter().map(|(name, text)| public(*name, (*text).to_owned())).collect();
        all.push(public("asterisk.conf", self.asterisk()?));
        all.push(public("rtp.conf", self.rtp()));
        all.push(public("pjsip.conf", self.pjsip()?));
        all.push(private("trunks.conf", self.trunks()?));
        all.push(private(
            "manager.conf",
            fill(
                include_str!("render/templates/manager.conf"),
                &[("AMI_PORT", &self.ami_port.to_string()), ("AMI_SECRET", &self.ami_secret)],
            ),
        ));
        all.push(private(
            "extensions.conf",
            fill(
                include_str!("render/templates/extensions.conf"),
                &[("STEP_PORT", &self.step_port.to_string()), ("STEP_SECRET", &self.step_secret)],
            ),
        ));
        all.sort_by_key(|file| file.name);
        Ok(all)
    }

    /// Writes all files into `dir/etc` and makes the folders Asterisk needs.
    pub fn write(&self) -> Result<(), Error> {
        let rendered = self.files()?;
        for name in ["etc", "var", "data/sounds/en", "spool/journal", "spool/recording", "run", "log"] {
            files::private_dir(&self.dir.join(name))?;
        }
        for file in rendered {
            let path = self.dir.join("etc").join(file.name);
            // Those it has came by order: a start changes nothing about them.
            if file.name == "trunks.conf" && (self.trunks.is_empty() || path.exists()) {
                continue;
            }
            let write = if file.private { files::write_private } else { files::write_public };
            write(&path, file.text.as_bytes())?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |what, why| Err(Error::Render { what, why });
        if !is_token(&self.node) {
            return bad("the node's id", "expected 1 to 64 of [A-Za-z0-9_-]");
        }
        for (what, secret) in [("the ami secret", &self.ami_secret), ("the step secret", &self.step_secret)] {
            let fine =
                (16..=128).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_alphanumeric());
            if !fine {
                return bad(what, "expected 16 to 128 letters and digits");
            }
        }
        if [self.ami_port, self.step_port, self.sip_port].contains(&0) {
            return bad("a port", "0 is no port");
        }
        if self.rtp_start < 1024 || !self.rtp_start.is_multiple_of(2) || self.rtp_end <= self.rtp_start {
            return bad("the rtp range", "expected an even start above 1023 and a higher end");
        }
        if self.trunks.len() > TRUNKS_MAX {
            return bad("the trunks", "more than 64");
        }
        for (index, trunk) in self.trunks.iter().enumerate() {
            if self.trunks[..index].iter().any(|other| other.trunk == trunk.trunk) {
                return bad("a trunk's name", "it is there twice");
            }
        }
        Ok(())
    }

    fn asterisk(&self) -> Result<String, Error> {
        let dir = path_text("the instance's folder", &self.dir)?;
        let modules = path_text("the modules' folder", &self.modules_dir)?;
        // Six bytes that name this Asterisk to others; derived, so that a restart keeps them.
        let hash = asterism_proto::hash::sha256(self.node.as_bytes());
        let entity =
            format!("02:{}", hash[..5].iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"));
        let values = [("DIR", dir), ("MODULES", modules), ("NODE", self.node.as_str()), ("ENTITY", &entity)];
        Ok(fill(include_str!("render/templates/asterisk.conf"), &values))
    }

    fn rtp(&self) -> String {
        let (start, end) = (self.rtp_start.to_string(), self.rtp_end.to_string());
        fill(include_str!("render/templates/rtp.conf"), &[("RTP_START", &start), ("RTP_END", &end)])
    }

    fn pjsip(&self) -> Result<String, Error> {
        let address = self.sip_address.to_string();
        // The agent writes it once it knows: the machine may get its address long after its start.
        let later = || "#tryinclude \"external.conf\"\n".to_owned();
        let external = self.external_address.map_or_else(later, |external| {
            format!("external_media_address = {external}\nexternal_signaling_address = {external}\n")
        });
        let tls = match &self.trunk_ca_file {
            Some(path) => fill(
                include_str!("render/templates/tls.conf"),
                &[("SIP_ADDRESS", &address), ("CA_FILE", path_text("the carriers' certificates", path)?)],
            ),
            None => String::new(),
        };
        let text = fill(
            include_str!("render/templates/pjsip.conf"),
            &[("SIP_ADDRESS", &address), ("SIP_PORT", &self.sip_port.to_string())],
        );
        Ok(text.replace("@EXTERNAL@\n", &external).replace("@TLS@\n", &tls))
    }

    /// What trunks need to know of this node.
    pub fn place(&self) -> Place {
        Place {
            advertised: self.external_address.unwrap_or(self.sip_address),
            bind_rtp: self.external_address.is_none(),
        }
    }

    fn trunks(&self) -> Result<String, Error> {
        let (place, none) = (self.place(), Credentials::default());
        self.trunks.iter().map(|trunk| trunks::render(trunk, &place, &self.ami_secret, &none)).collect()
    }
}

/// What Asterisk calls the endpoint of a trunk: a name that nobody without the node's secret can guess.
///
/// A carrier may answer 302, and Asterisk then dials what the answer names. It cannot be told not to, and a name with a
/// `/` is read as `Technology/resource`: who knows an endpoint's name makes this node dial any number through it.
pub fn endpoint(ami_secret: &str, trunk: &str) -> String {
    hex::encode(&asterism_proto::hash::sha256(format!("{ami_secret}/{trunk}").as_bytes())[..8])
}

/// The same of one of a trunk's places: the first has the trunk's.
pub fn endpoint_at(ami_secret: &str, trunk: &str, place: usize) -> String {
    let of = if place == 0 { trunk.to_owned() } else { format!("{trunk}/{place}") }; // no name of a trunk has a `/`
    endpoint(ami_secret, &of)
}

/// Replaces each `@NAME@`. Values are checked by the caller and hold no `@`.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

pub(crate) fn is_host(text: &str) -> bool {
    let name = (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && !text.starts_with(['.', '-']);
    // What has no letter must be an address: 300.1.1.1 is neither that nor a name.
    let address = text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4());
    name && (address || text.bytes().any(|b| b.is_ascii_alphabetic()))
}

fn path_text<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, Error> {
    let text = path.to_str().ok_or(Error::Render { what, why: "not utf-8" })?;
    let fine = path.is_absolute()
        && text.len() <= 180
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.-+".contains(&b));
    if fine {
        Ok(text)
    } else {
        Err(Error::Render { what, why: "expected an absolute path of [A-Za-z0-9/_.+-], at most 180 long" })
    }
}

#[cfg(test)]
mod tests;
