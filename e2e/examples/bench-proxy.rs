//! CPU time per proxied request: the load balancer beside whatever other proxies are installed.
//!
//! Each proxy runs one worker on core 0; the origin and the load generator share core 1 (where there are two). The
//! request is a GET, the response 128 bytes, over kept HTTP/1.1 connections. What counts is the CPU time of the proxy's
//! processes per request, from `/proc`: it hardly depends on what else the machine does, unlike requests per second.
//! Our own proxy does all it does in production: it locates clients, checks health, counts, and writes the access log.
//!
//! `bench-proxy [--connections 32] [--seconds 5] [--rounds 3] [--only NAME]`; `make bench` runs it.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const BODY: usize = 128;
const WARM_UP: Duration = Duration::from_secs(2);
const READY: Duration = Duration::from_secs(15);
/// Clock ticks per second in `/proc/PID/stat`, 100 on every Linux.
const TICKS: f64 = 100.0;

#[derive(Debug, Clone)]
struct Options {
    connections: usize,
    seconds: u64,
    rounds: usize,
    only: Option<String>,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rate: f64,
    micros: f64,
    p50: Duration,
    p99: Duration,
}

/// A process that is killed when it is no longer needed.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.first().is_some_and(|first| first == "origin") {
        return Ok(runtime.block_on(origin())?);
    }
    let value = |name: &str| {
        arguments
            .iter()
            .position(|argument| argument == name)
            .and_then(|at| arguments.get(at + 1))
    };
    let number = |name: &str, otherwise: u64| value(name).map_or(Ok(otherwise), |text| text.parse());
    let options = Options {
        connections: usize::try_from(number("--connections", 32)?)?,
        seconds: number("--seconds", 5)?,
        rounds: usize::try_from(number("--rounds", 3)?)?,
        only: value("--only").cloned(),
    };
    pin_self();
    runtime.block_on(run(&options))
}

/// Moves this process to core 1, if there is one.
fn pin_self() {
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset")
        .args(["-cp", "1", &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn on_core(core: &str, program: &Path) -> Command {
    let two_cores = std::thread::available_parallelism().is_ok() && Path::new("/sys/devices/system/cpu/cpu1").exists();
    let has_taskset = ["/usr/bin/taskset", "/bin/taskset"]
        .iter()
        .any(|path| Path::new(path).exists());
    if two_cores && has_taskset {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let origin_address = free_address()?;
    let mut origin = on_core("1", &std::env::current_exe()?);
    let _origin = Proxy(
        origin
            .arg("origin")
            .env("BENCH_ADDRESS", origin_address.to_string())
            .spawn()?,
    );
    ready(origin_address).await?;

    println!(
        "{:<12} {:>12} {:>14} {:>10} {:>10}",
        "proxy", "requests/s", "CPU us/request", "p50 us", "p99 us"
    );
    for name in ["direct", "kubefed lb", "haproxy", "nginx"] {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let address = free_address()?;
        let started = match name {
            "direct" => None,
            "kubefed lb" => Some(start_lb(dir.path(), address, origin_address)?),
            "haproxy" => start_haproxy(dir.path(), address, origin_address)?,
            _ => start_nginx(dir.path(), address, origin_address)?,
        };
        if started.is_none() && name != "direct" {
            println!("{name:<12} not installed");
            continue;
        }
        let target = if started.is_some() { address } else { origin_address };
        ready(target).await?;
        let sample = measure(options, target, started.as_ref().map(|proxy| proxy.0.id())).await?;
        let cpu = if started.is_some() {
            format!("{:.1}", sample.micros)
        } else {
            "-".to_owned()
        };
        println!(
            "{name:<12} {:>12.0} {cpu:>14} {:>10} {:>10}",
            sample.rate,
            sample.p50.as_micros(),
            sample.p99.as_micros()
        );
    }
    Ok(())
}

fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Waits until requests are answered with 200.
async fn ready(address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let asking = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(address).await
                && exchange(&mut stream, &mut Vec::new()).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(READY, asking)
        .await
        .map_err(|_| format!("{address} does not answer"))?;
    Ok(())
}

const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// One request and its whole response.
async fn exchange(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(REQUEST).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && buffer.len() >= end + 4 + BODY
        {
            return if buffer.starts_with(b"HTTP/1.1 200") {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        }
    }
}

async fn measure(
    options: &Options,
    address: SocketAddr,
    pid: Option<u32>,
) -> Result<Sample, Box<dyn std::error::Error>> {
    load(options.connections, address, WARM_UP).await?;
    let mut samples = Vec::new();
    for _ in 0..options.rounds.max(1) {
        let cpu = pid.map(cpu_seconds);
        let began = Instant::now();
        let mut latencies = load(options.connections, address, Duration::from_secs(options.seconds)).await?;
        let elapsed = began.elapsed().as_secs_f64();
        let spent = pid.map(cpu_seconds).unwrap_or_default() - cpu.unwrap_or_default();
        latencies.sort_unstable();
        let at =
            |part: f64| Duration::from_micros(u64::from(latencies[((latencies.len() - 1) as f64 * part) as usize]));
        let count = latencies.len() as f64;
        samples.push(Sample {
            rate: count / elapsed,
            micros: spent * 1e6 / count,
            p50: at(0.5),
            p99: at(0.99),
        });
    }
    samples.sort_by(|a, b| a.micros.total_cmp(&b.micros).then(a.rate.total_cmp(&b.rate)));
    Ok(samples[samples.len() / 2])
}

/// Closed loop over kept connections; latencies in microseconds.
async fn load(connections: usize, address: SocketAddr, length: Duration) -> io::Result<Vec<u32>> {
    let until = Instant::now() + length;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut latencies, mut buffer) = (Vec::new(), Vec::with_capacity(4096));
            while Instant::now() < until {
                let began = Instant::now();
                exchange(&mut stream, &mut buffer).await?;
                latencies.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            io::Result::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = clients.join_next().await {
        all.extend(done.map_err(io::Error::other)??);
    }
    Ok(all)
}

/// CPU time of a process and its children.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').collect())
        .unwrap_or_default();
    let ticks: f64 = fields
        .get(11..13)
        .into_iter()
        .flatten()
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let of_children: f64 = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(cpu_seconds)
        .sum();
    ticks / TICKS + of_children
}

/// Answers every request with the same 128 bytes.
async fn origin() -> io::Result<()> {
    let address = std::env::var("BENCH_ADDRESS").map_err(io::Error::other)?;
    let listener = TcpListener::bind(address).await?;
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nContent-Length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let response = response.clone();
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(4096);
            while stream.read_buf(&mut buffer).await? != 0 {
                if buffer.ends_with(b"\r\n\r\n") {
                    buffer.clear();
                    stream.write_all(response.as_bytes()).await?;
                }
            }
            io::Result::Ok(())
        });
    }
}

