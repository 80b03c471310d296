//! Prices on the wire.

use asterism_proto::v1;

use super::{Billing, NodePrice, PriceLine};
use crate::wire::Field;

impl Field<Vec<v1::InstancePrice>> for Vec<PriceLine> {
    fn put(&self) -> Vec<v1::InstancePrice> {
        let one = |line: &PriceLine| v1::InstancePrice {
            instance_type: line.instance_type.clone(),
            market: line.market.clone(),
            micro_usd_per_hour: line.price.micro_usd_per_hour,
            billing: match line.price.billing {
                Billing::Second => 1,
                Billing::Hour => 2,
            },
            slots: line.slots,
            least_ms: line.price.least_ms,
        };
        self.iter().map(one).collect()
    }

    fn take(wire: Vec<v1::InstancePrice>) -> Result<Self, &'static str> {
        let one = |line: v1::InstancePrice| {
            let billing = match line.billing {
                1 => Billing::Second,
                2 => Billing::Hour,
                _ => return Err("billing"),
            };
            let (micro_usd_per_hour, least_ms) = (line.micro_usd_per_hour, line.least_ms);
            let price = NodePrice { micro_usd_per_hour, billing, least_ms };
            Ok(PriceLine { instance_type: line.instance_type, market: line.market, price, slots: line.slots })
        };
        wire.into_iter().map(one).collect()
    }
}
