//! A flow as a picture: SVG, the same for the same flow, readable without colours.

use std::fmt::Write as _;

use asterism_domain::logic::{BackendKind, Does, Flow, Outline, StateOutline, Verb, Why};

use super::layout::{Graph, Placed, Point, Size, place};

/// A character's width and a line's height, in a fixed-width font of 12.
const CHAR: f64 = 7.3;
const LINE: f64 = 16.0;
const PAD: f64 = 10.0;
const MARGIN: f64 = 24.0;
/// Longest line of a box or a label, in characters.
const MAX_CHARS: usize = 34;

/// One box of the picture.
struct Card {
    title: String,
    lines: Vec<String>,
    kind: &'static str,
}

impl Card {
    fn size(&self) -> Size {
        let longest = self.lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
        let chars = longest.max(self.title.chars().count()).max(6);
        let lines = self.lines.len() + 1;
        Size { width: chars as f64 * CHAR + 2.0 * PAD, height: lines as f64 * LINE + PAD }
    }
}

/// The picture.
pub(super) fn svg(flow: &Flow) -> String {
    let outline = flow.outline();
    let mut cards: Vec<Card> = outline.states.iter().map(|state| card(state, &outline)).collect();
    let index = |name: &str| outline.states.iter().position(|state| state.name == name).unwrap_or_default();
    let mut arrows: Vec<(usize, usize, Vec<String>)> = Vec::new();
    // The first box is where calls begin: it comes first, so that it is on top.
    let start = match (&outline.backend, outline.start) {
        (Some(backend), _) => {
            let (what, lines) = match backend.kind {
                BackendKind::Nats => ("the bus", vec!["asks its subject".to_owned()]),
                kind => (kind.as_str(), vec![cut(&backend.url)]),
            };
            cards.push(Card { title: format!("back end: {what}"), lines, kind: "backend" });
            let from = cards.len() - 1;
            arrows.push((from, index(outline.fallback), vec!["no answer that can be used".to_owned()]));
            from
        }
        (None, start) => index(start.unwrap_or(outline.fallback)),
    };
    for (from, state) in outline.states.iter().enumerate() {
        for (why, to) in &state.ways {
            let (to, label) = (index(to), label(why, state));
            match arrows.iter_mut().find(|(a, b, _)| (*a, *b) == (from, to)) {
                Some((_, _, labels)) => labels.extend(label),
                None => arrows.push((from, to, label.into_iter().collect())),
            }
        }
    }
    let order: Vec<usize> =
        std::iter::once(start).chain((0..cards.len()).filter(|card| *card != start)).collect();
    let place_of = |card: usize| order.iter().position(|known| *known == card).unwrap_or_default();
    let graph = Graph {
        boxes: order.iter().map(|card| cards[*card].size()).collect(),
        arrows: arrows
            .iter()
            .map(|(from, to, labels)| (place_of(*from), place_of(*to), label_size(labels)))
            .collect(),
    };
    let placed = place(&graph);
    let cards: Vec<&Card> = order.iter().map(|card| &cards[*card]).collect();
    let labels: Vec<&[String]> = arrows.iter().map(|(_, _, labels)| labels.as_slice()).collect();
    drawn(&outline, &graph, &placed, (&cards, &labels))
}

fn card(state: &StateOutline<'_>, outline: &Outline<'_>) -> Card {
    let mut title = state.name.to_owned();
    if outline.start == Some(state.name) {
        title.push_str(" \u{25b6}"); // a call begins here
    }
    if outline.fallback == state.name {
        title.push_str(" \u{2691}"); // no answer in time leads here
    }
    let (kind, mut lines) = match state.does {
        Does::Match(name) => ("decides", vec![format!("by {name}")]),
        Does::Silent { set, tag } => {
            let set = set.iter().map(|(name, value)| format!("{name} = {value}"));
            ("silent", set.chain(tag.map(|tag| format!("tag {tag}"))).collect())
        }
        Does::Say(say, field) => {
            let by = say.sounds.as_ref().map(|word| format!("by prompts {word}-\u{2026}"));
            let ends = say.barge.then(|| "a key ends it".to_owned());
            let what = format!("say {field} as {}", say.kind.as_str());
            ("heard", std::iter::once(what).chain(by).chain(ends).collect())
        }
        Does::Verb(text) => (if state.ways.is_empty() { "ends" } else { "heard" }, said(text)),
    };
    if let Some(name) = state.save {
        lines.push(format!("keeps {name}"));
    }
    Card { title, lines: lines.iter().map(|line| cut(line)).collect(), kind }
}

