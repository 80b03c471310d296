//! Elastic IP addresses: who has one, giving it and taking it back. Each call can be repeated.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Address, Filter};

use super::{Ec2Cloud, Kind, TAG_FLEET};
use crate::cloud::{CloudError, ErrorKind, code};

impl Ec2Cloud {
    /// The address as EC2 has it. EC2 gives addresses in one answer: there are no pages of them.
    async fn address(&self, address: &str, what: &str) -> Result<Address, CloudError> {
        let filter = Filter::builder().name("public-ip").values(address).build();
        let mut found = self.described(Some(filter), what).await?;
        found.pop().ok_or_else(|| {
            let why = format!("the account has no Elastic IP address {address} in this region");
            CloudError::new(ErrorKind::Permanent, code::NO_SUCH_ADDRESS, what, why)
                .next("aws ec2 describe-addresses, then scaler.ec2.addresses")
        })
    }

    async fn described(&self, filter: Option<Filter>, what: &str) -> Result<Vec<Address>, CloudError> {
        self.limiter.turn(Kind::List, 0, what).await?;
        let asked = self.client.describe_addresses().set_filters(filter.map(|filter| vec![filter]));
        let answer = asked.send().await.map_err(|e| self.judged(Kind::List, e, what))?;
        self.limiter.went_well(Kind::List);
        Ok(answer.addresses.unwrap_or_default())
    }

    /// Allocated for the fleet, or had by one of its instances.
    pub(super) async fn addresses_left(&self) -> Result<Vec<String>, CloudError> {
        let what = "listing addresses";
        let all = self.described(None, what).await?;
        let ours: BTreeSet<String> =
            self.describe(&[], what).await?.into_iter().filter_map(|i| i.instance_id).collect();
        let is_tagged = |a: &Address| {
            a.tags().iter().any(|tag| tag.key() == Some(TAG_FLEET) && tag.value() == Some(&self.fleet))
        };
        let is_had = |a: &Address| a.instance_id().is_some_and(|id| ours.contains(id));
        let left = all.iter().filter(|a| is_tagged(a) || is_had(a));
        Ok(left.filter_map(|a| a.public_ip()).map(str::to_owned).collect())
    }

    /// Nothing is taken from whoever has it: what is not free yet is asked for again.
    pub(super) async fn give(&self, instance: &str, address: &str) -> Result<(), CloudError> {
        let what = format!("giving {instance} the address {address}");
        let known = self.address(address, &what).await?;
        match known.instance_id().filter(|id| !id.is_empty()) {
            Some(has) if has == instance => return Ok(()),
            Some(other) => {
                let why = format!("{other} has it; it is asked for again, and taken from nobody");
                let error = CloudError::new(ErrorKind::Transient, code::ADDRESS_TAKEN, what, why);
                return Err(
                    error.next("aws ec2 describe-addresses, or another address in scaler.ec2.addresses")
                );
            }
            None => {}
        }
        self.limiter.turn(Kind::Change, 0, &what).await?;
        let asked = self.client.associate_address().instance_id(instance).allow_reassociation(false);
        let asked = asked.set_allocation_id(known.allocation_id().map(str::to_owned));
        asked.send().await.map_err(|e| self.judged(Kind::Change, e, &what))?;
        self.limiter.went_well(Kind::Change);
        Ok(())
    }

    /// What another instance has is left to it: then this one has it no more.
    pub(super) async fn take_back(&self, instance: &str, address: &str) -> Result<(), CloudError> {
        let what = format!("taking the address {address} back from {instance}");
        let known = match self.address(address, &what).await {
            Err(error) if error.code == code::NO_SUCH_ADDRESS => return Ok(()),
            known => known?,
        };
        if known.instance_id() != Some(instance) {
            return Ok(());
        }
        self.limiter.turn(Kind::Change, 0, &what).await?;
        let asked = self.client.disassociate_address();
        let asked = asked.set_association_id(known.association_id().map(str::to_owned));
        asked.send().await.map_err(|e| self.judged(Kind::Change, e, &what))?;
        self.limiter.went_well(Kind::Change);
        Ok(())
    }
}
