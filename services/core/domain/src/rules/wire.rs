//! Rules on the wire.

use asterism_proto::v1;

use super::{AttemptCap, Budget, CallingWindow, CampaignRules, Price, RetryRule};
use crate::ids::Outcome;

impl From<&CampaignRules> for v1::CampaignRules {
    fn from(rules: &CampaignRules) -> Self {
        Self {
            windows: rules
                .windows
                .iter()
                .map(|window| v1::CallingWindow {
                    weekdays: window.weekdays,
                    from_minute: window.from_minute,
                    to_minute: window.to_minute,
                })
                .collect(),
            holidays: rules.holidays.clone(),
            default_zone: rules.default_zone.clone(),
            caps: rules
                .caps
                .iter()
                .map(|cap| v1::AttemptCap { period_ms: cap.period_ms, max: cap.max })
                .collect(),
            min_gap_ms: rules.min_gap_ms,
            consent_required: rules.consent_required,
            do_not_call: rules.do_not_call.clone(),
            retries: rules
                .retries
                .iter()
                .map(|rule| v1::RetryRule {
                    outcome: rule.outcome.number(),
                    delay_ms: rule.delay_ms,
                    max: rule.max,
                    doubling: rule.doubling,
                    another_trunk: rule.another_trunk,
                })
                .collect(),
            weight: rules.weight,
            priority: rules.priority,
            starts_at_ms: rules.starts_at_ms,
            ends_at_ms: rules.ends_at_ms,
            profile: rules.profile.clone(),
            deadline_ms: rules.deadline_ms,
            budget: (rules.budget != Budget::default()).then_some(v1::Budget {
                answered: rules.budget.answered,
                talk_ms: rules.budget.talk_ms,
                cost_micro: rules.budget.cost_micro,
            }),
            price: (rules.price != Price::default()).then(|| v1::Price {
                call_micro: rules.price.call_micro,
                minute_micro: rules.price.minute_micro,
                currency: rules.price.currency.clone(),
            }),
            detect_machines: rules.detect_machines,
        }
    }
}

impl TryFrom<v1::CampaignRules> for CampaignRules {
    type Error = &'static str;

    fn try_from(wire: v1::CampaignRules) -> Result<Self, Self::Error> {
        let window = |window: v1::CallingWindow| CallingWindow {
            weekdays: window.weekdays,
            from_minute: window.from_minute,
            to_minute: window.to_minute,
        };
        let retry = |rule: v1::RetryRule| {
            let outcome = Outcome::from_number(rule.outcome).ok_or("outcome of a retry rule")?;
            let v1::RetryRule { delay_ms, max, doubling, another_trunk, .. } = rule;
            Ok(RetryRule { outcome, delay_ms, max, doubling, another_trunk })
        };
        Ok(Self {
            windows: wire.windows.into_iter().map(window).collect(),
            holidays: wire.holidays,
            default_zone: wire.default_zone,
            caps: wire
                .caps
                .into_iter()
                .map(|cap| AttemptCap { period_ms: cap.period_ms, max: cap.max })
                .collect(),
            min_gap_ms: wire.min_gap_ms,
            consent_required: wire.consent_required,
            do_not_call: wire.do_not_call,
            retries: wire.retries.into_iter().map(retry).collect::<Result<_, &'static str>>()?,
            weight: wire.weight,
            priority: wire.priority,
            starts_at_ms: wire.starts_at_ms,
            ends_at_ms: wire.ends_at_ms,
            profile: wire.profile,
            deadline_ms: wire.deadline_ms,
            budget: wire.budget.map_or_else(Budget::default, |budget| Budget {
                answered: budget.answered,
                talk_ms: budget.talk_ms,
                cost_micro: budget.cost_micro,
            }),
            price: wire.price.map_or_else(Price::default, |price| Price {
                call_micro: price.call_micro,
                minute_micro: price.minute_micro,
                currency: price.currency,
            }),
            detect_machines: wire.detect_machines,
        })
    }
}
