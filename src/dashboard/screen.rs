//! The terminal: set up and always restored, drawn on changes, and its keys.

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

use super::input::{InputError, InputFeed};
use super::item::DashboardItem;
use super::keys::action;
use super::state::{ActionOutcome, DashboardState, LinkState};
use super::view;
use crate::model::{Timestamp, limits};

/// Maximum number of items processed between two checks for keys.
const BATCH: usize = 1024;
/// Capacity of the key queue; no one types faster.
const KEYS_MAX: usize = 64;
/// Interval at which the key thread checks for shutdown.
const KEY_POLL: Duration = Duration::from_millis(500);
/// Redraw interval, so that ages on the screen are current.
const TICK: Duration = Duration::from_secs(1);
/// Pause after which an ended run is considered complete.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// An error that ends the full-screen view.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// A terminal I/O error.
    #[error("cannot use the terminal: {0}")]
    Terminal(#[source] io::Error),
    /// A panic in this process.
    #[error("tasktail crashed; see the message above")]
    Panic,
    /// An error of the input.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// The terminal in full-screen mode. Restored on drop; on a panic in any thread, before the panic
/// message is printed.
struct Screen {
    terminal: Terminal<CrosstermBackend<FrameBuffer>>,
    frame: FrameBuffer,
    /// A panic has restored the terminal, so drawing must stop.
    panicked: Arc<AtomicBool>,
}

impl Screen {
    fn enter() -> Result<Self, ScreenError> {
        if anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never {
            ratatui::crossterm::style::force_color_output(false);
        }
        let frame = FrameBuffer::default();
        // Only raw mode, the alternate screen and the panic hook of `try_init` are used: its
        // terminal writes to stdout in pieces.
        let terminal = ratatui::try_init().and_then(|_| Terminal::new(CrosstermBackend::new(frame.clone())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, frame, panicked: watch_panics() }),
            Err(error) => {
                ratatui::try_restore().ok();
                Err(ScreenError::Terminal(error))
            }
        }
    }

    fn draw(&mut self, state: &mut DashboardState) -> Result<(), ScreenError> {
        self.terminal.draw(|frame| view::draw(frame, state, Timestamp::now())).map_err(ScreenError::Terminal)?;
        let frame = self.frame.take().map_err(ScreenError::Terminal)?;
        let mut stdout = io::stdout().lock();
        // Checked under the lock, which the hook needs to restore the terminal.
        if self.panicked.load(Ordering::SeqCst) {
            return Err(ScreenError::Panic);
        }
        stdout.write_all(&frame).and_then(|()| stdout.flush()).map_err(ScreenError::Terminal)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a closed terminal.
        execute!(io::stdout(), cursor::Show).ok();
        // A second restore would move the cursor above the panic message.
        if !self.panicked.load(Ordering::SeqCst) {
            ratatui::try_restore().ok();
        }
    }
}

/// A buffer for one complete frame. Stdout alone would flush each KiB, and an empty screen after a
/// resize.
#[derive(Clone, Debug, Default)]
struct FrameBuffer(Arc<Mutex<Vec<u8>>>);

impl FrameBuffer {
    /// Returns the frame and empties the buffer. The frame is marked for synchronized output, which
    /// other terminals ignore.
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

/// Installs a panic hook that sets the returned flag, and then runs ratatui's hook, which restores
/// the terminal.
fn watch_panics() -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let (flag, hook) = (Arc::clone(&panicked), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        flag.store(true, Ordering::SeqCst);
        hook(info);
    }));
    panicked
}

/// The signals that request an exit.
struct ExitSignals([Signal; 3]);

impl ExitSignals {
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

/// Shows the feed in full screen until the user quits, or with `exit` until the run is complete.
/// Returns the final state.
///
/// # Errors The terminal or the input failed; the terminal is restored first.
pub async fn show(mut feed: InputFeed, mut state: DashboardState, exit: bool) -> Result<DashboardState, ScreenError> {
    let mut signals = ExitSignals::listen()?;
    let mut screen = Screen::enter()?;
    let mut keys = watch_keys();
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_open = true;
    let mut redraw = RedrawTimer::new();
    loop {
        if redraw.is_due() {
            screen.draw(&mut state)?;
            redraw.drawn();
        }
        if exit && is_over(&state, redraw.silent()) {
            break;
        }
        tokio::select! {
            biased;
            () = signals.any() => break,
            key = keys.recv() => match key {
                Some(Ok(key)) => {
                    let Some(action) = action(&key, state.is_typing()) else { continue };
                    if state.apply_action(action) == ActionOutcome::Quit {
                        break;
                    }
                    redraw.now();
                }
                Some(Err(error)) => return Err(ScreenError::Terminal(error)),
                None => break,
            },
            count = feed.recv(&mut batch, BATCH), if is_open => {
                is_open = count > 0;
                // A failed reader exits at once with its error; a finished one leaves its last
                // screen.
                if !is_open && state.link() != &LinkState::Ended {
                    break;
                }
                apply_all(&mut state, &mut batch);
                redraw.changed();
            }
            () = sleep_until(redraw.next()) => redraw.now(),
        }
    }
    drop(screen);
    if is_open {
        return Ok(state);
    }
    feed.end().await?;
    Ok(state)
}

pub(super) fn apply_all(state: &mut DashboardState, batch: &mut Vec<DashboardItem>) {
    let now = Timestamp::now();
    for item in batch.drain(..) {
        state.apply(item, now);
    }
}

/// Reports whether nothing more is expected: the input has ended, or the run has and is idle.
pub(super) fn is_over(state: &DashboardState, silent: Duration) -> bool {
    state.link() == &LinkState::Ended || silent >= IDLE_TIMEOUT && state.run().is_some_and(|run| run.status.is_end())
}

/// The redraw schedule: on changes, at most once per [`limits::DASHBOARD_REFRESH`], and at least
/// once per [`TICK`].
struct RedrawTimer {
    drawn: Option<Instant>,
    changed_at: Instant,
    wanted: bool,
    at_once: bool,
}

impl RedrawTimer {
    fn new() -> Self {
        Self { drawn: None, changed_at: Instant::now(), wanted: true, at_once: true }
    }

    /// Schedules a redraw after new items.
    fn changed(&mut self) {
        self.changed_at = Instant::now();
        self.wanted = true;
    }

    /// Schedules an immediate redraw.
    fn now(&mut self) {
        (self.wanted, self.at_once) = (true, true);
    }

    fn is_due(&self) -> bool {
        let rested = self.drawn.is_none_or(|drawn| drawn.elapsed() >= limits::DASHBOARD_REFRESH);
        self.wanted && (self.at_once || rested)
    }

    fn drawn(&mut self) {
        *self = Self { drawn: Some(Instant::now()), changed_at: self.changed_at, wanted: false, at_once: false };
    }

    fn next(&self) -> Instant {
        let after = if self.wanted { limits::DASHBOARD_REFRESH } else { TICK };
        self.drawn.map_or_else(Instant::now, |drawn| drawn + after)
    }

    fn silent(&self) -> Duration {
        self.changed_at.elapsed()
    }
}

/// Starts a thread that reads keys from stdin if it is a terminal, else from `/dev/tty`. The thread
/// ends once the receiver is dropped.
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
