//! Where the boxes of a picture go: in rows from top to bottom, the labels of arrows in rows of their own between them.
//!
//! The usual way of layered drawings: arrows that would lead up are turned round for the layout, each box gets the row
//! after the last that leads to it, arrows pass the rows between through points of their own, the order in a row
//! follows the rows beside it, and places are as close to their neighbours' as the boxes' widths allow. No chance in it: the
//! same graph is the same picture.

/// Space between two things of a row, and between two rows.
const GAP: f64 = 26.0;
const ROW_GAP: f64 = 26.0;
/// How often the order of the rows is put right, and the places in them.
const SWEEPS: usize = 24;

/// Something with a size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A point.
pub(super) type Point = (f64, f64);

/// What is to be placed: boxes, and arrows between them with the size of their label.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub(super) boxes: Vec<Size>,
    pub(super) arrows: Vec<(usize, usize, Size)>,
}

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Placed {
    /// Centres of the boxes.
    pub(super) boxes: Vec<Point>,
    /// The points each arrow goes through, from its box to the other, and the centre of its label.
    pub(super) arrows: Vec<(Vec<Point>, Point)>,
    pub(super) size: Size,
}

/// One thing in a row: a box, a label, or the point of a long arrow.
#[derive(Clone, Debug)]
struct Item {
    row: usize,
    size: Size,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Layers of items.
struct Layers {
    items: Vec<Item>,
    rows: Vec<Vec<usize>>,
    /// The items of each arrow, from top to bottom, and whether it leads up.
    chains: Vec<(Vec<usize>, bool)>,
}

/// Places a graph. Arrows from a box to itself are left to the box: their points are empty.
pub(super) fn place(graph: &Graph) -> Placed {
    let mut layers = Layers::of(graph);
    layers.order();
    layers.spread();
    layers.placed(graph)
}

/// Arrows that close a circle, looking from the first box on.
fn turned(graph: &Graph) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        On,
        Done,
    }
    let mut seen = vec![Seen::Not; graph.boxes.len()];
    let mut turned = vec![false; graph.arrows.len()];
    let from: Vec<Vec<usize>> = (0..graph.boxes.len())
        .map(|node| (0..graph.arrows.len()).filter(|arrow| graph.arrows[*arrow].0 == node).collect())
        .collect();
    for root in 0..graph.boxes.len() {
        if seen[root] != Seen::Not {
            continue;
        }
        seen[root] = Seen::On;
        let mut stack = vec![(root, 0)];
        while let Some((node, next)) = stack.last_mut() {
            let Some(&arrow) = from[*node].get(*next) else {
                seen[*node] = Seen::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            let to = graph.arrows[arrow].1;
            match seen[to] {
                Seen::On => turned[arrow] = true,
                Seen::Not => {
                    seen[to] = Seen::On;
                    stack.push((to, 0));
                }
                Seen::Done => {}
            }
        }
    }
    turned
}

impl Layers {
    fn of(graph: &Graph) -> Self {
        let turned = turned(graph);
        let down: Vec<(usize, usize)> = graph
            .arrows
            .iter()
            .zip(&turned)
            .map(|((from, to, _), turned)| if *turned { (*to, *from) } else { (*from, *to) })
            .collect();
        // Boxes are in every second row.
        let mut row = vec![0; graph.boxes.len()];
        for _ in 0..graph.boxes.len() {
            for &(from, to) in down.iter().filter(|(from, to)| from != to) {
                row[to] = row[to].max(row[from] + 2);
            }
        }
        let mut rows = Self { items: Vec::new(), rows: Vec::new(), chains: Vec::new() };
        for (size, row) in graph.boxes.iter().zip(&row) {
            rows.add(*row, *size);
        }
        for ((arrow, &(from, to)), turned) in graph.arrows.iter().zip(&down).zip(&turned) {
            let mut chain = vec![from];
            if from != to {
                // The label is beside the box that the arrow comes from.
                let labelled = if *turned { row[to] - 1 } else { row[from] + 1 };
                for between in row[from] + 1..row[to] {
                    let size = if between == labelled { arrow.2 } else { Size::default() };
                    chain.push(rows.add(between, size));
                }
            }
            chain.push(to);
            for pair in chain.windows(2).filter(|pair| pair[0] != pair[1]) {
                rows.items[pair[0]].below.push(pair[1]);
                rows.items[pair[1]].above.push(pair[0]);
            }
            rows.chains.push((chain, *turned));
        }
        rows
    }

