//! Cost against blocking as a picture: a panel a family, a dot a policy, ours filled. SVG, without a script.

use std::fmt::Write as _;

use crate::lab::Row;

/// A panel's size, and what its axes span: costs from 1 to 2.2, blocked shares from 0.0001 % (and less) to 10 %.
const WIDE: f64 = 380.0;
const HIGH: f64 = 260.0;
const COLUMNS: usize = 3;
const COST: (f64, f64) = (1.0, 2.2);
const BLOCKED_LOG10: (f64, f64) = (-4.0, 1.0);
const MARGIN: (f64, f64) = (46.0, 34.0);

/// The chart of a table. Families that turn nobody away show where their costs are.
pub fn svg(rows: &[Row]) -> String {
    let mut families: Vec<&str> = rows.iter().map(|row| row.family.as_str()).collect();
    families.dedup();
    let lines = families.len().div_ceil(COLUMNS).max(1);
    let (wide, high) = (WIDE * COLUMNS as f64, HIGH * lines as f64 + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" font-family=\"sans-serif\" font-size=\"9\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"14\" font-size=\"11\">Cost against the \
         clairvoyant bound (across) and inbound calls turned away in percent (up, by powers of ten); left and down is better</text>\n"
    );
    for (place, family) in families.iter().enumerate() {
        let at = ((place % COLUMNS) as f64 * WIDE, (place / COLUMNS) as f64 * HIGH + 24.0);
        panel(&mut out, family, rows.iter().filter(|row| row.family == *family), at);
    }
    out.push_str("</svg>\n");
    out
}

fn panel<'a>(out: &mut String, family: &str, rows: impl Iterator<Item = &'a Row>, (left, top): (f64, f64)) {
    let across = |cost: f64| {
        let share = (cost.clamp(COST.0, COST.1) - COST.0) / (COST.1 - COST.0);
        left + MARGIN.0 + share * (WIDE - 2.0 * MARGIN.0)
    };
    let up = |percent: f64| {
        let log = percent.max(1e-9).log10().clamp(BLOCKED_LOG10.0, BLOCKED_LOG10.1);
        let share = (log - BLOCKED_LOG10.0) / (BLOCKED_LOG10.1 - BLOCKED_LOG10.0);
        top + HIGH - MARGIN.1 - share * (HIGH - 2.0 * MARGIN.1)
    };
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\">{}</text>",
        left + MARGIN.0,
        top + 20.0,
        escaped(family)
    );
    for cost in [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2] {
        let x = across(cost);
        line(out, (x, up(1e-9)), (x, up(10.0)));
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{cost}</text>", x - 6.0, up(1e-9) + 12.0);
    }
    for power in -4..=1 {
        let percent = 10.0_f64.powi(power);
        line(out, (across(1.0), up(percent)), (across(9.0), up(percent)));
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{percent}</text>", left + 8.0, up(percent) + 3.0);
    }
    for row in rows {
        let (x, y) = (across(row.cost), up(row.blocked_percent));
        let ours = row.policy == "asterism";
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\" fill=\"{}\" stroke=\"black\"><title>{}: {:.3}, {:.4} %</title></circle>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"7\">{}</text>",
            if ours { 5 } else { 3 },
            if ours { "black" } else { "none" },
            escaped(&row.policy),
            row.cost,
            row.blocked_percent,
            x + 6.0,
            y - 4.0,
            escaped(&row.policy)
        );
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn row(policy: &str, cost: f64, blocked_percent: f64) -> Row {
        Row { family: "a<b".to_owned(), policy: policy.to_owned(), cost, blocked_percent, ..Row::default() }
    }

    #[test]
    fn every_policy_has_a_dot_within_its_panel() {
        let rows = [row("asterism", 1.1, 0.01), row("absurd", 99.0, 0.0), row("worse", 1.1, 50.0)];
        let svg = svg(&rows);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"), "{svg}");
        for circle in svg.split("<circle cx=\"").skip(1) {
            let mut numbers = circle.split('"').filter_map(|part| part.parse::<f64>().ok());
            let (x, y) = (numbers.next().expect("x"), numbers.next().expect("y"));
            assert!((0.0..WIDE).contains(&x) && (24.0..24.0 + HIGH).contains(&y), "{x}, {y}");
        }
    }
}