/// A verb in words, a line for each thing.
pub(super) fn said(text: &str) -> Vec<String> {
    let heard = |word: &str, prompts: &[String]| {
        let mut lines =
            vec![format!("{word} {}", prompts.first().map_or("", String::as_str)).trim().to_owned()];
        lines.extend(prompts.iter().skip(1).map(|prompt| format!("{}{prompt}", " ".repeat(word.len() + 1))));
        lines
    };
    match Verb::parse(text) {
        Ok(Verb::Say { parts, barge }) => {
            let mut lines = heard("say", &parts);
            lines.extend(barge.then(|| "a key ends it".to_owned()));
            lines
        }
        Ok(Verb::Play { prompts, barge }) => {
            let mut lines = heard("play", &prompts);
            lines.extend(barge.then(|| "a key ends it".to_owned()));
            lines
        }
        Ok(Verb::Gather { prompts, max_digits, timeout_s, attempts, finish_key }) => {
            let mut lines = heard("ask", &prompts);
            let keys = if max_digits == 1 { "1 key".to_owned() } else { format!("{max_digits} keys") };
            let ends =
                finish_key.filter(|_| max_digits > 1).map_or_else(String::new, |key| format!(" or {key}"));
            lines.push(format!("{keys}{ends}, {timeout_s} s"));
            lines.extend((attempts > 1).then(|| format!("up to {attempts} times")));
            lines
        }
        Ok(Verb::Pause { seconds }) => vec![format!("pause {seconds} s")],
        Ok(Verb::Hangup { cause: 16 }) => vec!["hang up".to_owned()],
        Ok(Verb::Hangup { cause }) => vec![format!("hang up, cause {cause}")],
        Ok(Verb::Optout { prompts }) => {
            let mut lines = heard("play", &prompts);
            lines.retain(|line| line != "play");
            lines.insert(0, "never call again".to_owned());
            lines.push("hang up".to_owned());
            lines
        }
        Ok(Verb::Dial { to, ring_s, talk_s, .. }) => {
            vec![format!("join with {}", to.as_str()), format!("rings {ring_s} s, talk {talk_s} s")]
        }
        Ok(Verb::Record { max_s, silence_s, finish }) => {
            let ends = if silence_s == 0 { String::new() } else { format!(", {silence_s} s of silence") };
            vec!["record".to_owned(), format!("{max_s} s{ends} or key {}", finish.as_str())]
        }
        // What is no verb is shown as it is.
        Err(_) => vec![text.trim_end_matches('|').replace('|', " ")],
    }
}

fn label(why: &Why<'_>, state: &StateOutline<'_>) -> Option<String> {
    match why {
        Why::On(values) => Some(cut(&values.join(" \u{b7} "))),
        Why::Invalid if matches!(state.does, Does::Say(..)) => Some("cannot be said".to_owned()),
        Why::Invalid => Some("does not fit".to_owned()),
        Why::Otherwise if matches!(state.does, Does::Say(..)) => None,
        Why::Otherwise if matches!(state.does, Does::Match(_)) => Some("else".to_owned()),
        Why::Otherwise => Some("else or nothing".to_owned()),
        Why::Next => None,
    }
}

fn label_size(labels: &[String]) -> Size {
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    Size { width: longest as f64 * CHAR, height: labels.len() as f64 * LINE }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS - 1).chain(['\u{2026}']).collect()
}

const STYLE: &str = "text{font:12px monospace;fill:#1b1f24}.t{font-weight:bold}.n{font-size:15px;font-weight:bold}\
    rect.c{stroke:#57606a;stroke-width:1.2}.heard{fill:#ddf4ff}.silent{fill:#f6f8fa}.decides{fill:#fff8c5}\
    .ends{fill:#ffebe9}.backend{fill:#dafbe1}.a{fill:none;stroke:#57606a;stroke-width:1.4}.l{fill:#fff}";

