//! Where access records go.
//!
//! A connection formats its own line and hands it to one writer thread over a bounded queue:
//! a slow disk or a stalled pipe never holds up the data path. When the queue is full, records
//! are lost, counted and reported, which is better than a proxy that stops.

use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{Record, line, request::RequestRecord};
use crate::config::{Log, RecordFormat};

/// Records that may wait for the writer: a few MiB.
const QUEUE: usize = 8192;

/// The writer joins waiting records into writes of about this size.
const BATCH: usize = 64 * 1024;

/// A cheap handle to the one writer of access records.
#[derive(Clone)]
pub struct RecordSink(Arc<Sink>);

enum Sink {
    Off,
    Memory(RecordFormat, Mutex<Vec<String>>),
    Writer {
        format: RecordFormat,
        queue: SyncSender<Vec<u8>>,
        state: Arc<State>,
    },
}

/// How long the writer rests after each write, but for who waits for it: while it does, a record
/// costs the data path neither a system call nor, on another CPU, a thread that wakes up.
const REST: Duration = Duration::from_millis(10);

/// What the handles and the writer thread share.
#[derive(Default)]
struct State {
    /// Records taken into the queue so far.
    queued: AtomicU64,
    done: Mutex<Done>,
    progress: Condvar,
    /// Ends the writer's rest.
    awaited: Condvar,
    lost: AtomicU64,
    loss_reported: AtomicBool,
    /// The file, for opening it again; `None` is a stream, which cannot be.
    path: Option<PathBuf>,
    /// A file that was opened again and that the writer has not taken yet.
    reopened: Mutex<Option<fs::File>>,
}

#[derive(Default)]
struct Done {
    /// Records that left the queue so far, written or lost.
    records: u64,
    /// How many wait for more to leave it.
    waiting: usize,
}

impl RecordSink {
    /// What `[log]` says.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn from_config(log: &Log) -> io::Result<Self> {
        match (&log.access_file, log.access) {
            (_, RecordFormat::Off) => Ok(Self::off()),
            (Some(path), format) => Self::file(path, format),
            (None, format) => Self::stdout(format),
        }
    }

    /// Standard output.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn stdout(format: RecordFormat) -> io::Result<Self> {
        Self::writer(io::stdout(), None, format)
    }

    /// Standard error.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn stderr(format: RecordFormat) -> io::Result<Self> {
        Self::writer(io::stderr(), None, format)
    }

    /// Appends to a file, which is created 0640 if it does not exist.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn file(path: &Path, format: RecordFormat) -> io::Result<Self> {
        Self::writer(open(path)?, Some(path.into()), format)
    }

    /// Drops every record.
    pub fn off() -> Self {
        Self(Arc::new(Sink::Off))
    }

    /// Keeps records, without bound: for tests.
    pub fn memory(format: RecordFormat) -> Self {
        Self(Arc::new(Sink::Memory(format, Mutex::default())))
    }

    fn writer(
        output: impl Write + Send + 'static,
        path: Option<PathBuf>,
        format: RecordFormat,
    ) -> io::Result<Self> {
        if format == RecordFormat::Off {
            return Ok(Self::off());
        }
        let (queue, records) = sync_channel(QUEUE);
        let state = Arc::new(State {
            path,
            ..State::default()
        });
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("access-record".into())
            .spawn(move || write_all(Box::new(output), &records, &shared))?;
        Ok(Self(Arc::new(Sink::Writer {
            format,
            queue,
            state,
        })))
    }

    /// Writes one record: formats it here and never waits.
    pub fn write(&self, record: &Record) {
        self.write_line(|format| line::format(record, format));
    }

    /// The same for that of a request.
    pub fn write_request(&self, record: &RequestRecord) {
        self.write_line(|format| record.line(format));
    }

    fn write_line(&self, line: impl FnOnce(RecordFormat) -> Vec<u8>) {
        match &*self.0 {
            Sink::Off => {}
            Sink::Memory(format, lines) => {
                let line = line(*format);
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lock().push(text);
            }
            Sink::Writer {
                format,
                queue,
                state,
            } => match queue.try_send(line(*format)) {
                Ok(()) => {
                    state.queued.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => state.lose(1, "the writer does not keep up"),
            },
        }
    }

    /// Records that could not be written so far; `status` shows it.
    pub fn lost(&self) -> u64 {
        match &*self.0 {
            Sink::Writer { state, .. } => state.lost.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// The lines so far, of a sink made by [`RecordSink::memory`]; none of any other.
    pub fn lines(&self) -> Vec<String> {
        match &*self.0 {
            Sink::Memory(_, lines) => lines.lock().clone(),
            _ => Vec::new(),
        }
    }

    /// Waits until everything that was written before this call has reached its file, and
    /// blocks the thread for it, at most for `within`. Whether it did.
    pub fn flush(&self, within: Duration) -> bool {
        let Sink::Writer { state, .. } = &*self.0 else {
            return true;
        };
        let deadline = Instant::now() + within;
        let target = state.queued.load(Ordering::Relaxed);
        let mut done = state.done.lock();
        done.waiting += 1;
        state.awaited.notify_one();
        while done.records < target {
            if state.progress.wait_until(&mut done, deadline).timed_out() {
                break;
            }
        }
        done.waiting -= 1;
        done.records >= target
    }

    /// Opens the file again under its name, as log rotation needs it; a stream goes on as it
    /// is. Records still in the queue go to the new file.
    ///
    /// # Errors
    /// The file cannot be opened; the old one is used on.
    pub fn reopen(&self) -> io::Result<()> {
        if let Sink::Writer { state, .. } = &*self.0
            && let Some(path) = &state.path
        {
            *state.reopened.lock() = Some(open(path)?);
        }
        Ok(())
    }
}

impl State {
    /// Notes what has left the queue, and rests.
    fn finish(&self, records: u64) {
        let mut done = self.done.lock();
        done.records += records;
        self.progress.notify_all();
        if done.waiting == 0 {
            self.awaited.wait_for(&mut done, REST);
        }
    }

    fn lose(&self, records: u64, why: &str) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        if !self.loss_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "access records are being lost: {why}; `status` counts them from here on"
            );
        }
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// The writer thread; ends when the last handle is gone and the queue is empty.
fn write_all(mut output: Box<dyn Write + Send>, records: &Receiver<Vec<u8>>, state: &State) {
    let mut batch = Vec::with_capacity(BATCH);
    // A write that failed may have left half a line behind.
    let mut torn = false;
    while let Ok(first) = records.recv() {
        if torn {
            batch.push(b'\n');
        }
        batch.extend_from_slice(&first);
        let mut count = 1;
        while batch.len() < BATCH
            && let Ok(next) = records.try_recv()
        {
            batch.extend_from_slice(&next);
            count += 1;
        }
        if let Some(file) = state.reopened.lock().take() {
            output = Box::new(file);
        }
        let written = output.write_all(&batch).and_then(|()| output.flush());
        torn = written.is_err();
        if let Err(error) = written {
            state.lose(count, &format!("writing failed: {error}"));
        }
        batch.clear();
        state.finish(count);
    }
}

impl fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Sink::Off => "RecordSink(off)",
            Sink::Memory(..) => "RecordSink(memory)",
            Sink::Writer { .. } => "RecordSink(writer)",
        })
    }
}

#[cfg(test)]
mod tests;
