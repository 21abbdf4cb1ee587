//! `supervised --config payments.yaml`: one ready line, then it runs until SIGTERM or SIGINT.
//!
//! The configuration is the crate's own: `children` name one of the factories below in `factory_key`, `dashboard` says
//! where the socket is. A fault is a file in the folder given with `--faults`, as with the simulation in Python:
//! `block` makes every steady child hold its worker thread until the file is gone, `panic-CHILD` makes one panic once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rust_supervisor::config::loader::load_config_from_yaml_file;
use rust_supervisor::error::types::{SupervisorError, TaskFailure, TaskFailureKind};
use rust_supervisor::runtime::supervisor::Supervisor;
use rust_supervisor::spec::child::TaskKind;
use rust_supervisor::task::context::TaskContext;
use rust_supervisor::task::factory::{TaskFactory, TaskResult, service_fn};
use rust_supervisor::task::factory_registry::{TaskFactoryDescriptor, TaskFactoryRegistry};
use tokio::signal::unix::{SignalKind, signal};

/// How often a working child looks at its cancellation token and beats.
const BEAT: Duration = Duration::from_millis(20);

/// As many worker threads as there are steady children: when both block, nothing of the process moves.
const WORKER_THREADS: usize = 2;

#[derive(Parser)]
#[command(
    about = "A process with children under supervision, driven through dashboard-ipc.v1 on a Unix socket."
)]
struct Options {
    /// The crate's YAML configuration
    #[arg(long)]
    config: PathBuf,
    /// Seconds that an attempt of a crash_loop child lives
    #[arg(long, default_value_t = 3.0)]
    crash_period: f64,
    /// Seconds that a slow_to_stop child needs to stop
    #[arg(long, default_value_t = 1.5)]
    stop_takes: f64,
    /// Folder whose files switch faults on
    #[arg(long)]
    faults: Option<PathBuf>,
}

/// What a steady child does between two beats when a fault is on.
fn suffer(faults: Option<&Path>, child: &str) {
    let Some(folder) = faults else { return };
    while folder.join("block").exists() {
        std::thread::sleep(BEAT);
    }
    if std::fs::remove_file(folder.join(format!("panic-{child}"))).is_ok() {
        panic!("{child}: the ledger is not balanced");
    }
}

async fn steady(context: TaskContext, faults: Option<PathBuf>) -> TaskResult {
    let child = context.child_id.to_string();
    while !context.is_cancelled() {
        context.heartbeat();
        tokio::time::sleep(BEAT).await;
        suffer(faults.as_deref(), &child);
    }
    TaskResult::Cancelled
}

async fn crash_loop(context: TaskContext, lives: Duration) -> TaskResult {
    let born = Instant::now();
    while born.elapsed() < lives {
        if context.is_cancelled() {
            return TaskResult::Cancelled;
        }
        context.heartbeat();
        tokio::time::sleep(BEAT.min(lives)).await;
    }
    // What an application would log: the supervisor itself writes nothing of it.
    eprintln!(
        "child {} attempt {} ended: failed: invoice 4711 has no currency",
        context.child_id, context.child_start_count.value
    );
    TaskResult::Failed(TaskFailure::new(
        TaskFailureKind::Error,
        "invoice",
        format!("{}: invoice 4711 has no currency", context.child_id),
    ))
}

async fn slow_to_stop(context: TaskContext, takes: Duration) -> TaskResult {
    while !context.is_cancelled() {
        context.heartbeat();
        tokio::time::sleep(BEAT).await;
    }
    tokio::time::sleep(takes).await;
    TaskResult::Cancelled
}

async fn ignores_cancellation(context: TaskContext) -> TaskResult {
    loop {
        context.heartbeat();
        tokio::time::sleep(BEAT).await;
    }
}

fn factories(options: &Options) -> Result<TaskFactoryRegistry, SupervisorError> {
    let lives = Duration::from_secs_f64(options.crash_period);
    let takes = Duration::from_secs_f64(options.stop_takes);
    let faults = options.faults.clone();
    let known: [(&str, &str, Arc<dyn TaskFactory>); 4] = [
        (
            "steady",
            "Runs and stops when asked.",
            Arc::new(service_fn(move |context| steady(context, faults.clone()))),
        ),
        (
            "crash_loop",
            "Fails again and again.",
            Arc::new(service_fn(move |context| crash_loop(context, lives))),
        ),
        (
            "slow_to_stop",
            "Takes its time to stop.",
            Arc::new(service_fn(move |context| slow_to_stop(context, takes))),
        ),
        (
            "ignores_cancellation",
            "Does not stop when asked.",
            Arc::new(service_fn(ignores_cancellation)),
        ),
    ];
    let mut registry = TaskFactoryRegistry::new();
    for (key, what, factory) in known {
        registry.register(TaskFactoryDescriptor::new(
            key,
            key,
            what,
            [TaskKind::AsyncWorker],
            factory,
        ))?;
    }
    Ok(registry)
}

async fn serve(options: Options) -> Result<(), SupervisorError> {
    let state = load_config_from_yaml_file(&options.config)?;
    let socket = state
        .dashboard
        .as_ref()
        .and_then(|dashboard| dashboard.path.clone())
        .unwrap_or_default();
    let handle =
        Supervisor::start_from_config_state_with_factories(state, factories(&options)?).await?;
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be waited for");
    println!(
        "ready pid={} socket={}",
        std::process::id(),
        socket.display()
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    handle.shutdown_tree("supervised", "signal").await?;
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let ended = runtime.block_on(serve(options));
    // A child that ignores its cancellation must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
