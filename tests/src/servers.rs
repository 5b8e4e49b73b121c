//! Real servers in a namespace; each ends with its guard.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Namespace, Process};
use tempfile::TempDir;

use crate::wait::eventually;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(10);

/// `iperf3 --server` at a port of all addresses, both families.
///
/// # Errors
/// If it cannot be started, or does not listen.
pub fn iperf3(namespace: &Namespace, port: u16) -> Result<Process> {
    let mut command = namespace.command("iperf3");
    command
        .args(["--server", "--port", &port.to_string()])
        .stdout(std::process::Stdio::null());
    let server = Process::start(&mut command)?;
    // It takes a connection without a word for a test that failed, so the table is asked.
    eventually("iperf3 listens", START, || {
        listens(namespace, port).then_some(())
    })?;
    Ok(server)
}

/// Whether a TCP socket listens at a port.
fn listens(namespace: &Namespace, port: u16) -> bool {
    let filter = format!("sport = :{port}");
    namespace
        .run(["ss", "-Hltn", &filter])
        .is_ok_and(|sockets| !sockets.is_empty())
}

/// nginx, whose page `/` is a line with its name. `/client` is one with the client's address, and what
/// is put below `/upload/` becomes a file.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    folder: TempDir,
}

impl Nginx {
    /// Starts it at a port of all addresses, both families.
    ///
    /// # Errors
    /// If it cannot be started, or does not answer.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for nginx")?;
        fs::write(folder.path().join("name"), format!("{name}\n"))?;
        let config = folder.path().join("nginx.conf");
        fs::write(&config, nginx_config(folder.path(), port))?;
        let mut command = namespace.command("nginx");
        command.arg("-c").arg(&config).arg("-p").arg(folder.path());
        let process = Process::start(&mut command)?;
        wait_for_tcp(
            namespace,
            SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
        )?;
        Ok(Self { process, folder })
    }

    /// The folder of its pages: what is written there can be fetched.
    #[must_use]
    pub fn pages(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it at once: its connections are reset, and new ones refused.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }
}

/// One process, so that killing it kills the server. As root: pages are in a folder of root's.
fn nginx_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\n\
         master_process off;\n\
         user root;\n\
         pid {folder}/pid;\n\
         error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  \
           access_log off;\n  \
           client_body_temp_path {folder}/body;\n  \
           client_max_body_size 0;\n  \
           keepalive_requests 1000000;\n  \
           server {{\n    \
             listen {port};\n    \
             listen [::]:{port};\n    \
             root {folder};\n    \
             location = / {{ try_files /name =404; }}\n    \
             location = /client {{ return 200 \"$remote_addr\\n\"; }}\n    \
             location /upload/ {{ dav_methods PUT; create_full_put_path on; }}\n  \
           }}\n\
         }}\n"
    )
}

/// Waits until something accepts connections at `address`, asked from within the namespace.
///
/// # Errors
/// If nothing does.
pub fn wait_for_tcp(namespace: &Namespace, address: SocketAddr) -> Result<()> {
    eventually(&format!("{address} accepts connections"), START, || {
        let connected = namespace.enter(|| TcpStream::connect_timeout(&address, START));
        connected.ok()?.ok().map(drop)
    })
}

/// A UDP server that answers each datagram with its name, a space, and what it got.
#[derive(Debug)]
pub struct UdpNames {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpNames {
    /// Starts it at an address of the namespace.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn start(namespace: &Namespace, name: &str, address: SocketAddr) -> Result<Self> {
        let socket = namespace
            .enter(|| UdpSocket::bind(address))?
            .with_context(|| format!("cannot bind {address}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (name.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                answer(&socket, &name);
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

/// Answers one datagram. Errors are the client's business: it gets no answer.
fn answer(socket: &UdpSocket, name: &str) {
    let mut buffer = vec![0; 1 << 16];
    let Ok((length, client)) = socket.recv_from(&mut buffer) else {
        return;
    };
    let question = buffer.get(..length).unwrap_or_default();
    let answer = [name.as_bytes(), b" ", question].concat();
    socket
        .send_to(&answer, client)
        .map(drop)
        .unwrap_or_default();
}

impl Drop for UdpNames {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}
