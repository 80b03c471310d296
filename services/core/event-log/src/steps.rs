//! Work in steps that may fail: iterators that end with the first error, and a thread that reads ahead.

use std::panic::resume_unwind;
use std::sync::mpsc;

use crate::error::Error;

/// Something that goes on until it ends or fails.
pub(crate) trait Steps {
    /// What a step gives.
    type Item;

    /// The next step; `None` at the end.
    fn advance(&mut self) -> Result<Option<Self::Item>, Error>;

    /// Whether the end or an error was reached.
    fn ended(&mut self) -> &mut bool;

    /// One step for an iterator: nothing comes behind the first error.
    fn step(&mut self) -> Option<Result<Self::Item, Error>> {
        if *self.ended() {
            return None;
        }
        let next = self.advance().transpose();
        *self.ended() = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Items handed over together, and how many such batches may wait.
const BATCH: usize = 64;
const BATCHES: usize = 4;

/// Lets `produce` run ahead on a thread of its own while `consume` takes what it hands over, in order; what waits is
/// bounded. `produce` is told with `false` that nothing more is wanted. An error of `consume` counts before one of
/// `produce`, whose items it all saw before.
pub(crate) fn ahead<T: Send>(
    produce: impl FnOnce(&mut dyn FnMut(T) -> Result<bool, Error>) -> Result<(), Error> + Send,
    mut consume: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let (sender, receiver) = mpsc::sync_channel(BATCHES);
    std::thread::scope(|scope| {
        let reading = move || {
            let mut batch = Vec::with_capacity(BATCH);
            let produced = produce(&mut |item| {
                batch.push(item);
                let full = batch.len() == BATCH;
                Ok(!full || sender.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_ok())
            });
            // What came before an error counts. Nobody may want it any more.
            let _ = sender.send(batch);
            produced
        };
        let thread = std::thread::Builder::new()
            .name("log-ahead".into())
            .spawn_scoped(scope, reading)
            .map_err(|error| Error::io("starting a thread", std::path::Path::new("log-ahead"), error))?;
        let mut consumed = Ok(());
        while let (Ok(()), Ok(batch)) = (&consumed, receiver.recv()) {
            consumed = batch.into_iter().try_for_each(&mut consume);
        }
        drop(receiver);
        let produced = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        consumed.and(produced)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failed(what: &str) -> Error {
        Error::Store { doing: "testing", path: what.into(), what: what.to_owned() }
    }

    /// Runs up to `count` items of which `consume` fails at one, if any; returns what was taken and what was made.
    fn run(
        count: usize,
        end: Result<(), Error>,
        fail_at: Option<usize>,
    ) -> (Vec<usize>, usize, Option<String>) {
        let (mut taken, mut made) = (Vec::new(), 0);
        let result = ahead(
            |each| {
                for item in 0..count {
                    made += 1;
                    if !each(item)? {
                        return Ok(());
                    }
                }
                end
            },
            |item| {
                taken.push(item);
                if fail_at == Some(item) { Err(failed("consumer")) } else { Ok(()) }
            },
        );
        (taken, made, result.err().map(|error| error.to_string()))
    }

    #[test]
    fn everything_arrives_in_order_and_the_first_error_counts() {
        for count in [0, 1, BATCH - 1, BATCH, BATCH + 1, 10 * BATCH + 3] {
            let (taken, made, error) = run(count, Ok(()), None);
            assert_eq!((taken, made, error), ((0..count).collect(), count, None));
            let (taken, _, error) = run(count, Err(failed("producer")), None);
            assert_eq!(taken.len(), count, "what came before the error");
            assert!(error.unwrap().contains("producer"));
        }
        let (taken, made, error) = run(1_000_000, Err(failed("producer")), Some(70));
        assert_eq!(taken, (0..=70).collect::<Vec<_>>());
        assert!(made < 1_000_000, "it was told to stop, at {made}");
        assert!(error.unwrap().contains("consumer"));
    }

    #[test]
    #[should_panic(expected = "from the thread")]
    fn a_panic_is_passed_on() {
        let _ = ahead(|_: &mut dyn FnMut(()) -> Result<bool, Error>| panic!("from the thread"), |()| Ok(()));
    }
}