fn drawn(
    outline: &Outline<'_>,
    graph: &Graph,
    placed: &Placed,
    (cards, labels): (&[&Card], &[&[String]]),
) -> String {
    let head = LINE * 2.0;
    let title = format!("{} \u{2014} \u{25b6} a call begins, \u{2691} no answer in time", outline.name);
    let width = placed.size.width.max(title.chars().count() as f64 * 9.2) + 2.0 * MARGIN + 40.0;
    let height = placed.size.height + 2.0 * MARGIN + head;
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
         <defs><marker id=\"h\" markerWidth=\"9\" markerHeight=\"9\" refX=\"8\" refY=\"4\" orient=\"auto\">\
         <path d=\"M0,0 L8,4 L0,8 z\" fill=\"#57606a\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"n\" x=\"{MARGIN:.0}\" y=\"{MARGIN:.0}\">{}</text>\n\
         <g transform=\"translate({MARGIN:.0} {:.0})\">\n",
        escaped(&title),
        MARGIN + head
    );
    for ((from, _, _), (points, _)) in graph.arrows.iter().zip(&placed.arrows) {
        let path = if points.is_empty() {
            to_itself(placed.boxes[*from], graph.boxes[*from])
        } else {
            curve(points)
        };
        let _ = writeln!(svg, "<path class=\"a\" d=\"{path}\" marker-end=\"url(#h)\"/>");
    }
    for (((from, _, size), (points, at)), labels) in graph.arrows.iter().zip(&placed.arrows).zip(labels) {
        let beside = graph.boxes[*from];
        let at = if points.is_empty() {
            (at.0 + beside.width / 2.0 + 20.0, at.1 - beside.height / 2.0)
        } else {
            *at
        };
        if !labels.is_empty() {
            let (x, y) = (at.0 - size.width / 2.0, at.1 - size.height / 2.0);
            let (width, height) = (size.width, size.height);
            let _ = writeln!(
                svg,
                "<rect class=\"l\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        }
        for (line, label) in labels.iter().enumerate() {
            let y = at.1 - size.height / 2.0 + LINE * (line as f64 + 0.75);
            text(&mut svg, "", (at.0, y), label, true);
        }
    }
    for ((card, at), size) in cards.iter().zip(&placed.boxes).zip(&graph.boxes) {
        let (x, y) = (at.0 - size.width / 2.0, at.1 - size.height / 2.0);
        let (width, height, kind) = (size.width, size.height, card.kind);
        let _ = writeln!(
            svg,
            "<rect class=\"c {kind}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>"
        );
        text(&mut svg, " class=\"t\"", (x + PAD, y + LINE), &card.title, false);
        for (line, words) in card.lines.iter().enumerate() {
            text(&mut svg, "", (x + PAD, y + LINE * (line as f64 + 2.0)), words, false);
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn text(svg: &mut String, class: &str, at: Point, words: &str, is_centred: bool) {
    let anchor = if is_centred { " text-anchor=\"middle\"" } else { "" };
    let (x, y) = at;
    let words = escaped(words);
    let _ =
        writeln!(svg, "<text{class}{anchor} xml:space=\"preserve\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
}

/// A line that bends softly through its points, up and down at its ends.
fn curve(points: &[Point]) -> String {
    let mut path = String::new();
    for (index, pair) in points.windows(2).enumerate() {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if index == 0 {
            let _ = write!(path, "M{x0:.1},{y0:.1}");
        }
        let middle = f64::midpoint(y0, y1);
        let _ = write!(path, " C{x0:.1},{middle:.1} {x1:.1},{middle:.1} {x1:.1},{y1:.1}");
    }
    path
}

/// A loop at the right upper corner.
fn to_itself(at: Point, size: Size) -> String {
    let (x, y) = (at.0 + size.width / 2.0, at.1 - size.height / 2.0);
    format!(
        "M{:.1},{y:.1} C{:.1},{:.1} {:.1},{:.1} {x:.1},{:.1}",
        x - 18.0,
        x - 14.0,
        y - 24.0,
        x + 30.0,
        y - 2.0,
        y + 16.0
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SURVEY: &str = include_str!("../../../../../../compose/logic/survey.toml");

    #[test]
    fn a_picture_shows_every_state_and_every_way_and_is_the_same_each_time() {
        let flow = Flow::parse(SURVEY).unwrap();
        let picture = svg(&flow);
        for state in flow.states() {
            assert!(picture.contains(&format!(">{state}")), "{state} is missing");
        }
        let ways: usize = flow
            .outline()
            .states
            .iter()
            .map(|state| {
                let targets: std::collections::BTreeSet<&str> =
                    state.ways.iter().map(|(_, to)| *to).collect();
                targets.len()
            })
            .sum();
        assert_eq!(picture.matches("marker-end").count(), ways);
        assert_eq!(picture, svg(&flow));
    }

    #[test]
    fn what_is_in_a_flow_is_text_in_its_picture_and_nothing_else() {
        let text = "name = \"a\"\nstart = \"a\"\nfallback = \"end\"\n[states.a]\nset = { x = \"<script>&\\\"\" }\nnext = \"end\"\n\
                    [states.end]\nhangup = {}\n";
        let picture = svg(&Flow::parse(text).unwrap());
        assert!(
            picture.contains("x = &lt;script&gt;&amp;&quot;") && !picture.contains("<script>"),
            "{picture}"
        );
    }
}
