//! Settings on the wire.

use asterism_proto::v1;

use super::health::{BreakerState, Heard};
use super::{CallerIdHeader, NumberFormat, Transport, TrunkSettings};
use crate::ids::Listened;
use crate::wire::Field;

impl From<&TrunkSettings> for v1::TrunkSettings {
    fn from(settings: &TrunkSettings) -> Self {
        Self {
            hosts: settings.hosts.clone(),
            srv: settings.srv.clone(),
            transport: settings.transport as u32 + 1,
            srtp: settings.srtp,
            codecs: settings.codecs.clone(),
            number_format: settings.number_format as u32 + 1,
            caller_id_header: settings.caller_id_header as u32 + 1,
            qualify_s: settings.qualify_s,
            max_channels: settings.max_channels,
            calls_per_second: settings.calls_per_second,
            failover: settings.failover.clone(),
            priority: settings.priority,
            credentials: settings.credentials.clone(),
            outbound_proxy: settings.outbound_proxy.clone(),
            from_domain: settings.from_domain.clone(),
            caller_ids: settings.caller_ids.clone(),
        }
    }
}

impl TryFrom<v1::TrunkSettings> for TrunkSettings {
    type Error = &'static str;

    fn try_from(wire: v1::TrunkSettings) -> Result<Self, Self::Error> {
        Ok(Self {
            hosts: wire.hosts,
            srv: wire.srv,
            transport: match wire.transport {
                1 => Transport::Udp,
                2 => Transport::Tcp,
                3 => Transport::Tls,
                _ => return Err("transport of a trunk"),
            },
            srtp: wire.srtp,
            codecs: wire.codecs,
            number_format: match wire.number_format {
                1 => NumberFormat::Plus,
                2 => NumberFormat::Digits,
                3 => NumberFormat::DoubleZero,
                _ => return Err("number format of a trunk"),
            },
            caller_id_header: match wire.caller_id_header {
                1 => CallerIdHeader::From,
                2 => CallerIdHeader::PAssertedIdentity,
                3 => CallerIdHeader::RemotePartyId,
                _ => return Err("caller-id header of a trunk"),
            },
            qualify_s: wire.qualify_s,
            max_channels: wire.max_channels,
            calls_per_second: wire.calls_per_second,
            failover: wire.failover,
            priority: wire.priority,
            credentials: wire.credentials,
            outbound_proxy: wire.outbound_proxy,
            from_domain: wire.from_domain,
            caller_ids: wire.caller_ids,
        })
    }
}

impl Field<Option<v1::TrunkSettings>> for TrunkSettings {
    fn put(&self) -> Option<v1::TrunkSettings> {
        Some(self.into())
    }
    fn take(wire: Option<v1::TrunkSettings>) -> Result<Self, &'static str> {
        wire.ok_or("settings of a trunk")?.try_into()
    }
}

impl Field<u32> for BreakerState {
    fn put(&self) -> u32 {
        *self as u32 + 1
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        let all = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];
        all.into_iter().find(|state| state.put() == wire).ok_or("state of a breaker")
    }
}

impl Field<u32> for Heard {
    fn put(&self) -> u32 {
        *self as u32
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        let all = [Heard::Unknown, Heard::OnlyTheEnd, Heard::Ringing, Heard::Silence];
        all.into_iter().find(|heard| heard.put() == wire).ok_or("what was heard")
    }
}

impl Field<u32> for Listened {
    fn put(&self) -> u32 {
        *self as u32 + 1
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        let all = [Listened::Human, Listened::Machine, Listened::NotSure];
        all.into_iter().find(|verdict| verdict.put() == wire).ok_or("what was made of who answered")
    }
}
