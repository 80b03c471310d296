//! A carrier that is a real Asterisk too: it asks for a digest, speaks UDP, TCP and TLS with SRTP, writes down how each
//! call came, answers it and presses 1.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asterism_agent::instance::Ports;
use asterism_agent::render::AsteriskSettings;

use super::{PATIENCE, Process};

/// Modules a carrier has beside a node's.
const MORE: &str =
    "load = res_pjsip_authenticator_digest.so\nload = res_pjsip_endpoint_identifier_anonymous.so\n";

/// A second real Asterisk.
pub struct Carrier {
    _process: Process,
    dir: PathBuf,
    /// UDP and TCP.
    pub port: u16,
    /// TLS, by a certificate of the authority in [`Carrier::authority`].
    pub tls: u16,
    /// TLS, by a certificate of nobody.
    pub stranger: u16,
}

/// How a call came.
pub type Came = BTreeMap<String, String>;

impl Carrier {
    pub fn start(root: &Path, dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("calls")).unwrap();
        let ports = Ports::load_or_pick(&dir.join("ports.json"), 20).unwrap();
        let settings = AsteriskSettings {
            dir: dir.to_owned(),
            modules_dir: root.join("modules"),
            node: "carrier".to_owned(),
            ami_port: ports.ami,
            ami_secret: "0123456789abcdefAMI".to_owned(),
            step_port: ports.step,
            step_secret: "0123456789abcdefSTEP".to_owned(),
            sip_address: Ipv4Addr::LOCALHOST,
            sip_port: ports.sip,
            external_address: None,
            rtp_start: ports.rtp_start,
            rtp_end: ports.rtp_end,
            trunk_ca_file: None,
            trunks: Vec::new(),
        };
        settings.write().unwrap();
        std::os::unix::fs::symlink(root.join("data/documentation"), dir.join("data/documentation")).unwrap();
        let [tls, stranger] = free_ports();
        for name in ["known", "stranger"] {
            certify(dir, name);
        }
        for (name, ms) in [("greeting-01", 400), ("greeting-02", 4_000)] {
            std::fs::write(dir.join(format!("{name}.ulaw")), voice(ms)).unwrap();
        }
        let filled = |text: &str| {
            let values = [("SIP", ports.sip), ("TLS", tls), ("STRANGER", stranger)];
            values.iter().fold(text.replace("@DIR@", dir.to_str().unwrap()), |text, (name, port)| {
                text.replace(&format!("@{name}@"), &port.to_string())
            })
        };
        let etc = dir.join("etc");
        std::fs::write(etc.join("pjsip.conf"), filled(include_str!("carrier/pjsip.conf"))).unwrap();
        std::fs::write(etc.join("extensions.conf"), filled(include_str!("carrier/extensions.conf"))).unwrap();
        let modules = std::fs::read_to_string(etc.join("modules.conf")).unwrap() + MORE;
        std::fs::write(etc.join("modules.conf"), modules).unwrap();
        let mut process = Process(
            Command::new(root.join("run-asterisk"))
                .args(["-f", "-C"])
                .arg(etc.join("asterisk.conf"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let began = Instant::now();
        let open = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while ![ports.ami, ports.sip, tls, stranger].into_iter().all(open) {
            let runs = process.0.try_wait().unwrap().is_none();
            assert!(runs && began.elapsed() < PATIENCE, "the carrier is not up\n{}", said(dir));
            std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
        }
        Self { _process: process, dir: dir.to_owned(), port: ports.sip, tls, stranger }
    }

    /// The certificates that vouch for its known one.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("known.ca")
    }

    /// The calls that came: what each looked like.
    pub fn calls(&self) -> Vec<Came> {
        let pair = |part: &str| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(file.unwrap().path());
        let texts = std::fs::read_dir(self.dir.join("calls")).unwrap().map(read);
        texts.map(|text| text.unwrap().trim_end().split('|').filter_map(pair).collect()).collect()
    }

    /// What it logged.
    pub fn said(&self) -> String {
        said(&self.dir)
    }
}

fn said(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log/messages")).unwrap_or_default()
}

/// So long a loud tone in µ-law: what a listener takes for a voice.
fn voice(ms: usize) -> Vec<u8> {
    (0..ms * 8).map(|sample| if sample / 10 % 2 == 0 { 0x00 } else { 0x80 }).collect()
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A certificate for 127.0.0.1 by an authority of its own: `NAME.crt`, `NAME.key` and the authority's `NAME.ca`.
fn certify(dir: &Path, name: &str) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    for (ending, text) in [("ca", authority.pem()), ("crt", certificate.pem()), ("key", key.serialize_pem())]
    {
        std::fs::write(dir.join(format!("{name}.{ending}")), text).unwrap();
    }
}
