//! Server and client over a real socket; the daemon's loop is played by a task that answers.

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tokio::sync::{mpsc::Receiver, watch};

use super::{
    client::Client,
    error::{Code, Error},
    handle::{Command, Handle},
    resolve, samples, server, socket,
    types::{
        Applied, ApplyRequest, BackendDetail, BackendRequest, BackendVerb, BalancerChanged,
        BalancerRequest, BalancerVerb, Changed, Detached, Source,
    },
};

struct Daemon {
    _folder: TempDir,
    _stop: watch::Sender<()>,
    client: Client,
    socket: PathBuf,
}

fn start() -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xlb.sock");
    let listener = socket::listen(&path).unwrap();
    let (handle, commands) = Handle::channel(Arc::default());
    let (stop, stopped) = watch::channel(());
    tokio::spawn(server::serve(listener, handle, stopped));
    tokio::spawn(answer(commands));
    Daemon {
        _folder: folder,
        _stop: stop,
        client: Client::new(path.clone()),
        socket: path,
    }
}

async fn answer(mut commands: Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Observe(reply) => reply.send(Ok(samples::observation())).unwrap(),
            Command::Show(whom, reply) => reply.send(show(&whom)).unwrap(),
            Command::Setup(reply) => reply.send(Ok(samples::setup())).unwrap(),
            Command::Change(request, reply) => reply.send(change(&request)).unwrap(),
            Command::Administer(request, reply) => reply.send(administer(request)).unwrap(),
            Command::Apply(request, reply) => reply.send(apply(&request)).unwrap(),
            Command::Why(request, reply) => reply.send(Ok(samples::why(&request))).unwrap(),
            Command::Detach(reply) => {
                let interfaces = vec!["eth0".to_owned()];
                let withdrawn = vec![[203, 0, 113, 10].into()];
                let detached = Detached {
                    interfaces,
                    withdrawn,
                };
                reply.send(Ok(detached)).unwrap();
                return;
            }
        }
    }
}

fn show([service, backend]: &[String; 2]) -> Result<BackendDetail, Error> {
    resolve::service(service, &["wéb 100%?"])?;
    assert_eq!(backend, "[2001:db8::1]:80");
    Ok(samples::detail())
}

fn change(request: &BackendRequest) -> Result<Changed, Error> {
    resolve::service(&request.service, &["web"])?;
    Ok(Changed {
        service: request.service.clone(),
        backend: request.backend.clone(),
        verb: request.verb.word().to_owned(),
        changed: true,
        revision: 4,
        slots_moved: 10,
        slots: 4096,
        keeps_flows: true,
        expires_in_seconds: request.for_seconds,
        undo: None,
    })
}

fn administer(request: BalancerRequest) -> Result<BalancerChanged, Error> {
    if request.verb == BalancerVerb::Ready {
        return Err(Error::new(Code::Refused, "nothing is announced"));
    }
    Ok(BalancerChanged {
        verb: request.verb.word().to_owned(),
        changed: true,
        revision: 6,
        announced: Vec::new(),
        expires_in_seconds: request.for_seconds,
        undo: None,
    })
}

fn apply(request: &ApplyRequest) -> Result<Applied, Error> {
    let source = request.source.clone().unwrap_or_else(|| Source {
        path: "own".to_owned(),
        text: String::new(),
    });
    if source.text.contains("bad") {
        return Err(Error::new(Code::ConfigInvalid, "1 problem"));
    }
    Ok(Applied {
        path: source.path,
        changed: true,
        revision: 5,
        slots_moved: 0,
        took_us: 10,
        notes: Vec::new(),
    })
}

fn request(service: &str, verb: BackendVerb) -> BackendRequest {
    BackendRequest {
        service: service.to_owned(),
        backend: "b1".to_owned(),
        verb,
        for_seconds: Some(60),
        force: false,
    }
}

#[tokio::test]
async fn every_request_arrives_and_comes_back_as_it_was_sent() {
    let Daemon { client, .. } = &start();
    assert_eq!(client.observe().await.unwrap(), samples::observation());
    assert_eq!(client.setup().await.unwrap().items, samples::setup());
    let question = samples::question();
    let answer = client.why(&question).await.unwrap();
    assert_eq!(answer, samples::why(&question));
    let shown = client.show("wéb 100%?", "[2001:db8::1]:80").await;
    assert_eq!(shown.unwrap().items, [samples::detail()]);
    for verb in [
        BackendVerb::Add {
            name: None,
            weight: 3,
        },
        BackendVerb::Drain,
        BackendVerb::Weight { weight: 0 },
    ] {
        let changed = client.change(&request("web", verb.clone())).await.unwrap();
        assert_eq!(changed.verb, verb.word());
        assert_eq!(changed.expires_in_seconds, Some(60));
    }
    for for_seconds in [None, Some(90)] {
        let request = BalancerRequest {
            verb: BalancerVerb::Drain,
            for_seconds,
        };
        let changed = client.administer(&request).await.unwrap();
        assert_eq!(changed, administer(request).unwrap());
    }
    let applied = client.apply(&ApplyRequest::default()).await.unwrap();
    assert_eq!(applied.path, "own");
}

#[tokio::test]
async fn an_error_comes_back_with_code_message_and_hint() {
    let Daemon { client, .. } = &start();
    let error = client
        .change(&request("x", BackendVerb::Ready))
        .await
        .unwrap_err();
    assert_eq!(error, resolve::service("x", &["web"]).unwrap_err());
    let request = BalancerRequest {
        verb: BalancerVerb::Ready,
        for_seconds: None,
    };
    let error = client.administer(&request).await.unwrap_err();
    assert_eq!(error.code, Code::Refused);
    let source = Some(Source {
        path: "f".to_owned(),
        text: "bad".to_owned(),
    });
    let error = client.apply(&ApplyRequest { source }).await.unwrap_err();
    assert_eq!(error.code, Code::ConfigInvalid);
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused() {
    let Daemon { client, .. } = &start();
    let source = Some(Source {
        path: "f".to_owned(),
        text: "x".repeat(server::MAX_REQUEST + 1),
    });
    assert!(client.apply(&ApplyRequest { source }).await.is_err());
    assert!(client.observe().await.is_ok(), "the daemon lives on");
}

#[tokio::test]
async fn a_daemon_that_stopped_is_unreachable() {
    let Daemon { client, socket, .. } = &start();
    let detached = client.detach().await.unwrap();
    assert_eq!(detached.interfaces, ["eth0"]);
    assert_eq!(
        detached.withdrawn,
        [std::net::IpAddr::from([203, 0, 113, 10])]
    );
    assert_eq!(client.observe().await.unwrap_err().code, Code::Unreachable);
    std::fs::remove_file(socket).unwrap();
    let error = client.observe().await.unwrap_err();
    assert_eq!(error.code, Code::Unreachable);
    assert!(error.message.contains("xlb.sock"), "{error}");
}

#[tokio::test]
async fn what_is_no_request_is_answered_in_json() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Daemon { socket, .. } = &start();
    for (head, code) in [
        ("GET /v1/nothing", "not_found"),
        ("GET /v1/apply", "usage"),
        ("POST /v1/backends", "usage"),
    ] {
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let text = format!(
            "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
}
