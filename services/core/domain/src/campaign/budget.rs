//! What a campaign has used up of what it may, from the counts of the log.

use super::state::Campaign;

/// What a campaign has used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Answered calls.
    pub answered: u32,
    /// Talk time of those that have ended.
    pub talk_ms: u64,
    /// Their cost by the campaign's price, in millionths of its currency.
    pub cost_micro: u64,
}

/// What a campaign has used up so far.
pub fn spent(campaign: &Campaign) -> Spent {
    let counts = &campaign.counts;
    let cost_micro = campaign.rules.price.of(counts.answered, counts.talk_ms);
    Spent { answered: counts.answered, talk_ms: counts.talk_ms, cost_micro }
}

/// Which of its budgets a campaign has used up, in words.
pub fn reached(campaign: &Campaign) -> Option<String> {
    let (budget, spent) = (&campaign.rules.budget, spent(campaign));
    if budget.answered > 0 && spent.answered >= budget.answered {
        return Some(format!("{} of {} answered calls", spent.answered, budget.answered));
    }
    if budget.talk_ms > 0 && spent.talk_ms >= budget.talk_ms {
        return Some(format!("{} s of {} s of talk", spent.talk_ms / 1_000, budget.talk_ms / 1_000));
    }
    if budget.cost_micro > 0 && spent.cost_micro >= budget.cost_micro {
        let currency = &campaign.rules.price.currency;
        let (spent, budget) = (money(spent.cost_micro), money(budget.cost_micro));
        return Some(format!("{spent} of {budget} {currency}"));
    }
    None
}

/// How many more attempts may be in flight, by the budget of answered calls: each that rings may be answered. `None`:
/// there is no such budget.
pub fn room(campaign: &Campaign) -> Option<u32> {
    let most = campaign.rules.budget.answered;
    let counts = &campaign.counts;
    let may_be = counts.answered + (counts.in_flight - counts.up);
    (most > 0).then(|| most.saturating_sub(may_be))
}

/// Millionths as people write them: `12.50`, `0.0042`.
pub fn money(micro: u64) -> String {
    let part = format!("{:06}", micro % 1_000_000);
    let part = part.trim_end_matches('0');
    format!("{}.{part:0<2}", micro / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_as_people_do() {
        let written: Vec<String> = [0, 4_200, 12_500_000, 1, 7_000_000].into_iter().map(money).collect();
        assert_eq!(written, ["0.00", "0.0042", "12.50", "0.000001", "7.00"]);
    }
}
