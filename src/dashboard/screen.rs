//! The terminal: taken over and always given back, drawn when something came, and its keys.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::{cursor, event, execute, queue, terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::input::{Feed, InputError};
use super::item::Item;
use super::keys::action;
use super::state::{Ending, Link, State};
use super::view;
use crate::model::{Timestamp, limits};

/// Items taken between two looks at the keys.
const BATCH: usize = 1024;
/// Keys that may wait; a person does not type faster.
const KEYS_MAX: usize = 64;
/// How often the thread that waits for keys looks whether it is still wanted.
const KEY_POLL: Duration = Duration::from_millis(500);
/// Ages on the screen are told anew this often.
const TICK: Duration = Duration::from_secs(1);
/// A run that has ended and is silent this long is over.
const SETTLED: Duration = Duration::from_secs(3);

/// Why there is no full screen any more.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The terminal fails.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
    /// Something in this process broke down.
    #[error("tasktail broke down; the words above say where")]
    Panic,
    /// The input fails.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// The terminal while it is ours. Given back when this is dropped; on a panic, in whatever thread,
/// before its words are printed.
struct Screen {
    terminal: Terminal<CrosstermBackend<FrameBuffer>>,
    frame: FrameBuffer,
    /// A panic has given the terminal back: not to be drawn on any more.
    panicked: Arc<AtomicBool>,
}

impl Screen {
    fn take() -> Result<Self, ScreenError> {
        if anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never {
            ratatui::crossterm::style::force_color_output(false);
        }
        let frame = FrameBuffer::default();
        // The terminal that this gives writes to stdout in pieces; only its raw mode, its alternate
        // screen and its hook for panics are wanted.
        let terminal = ratatui::try_init().and_then(|_| Terminal::new(CrosstermBackend::new(frame.clone())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, frame, panicked: watch_panics() }),
            Err(error) => {
                ratatui::try_restore().ok();
                Err(ScreenError::Terminal(error))
            }
        }
    }

    fn draw(&mut self, state: &mut State) -> Result<(), ScreenError> {
        self.terminal.draw(|frame| view::draw(frame, state, Timestamp::now())).map_err(ScreenError::Terminal)?;
        let frame = self.frame.take().map_err(ScreenError::Terminal)?;
        let mut stdout = io::stdout().lock();
        // Looked at under the lock: the hook needs it to give the terminal back.
        if self.panicked.load(Ordering::SeqCst) {
            return Err(ScreenError::Panic);
        }
        stdout.write_all(&frame).and_then(|()| stdout.flush()).map_err(ScreenError::Terminal)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        execute!(io::stdout(), cursor::Show).ok();
        // Given back twice, the cursor would jump to before the panic's words.
        if !self.panicked.load(Ordering::SeqCst) {
            ratatui::try_restore().ok();
        }
    }
}

/// The bytes of a frame until all of it is drawn. Stdout by itself would pass on each KiB of them, and after
/// a change of size an empty screen first.
#[derive(Clone, Debug, Default)]
struct FrameBuffer(Arc<Mutex<Vec<u8>>>);

impl FrameBuffer {
    /// Returns the frame, marked as one that the terminal is to show as a whole (synchronized output, which
    /// a terminal that does not know it ignores). The buffer is empty then.
    fn take(&self) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        queue!(frame, terminal::BeginSynchronizedUpdate)?;
        frame.append(&mut self.0.lock());
        queue!(frame, terminal::EndSynchronizedUpdate)?;
        Ok(frame)
    }
}

impl Write for FrameBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: ratatui flushes in the middle of a frame.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ratatui's hook gives the terminal back; whoever draws has to know of it.
fn watch_panics() -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let (flag, hook) = (Arc::clone(&panicked), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        flag.store(true, Ordering::SeqCst);
        hook(info);
    }));
    panicked
}

/// The signals that ask for an end.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self, ScreenError> {
        let listen = |kind| signal(kind).map_err(ScreenError::Terminal);
        Ok(Self([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Shows the feed on the whole screen until the person leaves, or with `exit` until it is over.
/// Gives the state as it was last.
///
/// # Errors
/// The terminal or the input fails; the terminal is given back first.
pub async fn show(mut feed: Feed, mut state: State, exit: bool) -> Result<State, ScreenError> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::take()?;
    let mut keys = watch_keys();
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_open = true;
    let mut pace = Pace::new();
    loop {
        if pace.is_due() {
            screen.draw(&mut state)?;
            pace.drawn();
        }
        if exit && is_over(&state, pace.silent()) {
            break;
        }
        tokio::select! {
            biased;
            () = signals.any() => break,
            key = keys.recv() => match key {
                Some(Ok(key)) => {
                    let Some(action) = action(&key, state.is_typing()) else { continue };
                    if state.act(action) == Ending::Quit {
                        break;
                    }
                    pace.now();
                }
                Some(Err(error)) => return Err(ScreenError::Terminal(error)),
                None => break,
            },
            count = feed.take(&mut batch, BATCH), if is_open => {
                is_open = count > 0;
                // A reader that failed says why at once; one that is done leaves its last screen.
                if !is_open && state.link() != &Link::Ended {
                    break;
                }
                take(&mut state, &mut batch);
                pace.came();
            }
            () = sleep_until(pace.next()) => pace.now(),
        }
    }
    drop(screen);
    if is_open {
        return Ok(state);
    }
    feed.end().await?;
    Ok(state)
}

pub(super) fn take(state: &mut State, batch: &mut Vec<Item>) {
    let now = Timestamp::now();
    for item in batch.drain(..) {
        state.take(item, now);
    }
}

/// Nothing more is to be expected: the input has ended, or the run has and is silent.
pub(super) fn is_over(state: &State, silent: Duration) -> bool {
    state.link() == &Link::Ended || silent >= SETTLED && state.run().is_some_and(|run| run.status.is_end())
}

/// When to draw: at once, but not more often than [`limits::DASHBOARD_REFRESH`], and once a [`TICK`].
struct Pace {
    drawn: Option<Instant>,
    came: Instant,
    wanted: bool,
    at_once: bool,
}

impl Pace {
    fn new() -> Self {
        Self { drawn: None, came: Instant::now(), wanted: true, at_once: true }
    }

    /// Something came.
    fn came(&mut self) {
        self.came = Instant::now();
        self.wanted = true;
    }

    /// A person waits for it, or it is time.
    fn now(&mut self) {
        (self.wanted, self.at_once) = (true, true);
    }

    fn is_due(&self) -> bool {
        let rested = self.drawn.is_none_or(|drawn| drawn.elapsed() >= limits::DASHBOARD_REFRESH);
        self.wanted && (self.at_once || rested)
    }

    fn drawn(&mut self) {
        *self = Self { drawn: Some(Instant::now()), came: self.came, wanted: false, at_once: false };
    }

    fn next(&self) -> Instant {
        let after = if self.wanted { limits::DASHBOARD_REFRESH } else { TICK };
        self.drawn.map_or_else(Instant::now, |drawn| drawn + after)
    }

    fn silent(&self) -> Duration {
        self.came.elapsed()
    }
}

/// Keys come from stdin if it is a terminal, else from `/dev/tty`. They are waited for in a thread,
/// which ends by itself when nobody listens.
fn watch_keys() -> mpsc::Receiver<io::Result<event::Event>> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let next = match event::poll(KEY_POLL) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let failed = next.is_err();
            if sender.blocking_send(next).is_err() || failed {
                return;
            }
        }
    });
    keys
}
