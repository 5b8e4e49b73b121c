//! Every kind against sockets of this process, with each way of failing; against real servers in `tests/e2e`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    path::Path,
    thread,
};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use super::*;
use crate::{
    config::model::{Dns, Exec, Expression, Http, Pattern, Talk, Word},
    net::sandbox,
    slot_table::Part,
};

const TIMEOUT: Duration = Duration::from_secs(2);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(50);

async fn answer(address: SocketAddr, check: Check, timeout: Duration) -> Answer {
    let asked = Asked {
        from: None,
        address,
        check: Arc::new(check),
        adviser: None,
        timeout,
    };
    Kinds::default().probe(&asked).await
}

/// What a backend says it is good for, and what its probe says.
async fn advice(address: SocketAddr, check: Check, adviser: Adviser) -> (Option<Advice>, Outcome) {
    let asked = Asked {
        from: None,
        address,
        check: Arc::new(check),
        adviser: Some(adviser),
        timeout: SHORT * 4,
    };
    let answer = Kinds::default().probe(&asked).await;
    (answer.advice, answer.outcome)
}

async fn outcome(address: SocketAddr, check: Check) -> Outcome {
    answer(address, check, TIMEOUT).await.outcome
}

fn tcp() -> Check {
    Check::default()
}

fn talk(send: Option<&str>, expect: Option<Pattern>) -> Talk {
    Talk {
        send: send.map(str::to_owned),
        expect,
    }
}

fn text(text: &str) -> Pattern {
    Pattern::Text(text.to_owned())
}

/// A server that reads once and says these words, on each of so many connections.
fn server(said: &'static [u8], connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            // It may have ended already.
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(said));
        }
    });
    address
}

#[tokio::test]
async fn a_listener_is_ok_and_a_closed_port_refuses() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(host).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = answer(address, tcp(), TIMEOUT).await;
        assert_eq!(answer.outcome, Outcome::Ok);
        assert!(answer.latency < TIMEOUT);

        drop(listener);
        assert_eq!(outcome(address, tcp()).await, Outcome::Refused);
    }
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // A queue of length 0 holds one connection; every further SYN is dropped.
    let _waiting = TcpStream::connect(address).await.unwrap();

    let answer = answer(address, tcp(), SHORT).await;
    assert_eq!(answer.outcome, Outcome::Timeout);
    assert!(answer.latency >= SHORT);
}

#[test]
fn an_address_without_route_is_unreachable() {
    sandbox::run(async || {
        for check in [tcp(), Check::Udp(talk(Some("ping"), None))] {
            let outcome = outcome("192.0.2.1:80".parse().unwrap(), check).await;
            assert_eq!(outcome, Outcome::Unreachable);
        }
    });
}

/// In a namespace of its own: a table that others change while it is read has a line twice now and then.
#[test]
fn a_probe_leaves_no_connection_behind() {
    sandbox::run(async || {
        sandbox::ip("link set lo up");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            assert_eq!(outcome(address, tcp()).await, Outcome::Ok);
        }
        let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let lines = table.lines().skip(1);
        let states: Vec<_> = lines.map(|line| line.split_whitespace().nth(3)).collect();
        assert_eq!(states, [Some("0A")], "only the listener");
    });
}

#[tokio::test]
async fn what_is_said_over_tcp_has_to_come() {
    let hello = || talk(Some("HELLO\r\n"), Some(text("250 ")));
    for (said, expected) in [
        (&b"220 x\r\n250 y\r\n"[..], Outcome::Ok),
        (b"220 x\r\n", Outcome::Unexpected),
        (b"", Outcome::Closed),
    ] {
        let heard = outcome(server(said, 1), Check::Tcp(hello())).await;
        assert_eq!(heard, expected, "{said:?}");
    }
    let banner = talk(
        None,
        Some(Pattern::Regex(Expression::new("^SSH-2").unwrap())),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = answer(address, Check::Tcp(banner), SHORT).await;
    assert_eq!(silent.outcome, Outcome::Timeout, "it accepts and hangs");
}

#[tokio::test]
async fn a_datagram_is_answered() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let ping = |expect| Check::Udp(talk(Some("ping"), expect));
    assert_eq!(
        answer(address, ping(None), SHORT).await.outcome,
        Outcome::Timeout
    );
    thread::spawn(move || {
        let mut bytes = [0; 16];
        loop {
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"ping");
            server.send_to(b"pong", from).unwrap();
        }
    });
    assert_eq!(outcome(address, ping(None)).await, Outcome::Ok);
    assert_eq!(
        outcome(address, ping(Some(text("pong")))).await,
        Outcome::Ok
    );
    assert_eq!(
        outcome(address, ping(Some(text("peng")))).await,
        Outcome::Unexpected
    );
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(outcome(nobody, ping(None)).await, Outcome::Refused);
}

fn http(body: Option<&str>) -> Check {
    Check::Http(Http {
        tls: None,
        method: "GET",
        path: "/".to_owned(),
        host: None,
        headers: Vec::new(),
        status: vec![(200, 299)],
        body: body.map(text),
    })
}