    fn add(&mut self, row: usize, size: Size) -> usize {
        let item = self.items.len();
        self.items.push(Item { row, size, x: 0.0, above: Vec::new(), below: Vec::new() });
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Vec::new());
        }
        self.rows[row].push(item);
        item
    }

    /// Puts each row in the order of its neighbours, down and up again, and keeps the order with the fewest crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            for step in 0..self.rows.len() {
                let row = if down { step } else { self.rows.len() - 1 - step };
                let places = self.places();
                let middle = |item: usize| {
                    let beside = if down { &self.items[item].above } else { &self.items[item].below };
                    let sum: usize = beside.iter().map(|other| places[*other]).sum();
                    if beside.is_empty() { places[item] as f64 } else { sum as f64 / beside.len() as f64 }
                };
                let mut order: Vec<(f64, usize)> =
                    self.rows[row].iter().map(|item| (middle(*item), *item)).collect();
                order.sort_by(|one, other| one.0.total_cmp(&other.0)); // stable
                self.rows[row] = order.into_iter().map(|(_, item)| item).collect();
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.items.len()];
        for row in &self.rows {
            for (place, item) in row.iter().enumerate() {
                places[*item] = place;
            }
        }
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut crossings = 0;
        for row in &self.rows {
            let lines: Vec<(usize, usize)> = row
                .iter()
                .flat_map(|item| self.items[*item].below.iter().map(|below| (places[*item], places[*below])))
                .collect();
            for (index, one) in lines.iter().enumerate() {
                crossings += lines[index + 1..]
                    .iter()
                    .filter(|other| {
                        (one.0 < other.0 && one.1 > other.1) || (one.0 > other.0 && one.1 < other.1)
                    })
                    .count();
            }
        }
        crossings
    }

    /// Moves everything towards its neighbours, as far as what is beside it in its row allows.
    fn spread(&mut self) {
        for row in 0..self.rows.len() {
            let wanted = vec![0.0; self.rows[row].len()];
            self.settle(row, &wanted);
        }
        for sweep in 0..SWEEPS {
            for step in 0..self.rows.len() {
                let row = if sweep % 2 == 0 { step } else { self.rows.len() - 1 - step };
                let wanted: Vec<f64> = self.rows[row]
                    .iter()
                    .map(|item| {
                        let item = &self.items[*item];
                        let beside = item.above.iter().chain(&item.below);
                        let (sum, count) = beside
                            .fold((0.0, 0), |(sum, count), other| (sum + self.items[*other].x, count + 1));
                        if count == 0 { item.x } else { sum / f64::from(count) }
                    })
                    .collect();
                self.settle(row, &wanted);
            }
        }
    }

    /// The places nearest to those that are wanted which keep order and distance: neighbours that would overlap become
    /// one block, which goes where its members want it on average.
    fn settle(&mut self, row: usize, wanted: &[f64]) {
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(wanted.len());
        let mut before: Option<f64> = None;
        for item in &self.rows[row] {
            let half = self.items[*item].size.width / 2.0;
            if let Some(before) = before {
                offset += before + GAP + half;
            }
            offsets.push(offset);
            before = Some(half);
        }
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        for (want, offset) in wanted.iter().zip(&offsets) {
            blocks.push((want - offset, 1));
            while let [.., one, other] = blocks.as_slice()
                && one.0 >= other.0
            {
                let count = one.1 + other.1;
                let mean = (one.0 * one.1 as f64 + other.0 * other.1 as f64) / count as f64;
                blocks.truncate(blocks.len() - 2);
                blocks.push((mean, count));
            }
        }
        let starts = blocks.iter().flat_map(|(start, count)| std::iter::repeat_n(*start, *count));
        for ((item, start), offset) in self.rows[row].iter().zip(starts).zip(&offsets) {
            self.items[*item].x = start + offset;
        }
    }

    fn placed(&self, graph: &Graph) -> Placed {
        let mut top = 0.0;
        let mut middles = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let height = row.iter().map(|item| self.items[*item].size.height).fold(0.0, f64::max);
            middles.push(top + height / 2.0);
            top += height + ROW_GAP;
        }
        let edge = |side: f64| move |item: &Item| item.x + side * item.size.width / 2.0;
        let left = self.items.iter().map(edge(-1.0)).fold(f64::INFINITY, f64::min);
        let right = self.items.iter().map(edge(1.0)).fold(f64::NEG_INFINITY, f64::max);
        let at = |item: usize| (self.items[item].x - left, middles[self.items[item].row]);
        let arrows = self.chains.iter().zip(&graph.arrows).map(|((chain, turned), (_, _, label))| {
            let (first, last) = (chain[0], chain[chain.len() - 1]);
            if first == last {
                return (Vec::new(), at(first));
            }
            let mut points = vec![(at(first).0, at(first).1 + self.items[first].size.height / 2.0)];
            points.extend(chain[1..chain.len() - 1].iter().map(|item| at(*item)));
            points.push((at(last).0, at(last).1 - self.items[last].size.height / 2.0));
            let between = &chain[1..chain.len() - 1];
            let labelled = if *turned { between.last() } else { between.first() };
            let label_at = labelled.map_or_else(|| at(first), |item| at(*item));
            debug_assert!(labelled.is_none_or(|item| self.items[*item].size == *label));
            if *turned {
                points.reverse();
            }
            (points, label_at)
        });
        Placed {
            boxes: (0..graph.boxes.len()).map(at).collect(),
            arrows: arrows.collect(),
            size: Size { width: (right - left).max(0.0), height: (top - ROW_GAP).max(0.0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { width: 100.0, height: 40.0 };
    const LABEL: Size = Size { width: 30.0, height: 14.0 };

    /// Many graphs, circles and arrows to oneself among them.
    fn graphs() -> impl Iterator<Item = Graph> {
        (1..60).map(|seed: usize| {
            let count = seed % 23 + 1;
            let arrow = |n: usize| (n * seed * 7 % count, n * (seed + 13) * 5 % count, LABEL);
            Graph { boxes: vec![BOX; count], arrows: (0..count * 2).map(arrow).collect() }
        })
    }

    #[test]
    fn nothing_lies_on_anything_else_and_each_arrow_goes_from_its_box_to_the_other() {
        for graph in graphs() {
            let placed = place(&graph);
            let labels =
                placed.arrows.iter().filter(|(points, _)| !points.is_empty()).map(|(_, at)| (*at, LABEL));
            let things: Vec<(Point, Size)> = placed.boxes.iter().map(|at| (*at, BOX)).chain(labels).collect();
            for (index, (one, a)) in things.iter().enumerate() {
                assert!(one.0 >= a.width / 2.0 - 0.01 && one.0 <= placed.size.width - a.width / 2.0 + 0.01);
                for (other, b) in &things[index + 1..] {
                    let apart = (one.0 - other.0).abs() >= f64::midpoint(a.width, b.width)
                        || (one.1 - other.1).abs() >= f64::midpoint(a.height, b.height);
                    assert!(apart, "{one:?} {a:?} lies on {other:?} {b:?}");
                }
            }
            for ((from, to, _), (points, _)) in graph.arrows.iter().zip(&placed.arrows) {
                let ends = (points.first(), points.last());
                let (Some(first), Some(last)) = ends else {
                    assert_eq!(from, to);
                    continue;
                };
                assert!((first.0 - placed.boxes[*from].0).abs() < 0.01, "it begins at its box");
                assert!((last.0 - placed.boxes[*to].0).abs() < 0.01, "and ends at the other");
            }
        }
    }

    #[test]
    fn the_same_graph_is_the_same_picture_and_a_line_goes_straight_down() {
        for graph in graphs() {
            assert_eq!(place(&graph), place(&graph));
        }
        let line = Graph { boxes: vec![BOX; 4], arrows: vec![(0, 1, LABEL), (1, 2, LABEL), (2, 3, LABEL)] };
        let placed = place(&line);
        assert!(placed.boxes.iter().all(|at| (at.0 - 50.0).abs() < 0.01), "{placed:?}");
        assert!(placed.boxes.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }
}