/// The released binary: examples lie one directory below it.
fn federation() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("federation"))
        .find(|path| path.exists());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "build the federation binary first"))
}

fn start_lb(dir: &Path, address: SocketAddr, origin: SocketAddr) -> io::Result<Proxy> {
    let meta = |name: &str| json!({"namespace": "default", "name": name});
    let mut slice_meta = meta("bench-here");
    slice_meta["labels"] = json!({"kubernetes.io/service-name": "bench", "federation.kubernetes.io/cluster": "here"});
    let objects = json!({
        "clusters": {"here": {"metadata": {"name": "here"}, "status": {"region": "europe-west1"}}},
        "services": {"default/bench": {"metadata": meta("bench"), "spec": {"ports": [{"name": "http", "port": 80}]}}},
        "slices": {"default/bench-here": {"metadata": slice_meta, "ports": [{"name": "http", "port": origin.port()}],
            "endpoints": [{"addresses": [origin.ip().to_string()]}]}},
        "ingresses": {"default/bench": {"metadata": meta("bench"), "spec": {"rules": [{"host": "bench.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "bench", "port": {"number": 80}}}}]}}]}}},
    });
    let file = dir.join("objects.json");
    std::fs::write(&file, objects.to_string())?;
    let mut command = on_core("0", &federation()?);
    command
        .args(["lb", "--workers=1", "--metrics-bind-address=127.0.0.1:0"])
        .arg(format!("--config-file={}", file.display()))
        .arg(format!("--http-bind-address={address}"))
        .arg(format!("--access-log={}", dir.join("access.log").display()))
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().map(Proxy)
}

fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
}

fn start_haproxy(dir: &Path, address: SocketAddr, origin: SocketAddr) -> io::Result<Option<Proxy>> {
    let Some(program) = installed("haproxy") else {
        return Ok(None);
    };
    let file = dir.join("haproxy.cfg");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 75s\n  timeout server 60s\n  \
         option forwardfor\n  http-reuse always\nfrontend in\n  bind {address}\n  acl bench hdr(host) -i bench.example\n  use_backend out if bench\n\
         backend out\n  server origin {origin} check\n"
    );
    std::fs::write(&file, config)?;
    let mut command = on_core("0", &program);
    command
        .arg("-db")
        .arg("-f")
        .arg(file)
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().map(|child| Some(Proxy(child)))
}

fn start_nginx(dir: &Path, address: SocketAddr, origin: SocketAddr) -> io::Result<Option<Proxy>> {
    let Some(program) = installed("nginx") else {
        return Ok(None);
    };
    let file = dir.join("nginx.conf");
    let config = format!(
        "worker_processes 1; daemon off; master_process off; pid {dir}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log {dir}/nginx.log; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};\n\
         upstream out {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {address}; server_name bench.example; keepalive_requests 1000000000; location / {{ proxy_pass http://out; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }} }}\n",
        dir = dir.display()
    );
    std::fs::write(&file, config)?;
    let mut command = on_core("0", &program);
    command.arg("-c").arg(file).stderr(Stdio::null()).stdout(Stdio::null());
    command.spawn().map(|child| Some(Proxy(child)))
}