#[tokio::test]
async fn a_header_tells_what_a_backend_is_good_for() {
    let takes = |percent| Some(Advice::Takes(Part::of(percent)));
    for (said, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\nX-Load-Weight: 75%\r\n\r\n"[..],
            (takes(75), Outcome::Ok),
        ),
        (
            b"HTTP/1.1 200 OK\r\nx-load-weight: 0%\r\n\r\n",
            (takes(0), Outcome::Ok),
        ),
        (
            b"HTTP/1.1 200 OK\r\nX-Load-Weight: much\r\n\r\n",
            (Some(Advice::Invalid), Outcome::Ok),
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n",
            (Some(Advice::Invalid), Outcome::Ok),
        ),
        (
            b"HTTP/1.1 503 No\r\nX-Load-Weight: 75%\r\n\r\n",
            (None, Outcome::Status(503)),
        ),
    ] {
        let adviser = Adviser::Header("x-load-weight".to_owned());
        let heard = advice(server(said, 1), http(None), adviser).await;
        assert_eq!(heard, expected, "{}", String::from_utf8_lossy(said));
    }
}

#[tokio::test]
async fn an_agent_tells_what_a_backend_is_good_for_and_nothing_of_its_health() {
    let takes = |percent| Some(Advice::Takes(Part::of(percent)));
    for (said, expected) in [
        (&b"75%\n"[..], takes(75)),
        (b"ready 0%\r\nmore", takes(0)),
        (b"30%", takes(30)),
        (b"down\n", Some(Advice::Invalid)),
        (b"", Some(Advice::Invalid)),
        (b"\xff%\n", Some(Advice::Invalid)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = agent(said);
        let heard = advice(listener.local_addr().unwrap(), tcp(), Adviser::Agent(agent)).await;
        assert_eq!(
            heard,
            (expected, Outcome::Ok),
            "{}",
            String::from_utf8_lossy(said)
        );
    }
    let [listener, hangs] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let heard = advice(address, tcp(), Adviser::Agent(port(&hangs))).await;
    assert_eq!(heard, (Some(Advice::Invalid), Outcome::Ok), "it hangs");
    let closed = port(&hangs);
    drop(hangs);
    let heard = advice(address, tcp(), Adviser::Agent(closed)).await;
    assert_eq!(heard, (Some(Advice::Invalid), Outcome::Ok), "it refuses");
}

/// Says these words to whoever comes first; the port.
fn agent(said: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(said).unwrap();
    });
    port
}

#[tokio::test]
async fn a_server_that_speaks_otherwise_is_no_web_server() {
    for (said, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\nall is fine"[..], Outcome::Ok),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            Outcome::Ok,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nsorry", Outcome::Unexpected),
        (b"HTTP/1.1 503 No\r\n\r\nfine", Outcome::Status(503)),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfi",
            Outcome::Closed,
        ),
        (b"+OK POP3\r\n", Outcome::Malformed),
        (b"", Outcome::Closed),
    ] {
        let heard = outcome(server(said, 1), http(Some("fine"))).await;
        let shown = String::from_utf8_lossy(said);
        assert_eq!(heard, expected, "{shown}");
    }
}

#[tokio::test]
async fn an_answer_of_a_name_server_is_one() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 512];
        let (_, from) = server.recv_from(&mut bytes).unwrap();
        server.send_to(b"what?", from).unwrap();
    });
    let word = |word, number| Word { word, number };
    let check = Dns {
        query: "www.example.org".to_owned(),
        record: word("A", 1),
        rcode: word("NOERROR", 0),
        answer: None,
    };
    assert_eq!(
        outcome(address, Check::Dns(check)).await,
        Outcome::Malformed
    );
}

fn exec(words: &[&str]) -> Check {
    Check::Exec(Exec {
        command: words.iter().map(|&word| word.to_owned()).collect(),
        user: "nobody".to_owned(),
    })
}

fn shell(script: &str) -> Check {
    exec(&["/bin/sh", "-c", script])
}

#[tokio::test]
async fn a_commands_exit_code_tells() {
    let at = "192.0.2.7:81".parse().unwrap();
    for (check, expected) in [
        (shell("exit 0"), Outcome::Ok),
        (shell("exit 3"), Outcome::Exit(3)),
        (shell("kill -9 $$"), Outcome::Killed(9)),
        (
            shell("test $XLB_ADDRESS:$XLB_PORT = 192.0.2.7:81"),
            Outcome::Ok,
        ),
        (shell("test -z \"$HOME\""), Outcome::Ok),
        (shell("test $(ulimit -n) = 256"), Outcome::Ok),
        (exec(&["/nowhere"]), Outcome::NotMade(libc::ENOENT)),
    ] {
        assert_eq!(outcome(at, check.clone()).await, expected, "{check:?}");
    }
    let Check::Exec(mut check) = shell("exit 0") else {
        unreachable!("it is a command");
    };
    check.user = "nobody-of-this-name".to_owned();
    assert_eq!(
        outcome(at, Check::Exec(check)).await,
        Outcome::NotMade(libc::ESRCH)
    );
}

#[tokio::test]
async fn a_command_runs_as_its_user_and_alone() {
    let at = "192.0.2.7:81".parse().unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let is_nobody = format!(
        "test $(id -u) = {} && test \"$(id -G)\" = {}",
        nobody.uid, nobody.gid
    );
    assert_eq!(outcome(at, shell(&is_nobody)).await, Outcome::Ok);
}

/// And with it what it started.
#[tokio::test]
async fn a_command_that_hangs_ends_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    // A folder that nobody may write to.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let wait = Duration::from_millis(500);
    let answer = answer("192.0.2.7:81".parse().unwrap(), shell(&script), wait).await;
    assert_eq!(answer.outcome, Outcome::Timeout);
    let id = fs::read_to_string(&file).unwrap();
    let status = Path::new("/proc").join(id.trim()).join("stat");
    for _ in 0..200 {
        match fs::read_to_string(&status) {
            // Nobody has asked for it yet.
            Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(SHORT / 5).await,
            _ => return,
        }
    }
    panic!("{} still runs", id.trim());
}
